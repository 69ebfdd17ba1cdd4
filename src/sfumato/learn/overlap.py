"""Notice that a model is evaluated on images that it was trained on: their ids lie in the run's folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sfumato.data import Dataset
from sfumato.errors import TableError, UsageError
from sfumato.records import write_table

TRAINED = "trained.parquet"
"""File in a run's folder: the column `image_id` of what the run was given to train on."""


def note_trained(run: Path, dataset: Dataset) -> None:
    """Write down in a run's folder which images of a data set it is trained on."""
    ids = [sample.image_id for sample in dataset.subset("train").samples]
    write_table(run / TRAINED, pa.table({"image_id": pa.array(ids, pa.string())}))


def need_apart(run: Path, dataset: Dataset) -> None:
    """Check that none of the images to be evaluated was trained on.

    Images are known by their ids, which a variant shares with its original. A run without the file is not
    checked.

    Raises:
        UsageError: some were.
        TableError: the file cannot be read.
    """
    path = run / TRAINED
    if not path.is_file():
        return
    try:
        trained = set(pq.read_table(path, columns=["image_id"])["image_id"].to_pylist())
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"{path}: cannot be read ({error}); train the run anew") from error
    samples = dataset.subset(dataset.evaluation_split).samples
    both = [sample.image_id for sample in samples if sample.image_id in trained]
    if both:
        raise UsageError(
            f"{len(both)} of {len(samples)} images to evaluate on were trained on ('{both[0]}' first): "
            "give the --val-fraction and --split-seed of the training, or --allow-trained if these are other "
            "images with the same names"
        )
