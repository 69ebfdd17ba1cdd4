"""How a variant came from its original, as its documents tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sfumato.errors import SfumatoError
from sfumato.records import Manifest
from sfumato.specs import parse, to_spec

LIMITATIONS = (
    "Faces that the detector missed, and that nobody added by hand, are still visible.",
    "Only faces are hidden: bodies, clothes, tattoos, name tags and places may still identify people.",
    "What a method leaves of a face is stated with the method; no promise is made that a person cannot be "
    "recognised.",
)
"""What a user of any variant must know, a sentence each."""


@dataclass(frozen=True)
class Derivation:
    """What the documents of a variant are written from.

    Attributes:
        variant: manifest of the variant.
        faces: manifest of the face table.
        invertible: what of the method could be undone, in words (see `Obfuscator`).
        endings: number of images written, by the ending of their names (".jpg").
    """

    variant: Manifest
    faces: Manifest
    invertible: str
    endings: Mapping[str, int]

    @property
    def method(self) -> str:
        """Spec of the method, every default written out."""
        return str(self.variant.settings["method"])

    @property
    def method_name(self) -> str:
        """The method without its settings; of a chain, each link's."""
        return "-".join(parse(link).name for link in self.method.split("|"))

    @property
    def original(self) -> str:
        """Fingerprint of the original data set."""
        return str(self.variant.inputs["dataset"])

    @property
    def detector(self) -> str:
        """Who found the faces: the detector's spec, or the format of the file that they came from."""
        settings = self.faces.settings
        return str(settings.get("detector") or settings.get("format") or "not known")

    @cached_property
    def figures(self) -> str:
        """Measured figures of the detector, where it is one of the presets; else empty."""
        from sfumato.detect import DETECTORS
        from sfumato.detect.presets import PRESETS

        for preset in PRESETS.values():
            try:
                if to_spec(DETECTORS.build(preset.spec)) == self.detector:
                    return preset.figures()
            except SfumatoError:  # a detector of this name cannot be made here; its figures stay unsaid
                continue
        return ""

    @property
    def weights(self) -> list[Mapping[str, Any]]:
        """Name, licence, origin and hash of each of the detector's networks."""
        return list(self.faces.facts.get("weights") or ())

    @property
    def selection(self) -> Mapping[str, Any]:
        """Rules by which faces were left visible on purpose; empty where all were hidden."""
        return dict(self.faces.settings.get("selection") or {})

    @property
    def tool(self) -> str:
        """Name and version of this program, as it made the variant."""
        return f"sfumato {self.variant.versions.get('sfumato', '')}".strip()

    def count(self, name: str) -> int:
        """A total of the manifest; 0 where it has none."""
        return int(self.variant.counts.get(name, 0))
