"""The house keeps its order: imports point down, the command line stays light, public names are complete."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "sfumato"
MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))

GROUND = (
    "errors", "boxes", "orientation", "images", "specs", "records", "progress", "toml_files", "text_files",
    "plain_pickle", "predictions",
)  # fmt: skip
"""Top-level modules that every room may use, and that use no room."""
ROOMS = ("engines", "data", "faces", "detect", "review", "obfuscate", "learn", "compare", "report")
"""Rooms in the order of the flow: each may use those before it."""
ROOF = ("testing", "plan", "study", "transfer", "demo", "cli", "__main__")
"""Top-level modules that use the rooms."""
PLACES = (*GROUND, *ROOMS, *ROOF)
ONLY_IN = {"torch": {"learn"}, "torchvision": {"learn"}, "onnxruntime": {"detect"}, "jinja2": {"report"}}


HEAVY = {
    "torch",
    "torchvision",
    "cv2",
    "onnxruntime",
    "onnx",
    "pyarrow",
    "numpy",
    "PIL",
    "matplotlib",
    "skimage",
}


def imports(module: Path) -> set[str]:
    """Names of modules imported anywhere in a file, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((SOURCE / module).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{module}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


def rank(name: str) -> int:
    assert name in ("__init__", *PLACES), f"'{name}' has no place in the order of the house"
    if name in (*GROUND, "__init__"):
        return 0
    return 1 + ROOMS.index(name) if name in ROOMS else 1 + len(ROOMS) + ROOF.index(name)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_nothing_imports_upward(module: Path) -> None:
    own = room(module)
    for name in imports(module):
        parts = name.split(".")
        if parts[0] != "sfumato" or len(parts) < 2 or parts[1] not in PLACES:
            continue
        assert rank(parts[1]) <= rank(own), f"{module} imports {name}, which stands above it"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_heavy_libraries_stay_in_their_rooms(module: Path) -> None:
    for name in imports(module):
        allowed = ONLY_IN.get(name.split(".")[0])
        assert allowed is None or room(module) in allowed, f"{module} imports {name}"


def test_no_room_for_odds_and_ends() -> None:
    forbidden = {"utils", "util", "helpers", "common", "core", "misc"}
    assert not [
        str(module) for module in MODULES if forbidden & {part.removesuffix(".py") for part in module.parts}
    ]


@pytest.mark.parametrize("name", [name for name in ROOMS if (SOURCE / name / "__init__.py").exists()])
def test_public_names_exist_and_are_sorted(name: str) -> None:
    module = importlib.import_module(f"sfumato.{name}")
    assert (
        sorted(module.__all__, key=lambda word: (not word.isupper(), not word[0].isupper(), word))
        == module.__all__
    )
    for public in module.__all__:
        value = getattr(module, public)
        assert not callable(value) or value.__doc__, f"sfumato.{name}.{public} has no docstring"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from sfumato.cli import main; main(['study', '--help'])\n"
        f"heavy = {HEAVY}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "The whole flow" in done.stdout
