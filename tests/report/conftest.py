from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sfumato.report import ReportInputs, SelfCheck
from tests.compare.synthetic import BLUR, NONE, World
from tests.report.study import make_study

OVERLAY = "overlay(color=0, grow=0.1)"
HOSTILE = "<img src=x onerror=alert(1)> & $co"
"""A category that somebody named to break a page."""

WORLD = World(
    categories=(HOSTILE, "apron", "mask"),
    per_category=(6, 18, 18),
    accuracy={"original": 0.9, NONE: 0.88, BLUR: 0.85, OVERLAY: 0.85},
    harmed={(OVERLAY, "mask"): 0.1},
    models=("resnet18", "vgg11"),
)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """A made-up study with two obfuscated arms, two models, and a self-check."""
    made = make_study(tmp_path_factory.mktemp("study"), WORLD, title='A "study" of <faces>')
    checks = [
        SelfCheck("Recall", True, "all of 14 planted faces were found"),
        SelfCheck("Pair", False, "<apron> was not expected"),
    ]
    return replace(made, selfcheck=checks)


@pytest.fixture(scope="session")
def page(study: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its report."""
    from sfumato.report.page import write_report

    return write_report(study, tmp_path_factory.mktemp("report"))
