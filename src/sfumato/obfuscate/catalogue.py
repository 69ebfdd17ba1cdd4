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
        "inpaint": "sfumato.obfuscate.methods.inpaint:Inpaint",
        "dp_pix": "sfumato.obfuscate.methods.dp_pix:DpPix",
    },
    aliases={
        "gaussian": "blur",
        "pixelate": "mosaic",
        "pixelize": "mosaic",
        "solid": "overlay",
        "blackout": "overlay",
        "box": "overlay",
        "dp_pixelation": "dp_pix",
    },
    from_chain="sfumato.obfuscate.methods.chain:chain",
)
