"""Recipes from TOML: the named ones, which lie beside this file, and the user's own."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

from sfumato.errors import SpecError, UnknownName, UsageError
from sfumato.learn.recipes.recipe import FIELDS, REQUIRED, Recipe
from sfumato.records import make_key

_SUFFIX = ".toml"


def find_recipe(name: str) -> Recipe:
    """The named recipe, or the one in a file ("my/recipe.toml").

    Raises:
        UnknownName: there is none of that name.
        UsageError, SpecError: as `read_recipe`.
    """
    if name.endswith(_SUFFIX):
        return read_recipe(Path(name))
    if name not in RECIPES:
        raise UnknownName("recipe", name, [*RECIPES, "a file FOLDER/NAME.toml"])
    return RECIPES[name]


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file, named after the file; what it may leave out has the default of `Recipe`.

    Raises:
        UsageError: the file cannot be read, or is no TOML.
        SpecError: a field is unknown or missing, or has a value that it cannot have; names the file.
    """
    try:
        return _parse(path.stem, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML ({error})") from error
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error


def describe(recipe: Recipe) -> str:
    """See `Recipe.describe`."""
    base = RECIPES.get(recipe.name)
    if base is None:
        return f"{recipe.name}(settings={make_key('recipe', {}, recipe.settings())[:8]})"
    changed = recipe.differences(base)
    if not changed:
        return recipe.name
    return f"{recipe.name}({', '.join(f'{key}={value!r}' for key, value in changed.items())})"


def _parse(name: str, text: str) -> Recipe:
    values = tomllib.loads(text)
    for field_name in values:
        if field_name not in FIELDS:
            raise SpecError(f"a recipe has no field '{field_name}'; it has {', '.join(sorted(FIELDS))}")
    missing = [field_name for field_name in REQUIRED if field_name not in values]
    if missing:
        raise SpecError(f"the recipe lacks {', '.join(missing)}")
    return Recipe(name=name, **values)


def _named() -> dict[str, Recipe]:
    texts = {
        item.name.removesuffix(_SUFFIX): item.read_text(encoding="utf-8")
        for item in files(__package__).iterdir()
        if item.name.endswith(_SUFFIX)
    }
    return {name: _parse(name, texts[name]) for name in sorted(texts)}


RECIPES: dict[str, Recipe] = _named()
"""The recipes that Sfumato brings, by name."""
