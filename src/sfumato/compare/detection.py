"""Objects in images: average precision of boxes, by pycocotools.

Every metric is a mean over the classes that have an object to be found:

    coco_ap     mean over IoU 0.50, 0.55 ... 0.95 of the precision at 101 recalls, 100 boxes an image and
                class
    coco_ap50   the same at IoU 0.50
    voc2007_ap  mean of the precision at 11 recalls, IoU 0.50, all boxes (Everingham et al. 2010, "The PASCAL
                Visual Object Classes challenge", section 4.2)
    voc2010_ap  area under the curve, IoU 0.50, all boxes (the challenge from 2010 on): the recalls at which
                precision is taken are 1 / P, 2 / P ... 1 with P the objects of a class, so the mean is exact

Precision at a recall is the highest at that or any greater one. Boxes are matched as pycocotools does: best
score first, each to the free object that it overlaps most; boxes are half open. Difficult objects and crowds
are ignored: neither finding nor missing them counts. The development kit of VOC differs where boxes crowd: it
takes the object that a box overlaps most even where that is taken (the box is wrong then), ignores any number
of boxes around a difficult object (here, all but the first are wrong), and counts both ends of a box.

Influences. With w_i the weight of image i, P the weighted objects, and TP_j and N_j the weighted right and
counted boxes down to rank j, the area is 1 / P times the sum over right boxes t of their weight times
max over j >= t of p_j = TP_j / N_j. By the envelope theorem (Milgrom and Segal 2002, Econometrica 70(2)) the
maximum is derived at the j where it stands, j(t):

    P u_i = sum over right t in i of p_j(t) - P_i AP
            + sum over right t of (TP_ij(t) - p_j(t) N_ij(t)) / N_j(t)

with P_i, TP_ij and N_ij those of image i. Means at 101 or 11 recalls are Riemann sums of that area and take
its influences.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sfumato.compare.measured import Measured, Measurement
from sfumato.compare.outcomes import Indices, Paired
from sfumato.compare.pairing import by_run, one_truth, runs_of
from sfumato.data.tasks import METRICS
from sfumato.errors import MissingExtra, UnknownName, UsageError
from sfumato.predictions import ObjectPredictions
from sfumato.progress import Progress

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

COCO_LIMIT = 100
"""Boxes of one image and class that COCO's metrics look at."""

_SIDES = ("x0", "y0", "x1", "y1")
_NO_AREA = -1.0
"""Area of difficult objects: pycocotools ignores those outside its range of areas, and any flag "ignore"."""


@dataclass(frozen=True)
class _Curve:
    """At which recalls precision is taken, and how many boxes of an image and class count.

    Attributes:
        recalls: from the number of objects; None for pycocotools' own 101.
        limit: None for all boxes.
    """

    recalls: Callable[[int], Floats] | None = None
    limit: int | None = None


# Quotients, so that recalls are what they say: three of ten objects are at 0.3, not just below it.
_COCO = _Curve(limit=COCO_LIMIT)
_ELEVEN = _Curve(lambda _: np.arange(11) / 10)
_EVERY = _Curve(lambda n_objects: np.arange(1, n_objects + 1) / n_objects)
_METRICS: Mapping[str, tuple[_Curve, slice]] = {
    "coco_ap": (_COCO, slice(None)),
    "coco_ap50": (_COCO, slice(0, 1)),
    "voc2007_ap": (_ELEVEN, slice(0, 1)),
    "voc2010_ap": (_EVERY, slice(0, 1)),
}
"""Metric to its curve and to which of the IoU thresholds it is a mean over."""


def object_runs(paired: Paired, predictions: Sequence[ObjectPredictions]) -> Callable[[Progress], Measured]:
    """Check the runs; what comes back measures the metrics of each.

    Args:
        paired: the runs and images.
        predictions: of these runs.

    Raises:
        UsageError: runs with different objects; a metric that nobody knows; no object to be found.
        TableError: boxes that are missing or damaged.
        MissingExtra: pycocotools is not installed.
    """
    runs = runs_of(predictions)
    names = tuple((paired.task or {}).get("metrics", METRICS["objects"]))
    for name in names:
        if name not in _METRICS:
            raise UnknownName("metric", name, _METRICS)
    ids = pa.array(paired.image_ids.tolist())
    one_truth(paired, runs, lambda item, _: _fingerprints(_boxes(item.objects(), ids), len(ids)), "objects")
    objects = _boxes(predictions[0].objects(), ids)
    n_positives = _images_by_class(objects, len(ids), len(paired.categories))
    if not n_positives.any():
        raise UsageError(f"{predictions[0].folder}: there is no object to be found in the images evaluated")
    judge = _Judge(objects, len(ids), n_positives > 0, names)
    return lambda progress: Measured(
        **vars(paired),
        measurements=by_run(
            paired, runs, lambda item, _: judge.measure(_boxes(item.detections(), ids)), progress=progress
        ),
        n_positives=n_positives,
        counted=n_positives > 0,
        least=1,
    )


