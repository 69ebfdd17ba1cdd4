"""What was predicted, and how runs of it get a value of every image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sfumato.compare.attributes import attribute_runs, counted_attributes
from sfumato.compare.detection import need_pycocotools, object_runs
from sfumato.compare.outcomes import Paired, Valued
from sfumato.compare.pairing import outcomes_of
from sfumato.errors import UsageError
from sfumato.predictions import AttributePredictions, Evaluated, ObjectPredictions, Predictions
from sfumato.progress import Progress

CATEGORIES, ATTRIBUTES, OBJECTS = "categories", "attributes", "objects"

_CLASSES = {Predictions: CATEGORIES, AttributePredictions: ATTRIBUTES, ObjectPredictions: OBJECTS}

_E = TypeVar("_E", bound=Evaluated)


def kind_of(predictions: Sequence[Evaluated]) -> str:
    """ "categories", "attributes" or "objects", which all of them must be of.

    Raises:
        UsageError: they are of two kinds.
    """
    kinds = {_CLASSES[type(item)]: item.folder for item in predictions}
    if len(kinds) > 1:
        (one, first), (other, second), *_ = kinds.items()
        raise UsageError(
            f"{first} holds predictions of {one}, {second} of {other}; compare one task at a time: name the "
            "folder of one task and protocol"
        )
    return next(iter(kinds), CATEGORIES)


def need_comparable(kind: str, attributes: NDArray[np.int8] | None = None) -> None:
    """Check, before anything is trained, what a comparison of its runs would need.

    Args:
        kind: "categories", "attributes" or "objects".
        attributes: (images evaluated, attributes), 1 or 0; of kind "attributes", else None.

    Raises:
        MissingExtra: objects, and pycocotools is not installed.
        UsageError: no attribute has enough images with it and without it to be in the mean.
    """
    if kind == OBJECTS:
        need_pycocotools()
    if kind == ATTRIBUTES and attributes is not None:
        counted_attributes(attributes)


def checked(paired: Paired, predictions: Sequence[Evaluated]) -> Callable[[Progress], Valued]:
    """Check that runs can be compared; what comes back gives every image a value in every run.

    Values are right and wrong, or pseudo-values, which take time: progress is called as ("runs", done,
    total).

    Args:
        paired: the runs and images.
        predictions: of these runs, of one kind.

    Raises:
        UsageError, TableError, MissingExtra: as what is called for each kind.
    """
    kind = kind_of(predictions)
    if kind == ATTRIBUTES:
        return attribute_runs(paired, _only(predictions, AttributePredictions))
    if kind == OBJECTS:
        return object_runs(paired, _only(predictions, ObjectPredictions))
    outcomes = outcomes_of(paired, _only(predictions, Predictions))
    return lambda _: outcomes


def _only(predictions: Sequence[Evaluated], kind: type[_E]) -> list[_E]:
    return [item for item in predictions if isinstance(item, kind)]
