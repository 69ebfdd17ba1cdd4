"""Detectors of the uniface package, where that is installed."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np

from sfumato.detect.detector import check_min_score
from sfumato.detect.networks import runtime
from sfumato.detect.networks.views import within
from sfumato.detect.networks.weights import KNOWN_FILES, UNKNOWN_LICENCE, Weights
from sfumato.errors import ImageError, SfumatoError
from sfumato.faces import Faces
from sfumato.images import Pixels

LICENCES = "https://yakhyo.github.io/uniface/license-attribution/"


@dataclass(frozen=True)
class Uniface:
    """A detector of uniface, at its own settings; uniface downloads its weights when they are first used.

    Attributes:
        detector: its class there: BlazeFace, CenterFace, RetinaFace, SCRFD, YOLOv5Face or YOLOv8Face.
        model: which weights, by uniface's name ("retinaface_mnet025"); empty for the class's own choice.
        min_score: faces below this are left out, 0..1.
    """

    name: ClassVar[str] = "uniface"

    detector: str = "RetinaFace"
    model: str = ""
    min_score: float = 0.5

    def __post_init__(self) -> None:
        check_min_score(self.min_score)
        known = detectors()
        if self.detector not in known:
            raise ValueError(f"uniface has no detector '{self.detector}'; known: {', '.join(known)}")
        if self.model and self.model not in {str(choice.value) for choice in _models(self.detector)}:
            models = ", ".join(str(choice.value) for choice in _models(self.detector))
            raise ValueError(f"uniface's {self.detector} has no model '{self.model}'; known: {models}")

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The weights that it uses; what uniface does not say of their licence is not guessed."""
        model = self._choice()
        facts = import_uniface("constants").MODEL_REGISTRY[model]
        licence, origin = KNOWN_FILES.get(facts.sha256, (f"{UNKNOWN_LICENCE}; see {LICENCES}", facts.url))
        return (Weights(str(model.value), "uniface", facts.url, facts.sha256, licence, origin),)

    @property
    def inputs(self) -> dict[str, str]:
        """What the faces depend on besides the fields: hash of the weights, uniface's version."""
        return {"weights": self.weights[0].sha256, "uniface": version("uniface")}

    def __call__(self, images: Sequence[Pixels]) -> list[Faces]:
        """Faces of each image; see `sfumato.detect.Detector`.

        Raises:
            SfumatoError: uniface cannot get the weights.
            ImageError: uniface fails with a picture.
        """
        found = _loaded(self.detector, self._choice(), self.min_score, runtime.chosen_providers())
        return [self._faces(found, image) for image in images]

    def _choice(self) -> Any:
        if not self.model:
            return _default_model(self.detector)
        (choice,) = (choice for choice in _models(self.detector) if str(choice.value) == self.model)
        return choice

    def _faces(self, detector: Any, image: Pixels) -> Faces:
        try:
            found = detector.detect(np.ascontiguousarray(image[..., ::-1]))
        except Exception as error:  # another project's code, and a picture that it was not made for
            raise ImageError(f"uniface's {self.detector} fails: {type(error).__name__}: {error}") from error
        boxes = np.array([face.bbox for face in found], dtype=np.float32).reshape(-1, 4)
        scores = np.array([face.confidence for face in found], dtype=np.float32)
        return within(Faces.of(boxes, scores, source=self.name), image)


def import_uniface(module: str = "detection") -> Any:
    """A module of uniface.

    Raises:
        ValueError: the package is not installed.
    """
    try:
        with _hidden("torch", "torchvision"):
            return import_module(f"uniface.{module}")
    except ImportError as error:
        raise ValueError(f"uniface cannot be imported ({error}): pip install uniface onnxruntime") from error


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Modules that cannot be imported for a while, unless they are already.

    uniface imports torch for parts that finding faces does not use: some 300 MB in each worker process, and
    an error where torch and torchvision do not match.
    """
    # None in there means "not to be found".
    hidden: dict[str, Any] = {name: None for name in names if name not in sys.modules}
    sys.modules.update(hidden)
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def detectors() -> list[str]:
    """Names of the detectors that the installed uniface has."""
    module = import_uniface()
    return sorted(
        name
        for name in module.__all__
        if issubclass(getattr(module, name), module.BaseDetector) and name != "BaseDetector"
    )


def _default_model(detector: str) -> Any:
    return inspect.signature(getattr(import_uniface(), detector)).parameters["model_name"].default


def _models(detector: str) -> list[Any]:
    choices: Any = type(_default_model(detector))
    return [*choices]


@lru_cache(maxsize=2)
def _loaded(detector: str, model: Any, min_score: float, providers: tuple[str, ...]) -> Any:
    make = getattr(import_uniface(), detector)
    try:
        return make(model_name=model, confidence_threshold=min_score, providers=list(providers))
    except (OSError, RuntimeError) as error:
        raise SfumatoError(f"uniface cannot get the weights of {detector} {model.value}: {error}") from error