@dataclass(frozen=True, eq=False)
class _Boxes:
    """Boxes in the images compared; m of them.

    Attributes:
        image: (m,) number of the image.
        label: (m,) class.
        xyxy: (m, 4) pixels.
        others: name to further columns.
    """

    image: Indices
    label: Indices
    xyxy: Floats
    others: Mapping[str, NDArray[Any]]

    def ignored(self) -> Flags:
        """Of objects: those that need not be found."""
        return np.asarray(self.others["difficult"] | self.others["crowd"], dtype=bool)


def _boxes(table: pa.Table, ids: pa.Array) -> _Boxes:
    place = pc.index_in(table["image_id"], value_set=ids)
    here = pc.is_valid(place)  # the others are of images that failed in some run
    kept = table.filter(here)
    columns = {
        name: kept[name].to_numpy().astype(kind)
        for name, kind in (("score", np.float64), ("difficult", bool), ("crowd", bool))
        if name in table.column_names
    }
    xyxy = np.stack([kept[side].to_numpy() for side in _SIDES], axis=1).astype(np.float64)
    image = place.filter(here).to_numpy().astype(np.int64)
    return _Boxes(image, kept["label"].to_numpy().astype(np.int64), xyxy, columns)


def _fingerprints(boxes: _Boxes, n: int) -> NDArray[np.object_]:
    """What tells the objects of each image from others, in whatever order they are: (n,) bytes."""
    flags = [boxes.others[name][:, None] for name in ("difficult", "crowd")]
    rows = np.concatenate([boxes.image[:, None], boxes.label[:, None], boxes.xyxy, *flags], axis=1)
    rows = rows[np.lexsort(rows.T[::-1])]
    ends = np.searchsorted(rows[:, 0], np.arange(1, n))
    found = np.empty(n, dtype=object)
    found[:] = [part.tobytes() for part in np.split(rows, ends)]
    return found


