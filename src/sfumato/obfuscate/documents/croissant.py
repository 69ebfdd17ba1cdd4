"""Describe a variant for machines: Croissant 1.1 with PROV-O and the responsible-AI vocabulary.

The format is <http://mlcommons.org/croissant/1.1>, the vocabulary <http://mlcommons.org/croissant/RAI/1.0>;
the derivation follows the provenance section of the former, in terms of <http://www.w3.org/ns/prov#>.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sfumato.obfuscate.documents.derivation import LIMITATIONS, Derivation

_CR = (
    *(
        "arrayShape",
        "citeAs",
        "column",
        "containedIn",
        "equivalentProperty",
        "extract",
        "field",
        "fileObject",
    ),
    *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
    *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
    *("separator", "source", "subField", "transform"),
)
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    **{word: f"cr:{word}" for word in _CR},
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
}
_MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jfif": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".gif": "image/gif",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".jp2": "image/jp2",
    ".jxl": "image/jxl",
}
_COLUMNS = (
    ("image_id", "sc:Text", "Path of the image below the data set, the same as in the original."),
    ("split", "sc:Text", "Part of the data set: train, val, test, or all."),
    ("label", "sc:Integer", "Index into the categories; -1 where the image has no label."),
    ("width", "sc:Integer", "Width of the upright image in pixels."),
    ("height", "sc:Integer", "Height of the upright image in pixels."),
    ("status", "sc:Text", "ok, or failed: then the variant has no file for this row."),
    ("sha256", "sc:Text", "SHA-256 of the image file."),
    ("n_faces", "sc:Integer", "Number of faces that were hidden in the image."),
    ("written", "sc:Text", "How the file was written; null where it failed."),
)


def croissant(derivation: Derivation, hashes: Mapping[str, str]) -> dict[str, Any]:
    """The description as JSON-LD.

    Args:
        derivation: of the variant.
        hashes: SHA-256 of `images.parquet` and `faces.json` by their names.
    """
    return {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": f"{derivation.original}-{derivation.method_name}",
        "description": _description(derivation),
        "distribution": [*_files(hashes), *_file_sets(derivation)],
        "recordSet": _record_sets(derivation),
        **_provenance(derivation),
        **_responsible_ai(derivation),
    }


def _description(derivation: Derivation) -> str:
    return (
        f"A copy of an image data set with faces hidden by {derivation.method}: {derivation.count('faces')} "
        f"faces in {derivation.count('images')} images. Names, splits and labels are those of the original."
    )


def _files(hashes: Mapping[str, str]) -> list[dict[str, Any]]:
    types = {"images.parquet": "application/x-parquet", "faces.json": "application/json"}
    words = {"images.parquet": "One row an image.", "faces.json": "The boxes that were hidden, in pixels."}
    return [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "description": words[name],
            "contentUrl": name,
            "encodingFormat": types[name],
            "sha256": digest,
        }
        for name, digest in sorted(hashes.items())
    ]


def _file_sets(derivation: Derivation) -> list[dict[str, Any]]:
    """A set for each media type; a name's ending may be written in several ways."""
    sets: dict[str, list[str]] = {}
    for ending in derivation.endings:
        sets.setdefault(_MEDIA_TYPES.get(ending.lower(), "application/octet-stream"), []).append(ending)
    return [
        {
            "@type": "cr:FileSet",
            "@id": f"images-{media.partition('/')[2]}",
            "name": f"images-{media.partition('/')[2]}",
            "description": f"{sum(derivation.endings[ending] for ending in endings)} image files.",
            "encodingFormat": media,
            "includes": [pattern for ending in endings for pattern in (f"*{ending}", f"**/*{ending}")],
        }
        for media, endings in sets.items()
    ]


def _record_sets(derivation: Derivation) -> list[dict[str, Any]]:
    categories = list(derivation.variant.facts.get("categories") or ())
    fields = [_field(*column, categories=bool(categories)) for column in _COLUMNS]
    images = {
        "@type": "cr:RecordSet",
        "@id": "images",
        "name": "images",
        "description": "One record an image of the original, in the order of their paths.",
        "key": {"@id": "images/image_id"},
        "field": fields,
    }
    return [images, *([_categories(categories)] if categories else [])]


def _field(name: str, kind: str, words: str, *, categories: bool) -> dict[str, Any]:
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"images/{name}",
        "name": f"images/{name}",
        "description": words,
        "dataType": [kind, "cr:Label"] if name == "label" else kind,
        "source": {"fileObject": {"@id": "images.parquet"}, "extract": {"column": name}},
    }
    if name == "label" and categories:
        field["references"] = {"field": {"@id": "categories/label"}}
    return field


def _categories(names: list[str]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "categories",
        "name": "categories",
        "description": "Names of the labels.",
        "dataType": "sc:Enumeration",
        "key": {"@id": "categories/label"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"categories/{name}",
                "name": f"categories/{name}",
                "dataType": kind,
            }
            for name, kind in (("label", "sc:Integer"), ("name", "sc:Text"))
        ],
        "data": [{"categories/label": at, "categories/name": name} for at, name in enumerate(names)],
    }


def _provenance(derivation: Derivation) -> dict[str, Any]:
    agent = {"@type": "prov:SoftwareAgent", "prov:label": derivation.tool}
    detector = {"@type": "prov:SoftwareAgent", "prov:label": derivation.detector}
    boxes = {"@id": f"urn:sfumato:faces:{derivation.variant.inputs.get('faces', '')}"}
    original = {"@id": f"urn:sfumato:dataset:{derivation.original}"}
    return {
        "prov:wasDerivedFrom": [original],
        "prov:wasAttributedTo": agent,
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": f"Hide faces: {derivation.method}",
            "prov:wasAssociatedWith": agent,
            "prov:used": [
                original,
                {
                    **boxes,
                    "@type": "prov:Entity",
                    "prov:label": "Boxes of faces",
                    "prov:wasDerivedFrom": original,
                    "prov:wasAttributedTo": detector,
                },
            ],
        },
    }


def _responsible_ai(derivation: Derivation) -> dict[str, Any]:
    count = derivation.count
    hidden = (
        f"Faces in {count('images')} images were located by {derivation.detector} and hidden with "
        f"{derivation.method}. Can it be undone: {derivation.invertible}."
    )
    found = f"Faces were located by {derivation.detector}."
    return {
        "rai:dataManipulationProtocol": hidden,
        "rai:dataPreprocessingProtocol": [
            hidden,
            "Images without faces are the original's files. Images with faces keep their format; what was "
            "changed in each file is a column of images.parquet.",
        ],
        "rai:dataAnnotationProtocol": found
        + (f" Measured: {derivation.figures}." if derivation.figures else ""),
        "rai:machineAnnotationTools": derivation.detector,
        "rai:personalSensitiveInformation": [
            "The images show people who did not agree to it. Their faces were hidden where they were found; "
            "faces that were missed remain.",
            "faces.json tells where the faces were.",
        ],
        "rai:dataLimitations": [*LIMITATIONS, *_left_out(derivation)],
        "rai:dataUseCases": "Training and evaluating recognition models with less exposure of people.",
        "rai:dataSocialImpact": "Hiding faces lowers the risk for people who are shown by accident; it does "
        "not replace their consent.",
    }


def _left_out(derivation: Derivation) -> list[str]:
    said = []
    if derivation.count("failed"):
        said.append(
            f"{derivation.count('failed')} images of the original could not be examined or written; they "
            "are not in this copy and images.parquet gives the reason for each."
        )
    if derivation.selection:
        said.append(f"Faces were left visible on purpose by rules: {dict(derivation.selection)}.")
    return said
