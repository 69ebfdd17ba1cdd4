"""Names of detectors."""

from __future__ import annotations

from sfumato.detect.presets import PRESETS
from sfumato.specs import Catalogue

DETECTORS = Catalogue(
    kind="detector",
    group="sfumato.detectors",
    builtins={
        "centerface": "sfumato.detect.networks.centerface:CenterFace",
        "oracle": "sfumato.detect.oracle:Oracle",
        "retinaface": "sfumato.detect.networks.retinaface:RetinaFace",
        "scrfd": "sfumato.detect.networks.scrfd:Scrfd",
        "second_look": "sfumato.detect.second_look:SecondLook",
        "uniface": "sfumato.detect.uniface:Uniface",
        "yunet": "sfumato.detect.networks.yunet:YuNet",
    },
    aliases={
        **{name: preset.spec for name, preset in PRESETS.items()},
        "default": PRESETS["balanced"].spec,
        "rekognition": "oracle(format='rekognition')",
    },
    from_function="sfumato.detect.function:FunctionDetector",
)
"""The detectors that Sfumato brings, and those of installed plug-ins."""
