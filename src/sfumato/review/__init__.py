"""People in the loop: a queue, a log of what people said, and a number for what is still missed."""

from sfumato.review.columns import dataset_of
from sfumato.review.merging import Merged, MergeOptions, merge
from sfumato.review.model import (
    Crop,
    Item,
    Outcome,
    Record,
    Reviewer,
    ReviewSettings,
    Submission,
)
from sfumato.review.session import Session
from sfumato.review.written import write_merged

__all__ = [
    "Crop",
    "Item",
    "MergeOptions",
    "Merged",
    "Outcome",
    "Record",
    "ReviewSettings",
    "Reviewer",
    "Session",
    "Submission",
    "dataset_of",
    "merge",
    "write_merged",
]
