"""The face table as columns by image number: a million images are arrays, not objects."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sfumato.boxes import longer_side
from sfumato.data import Dataset, Sample
from sfumato.data.dataset import UNLABELLED
from sfumato.errors import TableError, UsageError
from sfumato.faces import Faces, FaceTable

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Columns:
    """Faces and images by the number of an image, which is its place in the data set.

    Attributes:
        dataset: the images.
        ok: (images,) whether the image was examined and could be read.
        width, height: (images,) in pixels of the upright image; 0 where not ok.
        label: (images,) index of the category, -1 where there is none.
        xyxy, score: (faces, 4) and (faces,), sorted by image number; those of images that are ok.
        starts: (images + 1,) place of the first face of each image.
    """

    dataset: Dataset
    ok: NDArray[np.bool_]
    width: Ints
    height: Ints
    label: Ints
    xyxy: Floats
    score: Floats
    starts: NDArray[np.int64]
    _kind: pa.DictionaryArray
    _source: pa.DictionaryArray

    @classmethod
    def of(cls, table: FaceTable, dataset: Dataset) -> Columns:
        """Columns of a face table.

        Raises:
            TableError: the table is of images that the data set does not have, or has an image twice.
        """
        ids, label = _ids_and_labels(dataset)
        row = _places(table.images, ids, dataset)
        fine = pc.equal(table.images["status"], "ok").to_numpy()
        ok = np.zeros(len(dataset), dtype=bool)
        ok[row] = fine
        width, height = (_spread(table.images[name], row, len(dataset)) for name in ("width", "height"))
        faces = _faces(table.faces, _places(table.faces, ids, dataset), ok)
        return cls(dataset, ok, width, height, label, *faces)

    def __len__(self) -> int:
        return len(self.ok)

    def number(self, image_id: str) -> int:
        """The number of an image.

        Raises:
            UsageError: the data set has no such image.
        """
        place = self.find(image_id)
        if place is None:
            raise UsageError(f"the data set has no image '{image_id}'")
        return place

    def find(self, image_id: str) -> int | None:
        """The number of an image, None where the data set has no such image."""
        name = self.image_id
        place = bisect_left(range(len(self)), image_id, key=name)
        return place if place < len(self) and name(place) == image_id else None

    def numbers(self, image_ids: Sequence[str]) -> NDArray[np.int64]:
        """The numbers of many images, (n,); -1 where the data set has no such image."""
        # The index is built of the few, and the many are looked up: the other way costs seconds.
        asked = pc.dictionary_encode(pa.array(image_ids, pa.string()))
        place = pc.index_in(_ids_and_labels(self.dataset)[0], asked.dictionary)
        rows = np.flatnonzero(pc.is_valid(place).to_numpy(zero_copy_only=False))
        found = np.full(len(asked.dictionary), -1, dtype=np.int64)
        found[place.drop_null().to_numpy()] = rows
        return np.asarray(found[asked.indices.to_numpy()])

    def image_id(self, number: int) -> str:
        """The id of an image."""
        samples = self.dataset.samples
        if isinstance(samples, ListedSamples):
            return str(samples.ids[number].as_py())
        return samples[number].image_id

    def size(self, number: int) -> tuple[int, int]:
        """Width and height of an image in pixels."""
        return int(self.width[number]), int(self.height[number])

    def faces(self, number: int) -> Faces:
        """The faces that the table has for an image."""
        return self.rows(slice(int(self.starts[number]), int(self.starts[number + 1])))

    def rows(self, rows: slice) -> Faces:
        """A range of faces."""
        count = rows.stop - rows.start
        kind, source = (column.slice(rows.start, count).to_pylist() for column in (self._kind, self._source))
        return Faces.of(self.xyxy[rows], self.score[rows], kind=kind, source=source)

    @cached_property
    def detector(self) -> str:
        """The source of most faces; empty where there is none."""
        if not len(self._source):
            return ""
        counts = np.bincount(self._source.indices.to_numpy())
        return str(self._source.dictionary[int(counts.argmax())].as_py())

    @cached_property
    def owner(self) -> Ints:
        """(faces,) number of the image of each face."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.counts)

    @cached_property
    def counts(self) -> Ints:
        """(images,) number of faces of each image."""
        return np.diff(self.starts).astype(np.int32)

    @cached_property
    def side(self) -> Floats:
        """(faces,) longer side of each face in pixels."""
        return longer_side(self.xyxy)

    @cached_property
    def face_share(self) -> Floats:
        """(images,) share of the images of the same category that have a face; NaN without a category."""
        has = (self.counts > 0)[self.ok]
        label = self.label[self.ok]
        known = max(1, int(self.label.max(initial=-1)) + 1)
        n = np.bincount(label[label >= 0], minlength=known)
        k = np.bincount(label[(label >= 0) & has], minlength=known)
        share = np.divide(k, n, out=np.full(known, np.nan), where=n > 0).astype(np.float32)
        return np.where(self.label >= 0, share[np.maximum(self.label, 0)], np.float32(np.nan))


