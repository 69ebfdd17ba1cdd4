"""The study of the embedded data set, where the truth is known, and what it says about the tool itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sfumato.compare import Tables, is_obfuscated, short_name
from sfumato.data.planted import PlantedTruth, write_planted
from sfumato.detect import Score, score
from sfumato.faces import Faces, FaceTable
from sfumato.plan import CONTROL, Plan
from sfumato.report import SelfCheck
from sfumato.study import Study, StudyOptions, read_checks, study

SEEDS = (0, 1, 2)
"""With two, how much training varies is hardly known, and the verdict may not tell what is plain to see."""
CHANGE = {"epochs": 12, "image_size": 48}
"""With fewer epochs the planted pair is the first thing that a network fails to learn; with pictures of 48 px
there is time for three seeds."""
MIN_FACE = 24.0
"""Longer side in pixels from which a planted face must be found."""
MIN_RECALL = 0.95
MAX_FALSE_ALARMS = 0.05
"""Share of the face-free pictures in which the detector may see a face."""
MIN_PAIR_LOSS = 25.0
"""Points of top-1 accuracy that the planted pair must lose on average: half of the way to a coin toss."""


def demo(
    out: Path, *, seed: int = 0, options: StudyOptions = StudyOptions()
) -> tuple[Study, Sequence[SelfCheck]]:
    """Draw the embedded data set, run a study on it, and check the tool against what is known.

    Args:
        out: folder; the images go to `out/photos`, the study to `out/study`.
        seed: of the drawn images.
        options: as for a study.

    Returns:
        The study, whose report shows the checks, and the checks.

    Raises:
        As `sfumato.study.study`.
    """
    truth = write_planted(out / "photos", seed=seed)
    plan = Plan(
        out / "photos", arms=("blur", "overlay"), models=("small_resnet",), seeds=SEEDS, change=CHANGE
    )
    made = study(plan, out / "study", options=options, check=partial(self_check, truth))
    return made, read_checks(out / "study") or []


def self_check(truth: PlantedTruth, found: FaceTable, tables: Tables) -> list[SelfCheck]:
    """What the planted truth says about the detector and the comparison.

    Args:
        truth: as planted.
        found: faces that a detector found in the planted set.
        tables: of a comparison on it.
    """
    known = {image_id: Faces.of(boxes) for image_id, boxes in truth.faces.items()}
    scored = score({image_id: found.of(image_id) for image_id in known}, known, min_size=MIN_FACE)
    arms = [arm for arm in dict.fromkeys(tables.by_category["arm"].to_pylist()) if is_obfuscated(arm)]
    return [_recall(scored), _false_alarms(scored), *(_pair(truth, tables, arm) for arm in arms)]


def _recall(scored: Score) -> SelfCheck:
    return SelfCheck(
        name="the detector finds the planted faces",
        passed=scored.recall >= MIN_RECALL,
        detail=f"{scored.n_matched} of {scored.n_truth} planted faces of {MIN_FACE:.0f} px or more are found "
        f"({scored.recall:.1%}; at least {MIN_RECALL:.0%} are asked for)",
    )


def _false_alarms(scored: Score) -> SelfCheck:
    n_free = scored.n_images - scored.n_images_with_faces
    return SelfCheck(
        name="the detector keeps quiet where there is no face",
        passed=scored.false_positive_images <= MAX_FALSE_ALARMS * n_free,
        detail=f"false alarms in {scored.false_positive_images} of {n_free} pictures without a planted face; "
        f"precision {scored.precision:.1%}",
    )


def _pair(truth: PlantedTruth, tables: Tables, arm: str) -> SelfCheck:
    """The pair must lose most of what lies above a coin toss, and no other category half as much.

    It is judged by its mean: a model that cannot tell the two apart may give every picture to one of them.
    """
    rows = [row for row in tables.by_category.to_pylist() if row["arm"] == arm]
    lost = {row["category"]: -100 * float(row["top1_difference_to_none"]) for row in rows}
    pair = sum(lost[name] for name in truth.pair) / 2
    worst = max(lost, key=lambda name: lost[name])
    runner_up = max(lost.keys() - set(truth.pair), key=lambda name: lost[name])
    return SelfCheck(
        name=f"the comparison names the pair that {short_name(arm)} was planted to hurt",
        passed=pair >= MIN_PAIR_LOSS and worst in truth.pair and lost[runner_up] < pair / 2,
        detail=f"against '{CONTROL}', {' and '.join(truth.pair)} lose {pair:.0f} points of top-1 accuracy on "
        f"average; the most that another category loses is {max(round(lost[runner_up]), 0)} ({runner_up})",
    )
