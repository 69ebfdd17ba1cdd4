"""What can be said of each detector: its options, its weights and their licence, who provides it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sfumato.detect.catalogue import DETECTORS
from sfumato.detect.presets import PRESETS
from sfumato.errors import SfumatoError
from sfumato.specs import to_spec


@dataclass(frozen=True)
class Description:
    """A detector as a person chooses it.

    Attributes:
        name: to type.
        spec: every option with its default; empty where an option must be given.
        provider: "sfumato", or a package with its version.
        weights: name, licence, origin and SHA-256 of each.
        note: what must be given or installed first; for a preset its purpose and figures.
    """

    name: str
    spec: str
    provider: str
    weights: tuple[dict[str, str], ...]
    note: str

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def __str__(self) -> str:
        licences = dict.fromkeys(f"{item['name']}: {item['licence']}" for item in self.weights)
        lines = [f"{self.name:<12} {self.spec}".rstrip(), self.note]
        lines += [f"weights {', '.join(licences)}"] if licences else []
        lines += [f"from {self.provider}"] if self.provider != "sfumato" else []
        return f"\n{'':<13}".join(line for line in lines if line)


def describe_detectors() -> list[Description]:
    """Presets first, then every detector by name; one that cannot be made says what it lacks."""
    presets = (name.replace("_", "-") for name in PRESETS)
    return [_described(name) for name in (*presets, *DETECTORS.names())]


def _described(name: str) -> Description:
    preset = PRESETS.get(name.replace("-", "_"))
    note = f"{preset.purpose}; {preset.figures()}" if preset else ""
    try:
        detector = DETECTORS.build(name)
        weights = tuple(
            {key: str(getattr(item, key)) for key in ("name", "licence", "origin", "sha256")}
            for item in getattr(detector, "weights", ())
        )
        return Description(name, to_spec(detector), DETECTORS.provider(name), weights, note)
    except SfumatoError as error:
        lacks = str(error).partition(": ")[2] or str(error)
        return Description(name, "", DETECTORS.provider(name), (), lacks)
    except Exception as error:  # a plug-in of another project must not hide the others
        lacks = f"cannot be described: {type(error).__name__}: {error}"
        return Description(name, "", DETECTORS.provider(name), (), lacks)