class ListedSamples(Sequence[Sample]):
    """Samples as columns: each is made when it is asked for, since a million objects take seconds.

    Attributes:
        ids: image ids, sorted.
        labels: (n,) index of the category.
    """

    def __init__(self, ids: pa.Array, split: pa.DictionaryArray, labels: Ints) -> None:
        self.ids, self.labels = ids, labels
        self._splits = split.dictionary.to_pylist()
        self._split = split.indices.to_numpy()

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Sample, ...]: ...
    def __getitem__(self, index: int | slice) -> Sample | tuple[Sample, ...]:
        if isinstance(index, slice):
            return tuple(self[at] for at in range(*index.indices(len(self))))
        at = range(len(self))[index]
        return Sample(self.ids[at].as_py(), self._splits[self._split[at]], int(self.labels[at]))


def dataset_of(faces: FaceTable, root: Path) -> Dataset:
    """The data set of a face table without a walk through its folder: the images that were examined.

    To list a million files and look into each, as `sfumato.data.read_dataset` does, takes minutes; the table
    knows their names.

    Args:
        faces: the table.
        root: folder of the images.
    """
    rows = faces.images.select(["image_id", "split", "label"]).combine_chunks()
    ids = rows["image_id"].combine_chunks()
    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        rows = rows.sort_by("image_id").combine_chunks()
        ids = rows["image_id"].combine_chunks()
    split = pc.dictionary_encode(rows["split"].combine_chunks())
    labels = pc.fill_null(rows["label"], UNLABELLED).to_numpy().astype(np.int32)
    facts, inputs = faces.manifest.facts, faces.manifest.inputs
    categories = tuple(facts.get("categories", ()))
    samples = ListedSamples(ids, split, labels)
    return Dataset(Path(root), samples, categories, inputs.get("dataset", ""), facts.get("arm", "original"))


def _ids_and_labels(dataset: Dataset) -> tuple[pa.Array, Ints]:
    """Image ids and labels of all samples.

    Raises:
        TableError: not sorted by image id, or an id twice.
    """
    samples = dataset.samples
    if isinstance(samples, ListedSamples):
        ids, labels = samples.ids, samples.labels
    else:
        ids = pa.array([sample.image_id for sample in samples], pa.string())
        labels = np.fromiter((sample.label for sample in samples), np.int32, len(samples))
    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        raise TableError(f"{dataset.root}: the images of the data set are not sorted, or one is there twice")
    return ids, labels


def _places(table: pa.Table, ids: pa.Array, dataset: Dataset) -> NDArray[np.int64]:
    names = table["image_id"].combine_chunks()
    if names.equals(ids):
        return np.arange(len(ids))
    place = pc.index_in(names, ids)
    if place.null_count:
        lost = table["image_id"].combine_chunks().filter(pc.is_null(place))
        raise TableError(
            f"{place.null_count} row(s) of the face table are of no image in {dataset.root} "
            f"(the first: {lost[0].as_py()}); is it the right data set?"
        )
    return np.asarray(place.to_numpy(), dtype=np.int64)


def _spread(column: pa.ChunkedArray, row: NDArray[np.int64], n: int) -> Ints:
    values = np.zeros(n, dtype=np.int32)
    values[row] = pc.fill_null(column, 0).to_numpy()
    return values


def _faces(
    faces: pa.Table, owner: NDArray[np.int64], ok: NDArray[np.bool_]
) -> tuple[Floats, Floats, NDArray[np.int64], pa.DictionaryArray, pa.DictionaryArray]:
    order = np.argsort(owner, kind="stable")
    order = order[ok[owner[order]]]
    xyxy = np.stack([faces[name].to_numpy() for name in ("x0", "y0", "x1", "y1")], axis=1)[order]
    starts = np.zeros(len(ok) + 1, dtype=np.int64)
    np.cumsum(np.bincount(owner[order], minlength=len(ok)), out=starts[1:])
    words = [
        pc.dictionary_encode(faces[name].combine_chunks()).take(pa.array(order))
        for name in ("kind", "source")
    ]
    return xyxy, faces["score"].to_numpy()[order], starts, words[0], words[1]
