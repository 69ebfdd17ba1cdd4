"""Train recognition models on one arm of a study and evaluate them on another.

Importing this room loads no torch; training and evaluating do.
"""

from sfumato.learn.architectures import Architecture, Preprocessing
from sfumato.learn.arms import Arms, align, open_arms, open_divided
from sfumato.learn.catalogue import MODELS, STUDY_MODELS, build_model, find_model
from sfumato.learn.config import RunConfig
from sfumato.learn.evaluate import evaluate
from sfumato.learn.plan import (
    TRAINING_FILE,
    Cell,
    Part,
    TrainingPlan,
    cells_of,
    evaluation_arms,
    read_training_plan,
    write_training_plan,
)
from sfumato.learn.recipes import RECIPES, Recipe, find_recipe
from sfumato.learn.run import check_training, read_config, train
from sfumato.learn.runner import (
    Failure,
    Outcome,
    Runs,
    TrainingOptions,
    predictions_folder,
    run_all,
    run_folder,
    train_plan,
)

__all__ = [
    "MODELS",
    "RECIPES",
    "STUDY_MODELS",
    "TRAINING_FILE",
    "Architecture",
    "Arms",
    "Cell",
    "Failure",
    "Outcome",
    "Part",
    "Preprocessing",
    "Recipe",
    "RunConfig",
    "Runs",
    "TrainingOptions",
    "TrainingPlan",
    "align",
    "build_model",
    "cells_of",
    "check_training",
    "evaluate",
    "evaluation_arms",
    "find_model",
    "find_recipe",
    "open_arms",
    "open_divided",
    "predictions_folder",
    "read_config",
    "read_training_plan",
    "run_all",
    "run_folder",
    "train",
    "train_plan",
    "write_training_plan",
]
