"""CVAT for images 1.1: one XML file with an element for each image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

from sfumato.errors import TableError
from sfumato.faces.exchange.annotations import Annotations, Collector, decoded, rounded, without
from sfumato.records import write_atomic
from sfumato.text_files import in_record, read_xml

_ENDS = ("xtl", "ytl", "xbr", "ybr")
_BOX_DEFAULTS = {"source": "manual", "occluded": "0", "z_order": "0"}


@dataclass(frozen=True)
class Cvat:
    """Pixels; the label is the kind; attributes, other fields and `meta` are kept.

    A score is written as an attribute of the box. Shapes other than upright boxes are refused, since
    leaving one out would leave a face visible.
    """

    name: ClassVar[str] = "cvat"
    keeps: ClassVar[frozenset[str]] = frozenset({"score", "kind", "extra"})

    def read(self, path: Path) -> Annotations:
        """Read the file.

        Raises:
            TableError: not this format, a document type, or a shape that is no upright box.
        """
        root = read_xml(path)
        if root.tag != "annotations":
            raise TableError(f"{path}: expected an element 'annotations', found '{root.tag}'")
        if root.find("track") is not None:
            raise TableError(f"{path}: tracks of a video; export as 'CVAT for images 1.1'")
        collector = Collector(path)
        for number, image in enumerate(root.iter("image")):
            with in_record(path, f"{number} ({image.get('name')})"):
                _read_image(collector, image)
        meta = root.find("meta")
        return collector.done(
            {} if meta is None else {"meta": ElementTree.tostring(meta, encoding="unicode")}
        )

    def write(self, annotations: Annotations, path: Path) -> None:
        """Write the file.

        Raises:
            TableError: the size of an image is not known.
        """
        root = ElementTree.Element("annotations")
        ElementTree.SubElement(root, "version").text = "1.1"
        if "meta" in annotations.file_extra:
            root.append(ElementTree.fromstring(annotations.file_extra["meta"]))
        xyxy = rounded(annotations.xyxy)
        for row, boxes in annotations.boxes_of():
            width, height = annotations.size_of(row)
            known = {"name": annotations.names[row], "width": str(width), "height": str(height)}
            extra = decoded(annotations.image_extra, row)
            image = ElementTree.SubElement(root, "image", {"id": str(row)} | extra.get("fields", {}) | known)
            for at in boxes:
                ends = dict(zip(_ENDS, map(str, xyxy[at]), strict=True))
                _append_box(image, annotations, at, ends)
            _append_attributes(image, "tag", extra.get("tags", []))
        ElementTree.indent(root)
        write_atomic(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _read_image(collector: Collector, image: ElementTree.Element) -> None:
    fields = without(image.attrib, "name", "width", "height")
    tags = [_plain(element) for element in image if element.tag == "tag"]
    extra = {"fields": fields} | ({"tags": tags} if tags else {})
    size = (image.attrib["width"], image.attrib["height"])
    collector.image(image.attrib["name"], size, extra)
    for element in image:
        if element.tag not in ("box", "tag"):
            raise ValueError(f"holds a {element.tag}; draw boxes only")
        if element.tag == "box":
            _read_box(collector, element)


def _read_box(collector: Collector, box: ElementTree.Element) -> None:
    if float(box.get("rotation", "0")) != 0:
        raise ValueError("holds a rotated box; draw upright boxes only")
    ends = [float(box.attrib[end]) for end in _ENDS]
    plain = _plain(box)
    scores = [text for name, text in plain["attributes"] if name == "score"]
    plain["attributes"] = [pair for pair in plain["attributes"] if pair[0] != "score"]
    plain["fields"] = without(plain["fields"], "label", *_ENDS)
    kept = {key: value for key, value in plain.items() if value}
    collector.box(ends, float(scores[0] or "nan") if scores else 1.0, box.attrib["label"], kept)


def _plain(element: ElementTree.Element) -> dict[str, Any]:
    attributes = [(child.attrib["name"], child.text or "") for child in element.iter("attribute")]
    return {"fields": dict(element.attrib), "attributes": attributes}


def _append_box(
    image: ElementTree.Element, annotations: Annotations, at: int, ends: Mapping[str, str]
) -> None:
    extra = decoded(annotations.extra, at)
    fields = {"label": annotations.kind[at]} | _BOX_DEFAULTS | extra.get("fields", {}) | ends
    attributes = list(extra.get("attributes", []))
    if annotations.score[at] != 1:
        attributes.append(("score", repr(float(annotations.score[at]))))
    _append_attributes(image, "box", [{"fields": fields, "attributes": attributes}])


def _append_attributes(parent: ElementTree.Element, tag: str, elements: list[dict[str, Any]]) -> None:
    for plain in elements:
        element = ElementTree.SubElement(parent, tag, plain["fields"])
        for name, text in plain["attributes"]:
            ElementTree.SubElement(element, "attribute", {"name": name}).text = text
