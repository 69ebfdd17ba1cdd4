"""Boxes as data: read and write the formats that annotators, detectors and trainers use."""

from sfumato.faces.exchange.annotations import Annotations, Collector
from sfumato.faces.exchange.catalogue import FORMATS, BoxFormat
from sfumato.faces.exchange.exporting import Exported, ExportOptions, annotations_of, export_boxes
from sfumato.faces.exchange.importing import BoxFile, ImportOptions, import_boxes, match_images

__all__ = [
    "FORMATS",
    "Annotations",
    "BoxFile",
    "BoxFormat",
    "Collector",
    "ExportOptions",
    "Exported",
    "ImportOptions",
    "annotations_of",
    "export_boxes",
    "import_boxes",
    "match_images",
]