def _images_by_class(objects: _Boxes, n: int, k: int) -> Indices:
    """Images with objects of each class to be found, (k,)."""
    wanted = ~objects.ignored()
    both = np.unique(objects.label[wanted] * n + objects.image[wanted])
    return np.bincount(both // n, minlength=k)


class _Judge:
    """Measures what was found in n images against the same objects, run after run."""

    def __init__(self, objects: _Boxes, n: int, counted: Flags, metrics: Sequence[str]) -> None:
        self._n, self._counted, self._metrics = n, counted, metrics
        coco, self._evaluation = _pycocotools()
        area = np.where(objects.others["difficult"], _NO_AREA, 0.0)
        self._truth = self._coco(coco, _annotations(objects, iscrowd=objects.others["crowd"], area=area))
        self._new = coco

    def _coco(self, new: Callable[[], Any], annotations: list[dict[str, Any]]) -> Any:
        found = new()
        found.dataset = {
            "images": [{"id": number} for number in range(self._n)],
            "categories": [{"id": label} for label in range(len(self._counted))],
            "annotations": annotations,
        }
        with redirect_stdout(io.StringIO()):  # pycocotools prints
            found.createIndex()
        return found

    def measure(self, found: _Boxes) -> Measurement:
        """The metrics of one run, the main one by class too."""
        zero = np.zeros(len(found.label))
        boxes = self._coco(
            self._new, _annotations(found, iscrowd=zero, area=zero, score=found.others["score"])
        )
        evaluation = self._evaluated(boxes, _most(found, len(self._counted)))
        k = len(self._counted)
        values = {name: np.full(k, np.nan) for name in self._metrics}
        influences = {name: np.zeros((k, self._n), dtype=np.float32) for name in self._metrics}
        for label in np.flatnonzero(self._counted).tolist():
            of_class = _OfClass(evaluation, label, self._n)
            for name in self._metrics:
                values[name][label] = of_class.value(*_METRICS[name])
                influences[name][label] = of_class.influence(*_METRICS[name])
        main = self._metrics[0]
        return Measurement(
            {name: float(values[name][self._counted].mean()) for name in self._metrics},
            {name: of[self._counted].mean(axis=0, dtype=np.float64) for name, of in influences.items()},
            values[main],
            influences[main],
        )

    def _evaluated(self, boxes: Any, most: int) -> Any:
        with redirect_stdout(io.StringIO()):
            evaluation = self._evaluation(self._truth, boxes, "bbox")
            parameters = evaluation.params
            parameters.areaRng, parameters.areaRngLbl = parameters.areaRng[:1], parameters.areaRngLbl[:1]
            parameters.maxDets = [COCO_LIMIT, max(COCO_LIMIT, most)]
            if "coco_ap" not in self._metrics:
                parameters.iouThrs = parameters.iouThrs[:1]
            evaluation.evaluate()
        return evaluation


def need_pycocotools() -> None:
    """Check that pycocotools can be imported.

    Raises:
        MissingExtra: it is not installed.
    """
    _pycocotools()


def _pycocotools() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtra("objects", "the average precision of objects") from error
    return COCO, COCOeval


def _annotations(boxes: _Boxes, **columns: NDArray[Any]) -> list[dict[str, Any]]:
    """Boxes as pycocotools wants them; ids start at 1, as it takes a match with 0 for none."""
    x0, y0, x1, y1 = boxes.xyxy.T
    lists = [values.tolist() for values in columns.values()]
    sides = zip(x0.tolist(), y0.tolist(), (x1 - x0).tolist(), (y1 - y0).tolist(), strict=True)
    return [
        {
            "id": number,
            "image_id": image,
            "category_id": label,
            "bbox": box,
            **dict(zip(columns, others, strict=True)),
        }
        for number, (image, label, box, *others) in enumerate(
            zip(boxes.image.tolist(), boxes.label.tolist(), map(list, sides), *lists, strict=True), start=1
        )
    ]


def _most(found: _Boxes, k: int) -> int:
    """The most boxes of any image and class."""
    counts = np.bincount(found.image * k + found.label)
    return int(counts.max(initial=0))


class _OfClass:
    """One class of one run as pycocotools matched it."""

    def __init__(self, evaluation: Any, label: int, n: int) -> None:
        self._evaluation, self._n = copy(evaluation), n
        self._evaluation.evalImgs = evaluation.evalImgs[label * n : (label + 1) * n]
        parameters = copy(evaluation.params)
        parameters.catIds = [label]
        self._evaluation._paramsEval = parameters
        self._parameters = parameters
        self._images = [found for found in self._evaluation.evalImgs if found is not None]
        self._positives = np.zeros(n)
        for found in self._images:
            self._positives[found["image_id"]] = np.count_nonzero(np.asarray(found["gtIgnore"]) == 0)
        self._curves: dict[_Curve, Floats] = {}
        self._influences: dict[_Curve, list[Floats]] = {}

    def value(self, curve: _Curve, ious: slice) -> float:
        """Average precision by pycocotools."""
        if curve not in self._curves:
            parameters = copy(self._parameters)
            if curve.recalls is not None:
                parameters.recThrs = curve.recalls(int(self._positives.sum()))
            parameters.maxDets = [self._limit(curve)]
            with redirect_stdout(io.StringIO()):
                self._evaluation.accumulate(parameters)
            self._curves[curve] = self._evaluation.eval["precision"][:, :, 0, 0, 0].mean(axis=1)
        return float(self._curves[curve][ious].mean())

    def influence(self, curve: _Curve, ious: slice) -> Floats:
        """Of each image on the area under the curve, (n,)."""
        if curve not in self._influences:
            self._influences[curve] = list(self._of_ious(self._limit(curve)))
        return np.asarray(np.mean(self._influences[curve][ious], axis=0))

    def _limit(self, curve: _Curve) -> int:
        return curve.limit or int(self._parameters.maxDets[-1])

    def _of_ious(self, limit: int) -> Iterator[Floats]:
        n_ious = len(self._parameters.iouThrs)
        scores, image = [np.zeros(0)], [np.zeros(0, int)]
        matched, ignored = [np.zeros((n_ious, 0))], [np.zeros((n_ious, 0))]
        for found in self._images:
            scores.append(np.asarray(found["dtScores"][:limit]))
            image.append(np.full(len(scores[-1]), found["image_id"]))
            matched.append(found["dtMatches"][:, :limit])
            ignored.append(found["dtIgnore"][:, :limit])
        order = np.argsort(-np.concatenate(scores), kind="stable")
        images = np.concatenate(image)[order]
        right, counted = np.concatenate(matched, axis=1) > 0, np.concatenate(ignored, axis=1) == 0
        for of_right, of_counted in zip(right[:, order], counted[:, order], strict=True):
            yield area_influence(images[of_counted], of_right[of_counted], self._positives)


def area_influence(image: Indices, right: Flags, positives: Floats) -> Floats:
    """Derivative of the area under a precision-recall curve by the weight of each image, (n,).

    Args:
        image: (m,) of each counted box, best score first.
        right: (m,) whether it found an object.
        positives: (n,) objects to be found in each image; at least one in all.
    """
    n, m, total = len(positives), len(right), positives.sum()
    ranks = np.arange(1, m + 1)
    precision = np.cumsum(right) / ranks
    best = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.where(precision == best, np.arange(m), m)
    stands = np.minimum.accumulate(place[::-1])[::-1]
    times = np.bincount(stands[right], minlength=m)
    rise, fall = (np.cumsum(values[::-1])[::-1] for values in (times / ranks, times * precision / ranks))
    own = right * (best + rise) - fall
    area = best[right].sum() / total
    found: Floats = (np.bincount(image, weights=own, minlength=n) - positives * area) / total
    return found
