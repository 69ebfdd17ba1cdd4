"""`review.toml`: the settings of a review as a file that a person can read and change."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from sfumato.review.model import ReviewSettings
from sfumato.toml_files import FLAG, NUMBER, TEXT, TEXTS, WHOLE, Field, read_sections, write_sections

_LAYOUT = {
    "review": {
        "faces": Field(TEXT, "Key of the face table that the records are about."),
        "seed": Field(WHOLE, "Of everything random."),
        "kinds": Field(TEXTS, "What a box may be."),
        "read_only": Field(FLAG, "Nothing can be saved."),
        "lease_seconds": Field(NUMBER, "How long an image is kept for a person who has not saved it."),
        "instructions": Field(TEXT, "Text for the people."),
    },
    "queue": {
        "threshold": Field(NUMBER, "Detections near this score come first."),
        "small": Field(NUMBER, "Longer side in pixels below which a face counts as small."),
        "face_free": Field(
            NUMBER, "A category with a smaller share of images with faces is usually face-free."
        ),
        "overlap": Field(WHOLE, "People who look at an image."),
        "overlap_share": Field(NUMBER, "Share of images that so many people look at; the others get one."),
        "match_iou": Field(NUMBER, "Boxes of two people that overlap so much are the same face."),
    },
    "gold": {
        "gold_share": Field(NUMBER, "Share of images with a known answer."),
        "gold_rule": Field(TEXT, 'Compare the areas covered ("union") or each box ("boxes").'),
        "gold_iou": Field(NUMBER, "Least intersection over union of an answer that is right."),
        "gold_start": Field(TEXT, 'Boxes to begin with: those of the face table ("faces") or "wrong" ones.'),
        "lives": Field(WHOLE, "Wrong answers until a person begins again."),
        "max_restarts": Field(WHOLE, "Who would have to begin again more often is set aside."),
    },
    "audit": {
        "audit_share": Field(NUMBER, "Share of images that come from a random sample of all."),
        "audit_until_target": Field(FLAG, "Go on with the sample after the queue, until the target is met."),
        "target": Field(NUMBER, "Share of faces that may be missed at most."),
        "confidence": Field(NUMBER, "Of intervals, and of the statement about the target."),
    },
}

_HEAD = [
    "Settings of a review; what people said is in reviews.jsonl beside this file.",
    "A changed file counts from the next start of sfumato review on.",
]


def write_settings(path: Path, settings: ReviewSettings, *, faces_key: str) -> None:
    """Write settings with every default, and the key of the face table."""
    write_sections(path, _LAYOUT, {**asdict(settings), "faces": faces_key}, head=_HEAD)


def read_settings(path: Path) -> tuple[ReviewSettings, str]:
    """Settings, and the key of the face table that the review is of (empty where the file has none).

    Raises:
        UsageError: not readable, an unknown field, or a value that cannot be.
    """
    values: dict[str, Any] = read_sections(path, _LAYOUT)
    key = str(values.pop("faces", ""))
    return ReviewSettings(**values), key
