"""The obfuscation methods by name."""

from __future__ import annotations

from sfumato.specs import Catalogue

METHODS = Catalogue(
    kind="method",
    group="sfumato.obfuscators",
    builtins={
        "none": "sfumato.obfuscate.methods.control:NoObfuscation",
        "blur": "sfumato.obfuscate.methods.blur:Blur",
        "study_blur": "sfumato.obfuscate.methods.study_blur:StudyBlur",
        "mosaic": "sfumato.obfuscate.methods.mosaic:Mosaic",
        "overlay": "sfumato.obfuscate.methods.overlay:Overlay",
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
