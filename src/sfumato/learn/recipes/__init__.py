"""How models are trained, as data: a TOML file each; every field can be overridden."""

from sfumato.learn.recipes.reader import RECIPES, find_recipe, read_recipe
from sfumato.learn.recipes.recipe import Recipe, recipe_from

__all__ = ["RECIPES", "Recipe", "find_recipe", "read_recipe", "recipe_from"]
