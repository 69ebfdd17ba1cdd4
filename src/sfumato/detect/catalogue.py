"""Names of detectors."""

from __future__ import annotations

from sfumato.specs import Catalogue

DETECTORS = Catalogue(
    kind="detector",
    group="sfumato.detectors",
    builtins={
        "centerface": "sfumato.detect.centerface:CenterFace",
        "default": "sfumato.detect.second_look:SecondLook",
        "oracle": "sfumato.detect.oracle:Oracle",
        "retinaface": "sfumato.detect.retinaface:RetinaFace",
    },
)
"""The detectors that Sfumato brings, and those of installed plug-ins."""
