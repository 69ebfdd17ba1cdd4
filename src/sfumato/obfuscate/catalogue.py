"""The obfuscation methods by name."""

from __future__ import annotations

from sfumato.specs import Catalogue

METHODS = Catalogue(
    kind="method",
    group="sfumato.obfuscators",
    builtins={
        "none": "sfumato.obfuscate.control:NoObfuscation",
        "blur": "sfumato.obfuscate.blur:Blur",
        "study_blur": "sfumato.obfuscate.study_blur:StudyBlur",
        "mosaic": "sfumato.obfuscate.mosaic:Mosaic",
        "overlay": "sfumato.obfuscate.overlay:Overlay",
    },
    aliases={
        "gaussian": "blur",
        "pixelate": "mosaic",
        "pixelize": "mosaic",
        "solid": "overlay",
        "blackout": "overlay",
        "box": "overlay",
    },
)
