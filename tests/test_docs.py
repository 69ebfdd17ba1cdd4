"""The documents say what the code has: columns, commands, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sfumato.compare.tables import SCHEMAS
from sfumato.detect import PRESETS
from sfumato.faces import FACES_SCHEMA
from sfumato.obfuscate import METHODS, VARIANT_SCHEMA
from sfumato.predictions import FACE_COLUMNS, PREDICTIONS_SCHEMA
from sfumato.review.audit import ESTIMATES_SCHEMA
from sfumato.review.merging import DISAGREEMENTS_SCHEMA
from sfumato.specs import to_spec
from tests.test_cli import command_names

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_column_is_documented() -> None:
    text = (ROOT / "docs/formats.md").read_text()
    further = (FACE_COLUMNS, DISAGREEMENTS_SCHEMA, ESTIMATES_SCHEMA)
    for schema in (FACES_SCHEMA, VARIANT_SCHEMA, PREDICTIONS_SCHEMA, *further, *SCHEMAS.values()):
        missing = [name for name in schema.names if f"`{name}`" not in text]
        assert not missing


def test_every_command_in_the_documents_exists() -> None:
    known = {name.split()[0] for name in command_names()}
    for document in DOCUMENTS:
        named = set(re.findall(r"^(?:\.venv/bin/)?sfumato (\w+)", document.read_text(), re.MULTILINE))
        assert named <= known, document.name


def test_every_method_stands_in_the_readme_with_its_defaults() -> None:
    text = (ROOT / "README.md").read_text()
    for name in METHODS.names():
        assert f"`{to_spec(METHODS.build(name))}`" in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        assert target.startswith("http") or (document.parent / target).exists(), target


def test_the_figures_of_the_presets_are_those_of_the_benchmark() -> None:
    """What the program says of itself is what docs/benchmarks.md quotes with its command."""
    text = (ROOT / "docs/benchmarks.md").read_text()
    for name, preset in PRESETS.items():
        (row,) = (line for line in text.splitlines() if line.startswith(f"| `{name.replace('_', '-')}` |"))
        quoted = [float(cell.split()[0]) for cell in row.strip("|").split("|")[1:]]
        figures = [preset.recall, preset.precision, preset.image_recall, preset.image_accuracy]
        assert quoted[:4] == figures
        assert round(quoted[4]) == preset.images_per_second
