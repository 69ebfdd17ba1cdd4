"""Data sets: rows of samples over files that are read on demand."""

from sfumato.data.dataset import Dataset, Sample, labels_of
from sfumato.data.folder import read_folder
from sfumato.data.variant import IMAGES_SCHEMA, read_dataset

__all__ = ["IMAGES_SCHEMA", "Dataset", "Sample", "labels_of", "read_dataset", "read_folder"]
