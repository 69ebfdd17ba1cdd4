"""Train recognition models on one arm of a study and evaluate them on another.

Importing this room loads no torch; training and evaluating do.
"""

from sfumato.learn.architectures import Architecture, Preprocessing
from sfumato.learn.catalogue import MODELS, STUDY_MODELS, build_model, find_model
from sfumato.learn.evaluate import evaluate
from sfumato.learn.recipes import RECIPES, Recipe, find_recipe
from sfumato.learn.run import RunConfig, check_training, read_config, train

__all__ = [
    "MODELS",
    "RECIPES",
    "STUDY_MODELS",
    "Architecture",
    "Preprocessing",
    "Recipe",
    "RunConfig",
    "build_model",
    "check_training",
    "evaluate",
    "find_model",
    "find_recipe",
    "read_config",
    "train",
]
