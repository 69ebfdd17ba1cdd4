"""Start a run from trained weights: a file, a run of ours, or what torchvision and timm publish.

Files are read as data: no code in them is ever run. The head, which is what depends on the number of
categories, stays as it was drawn where that number differs; everything else must fit exactly.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.errors import TrainingError, UsageError
from sfumato.learn.architectures import TimmModel, TorchvisionModel, for_size
from sfumato.learn.catalogue import find_model, head_of
from sfumato.learn.operators import import_torch, import_torchvision
from sfumato.learn.run import KIND, WEIGHTS
from sfumato.records import file_sha256, read_manifest

if TYPE_CHECKING:
    from torch import Tensor, nn

_TORCHVISION, _TIMM = "torchvision", "timm"
_WRAPPERS = ("state_dict", "model")
"""Under which keys training scripts keep the weights, among other things."""
_PARALLEL = "module"
"""What DataParallel puts into names: "module.conv1.weight", "features.module.0.weight"."""
_COUNTER = ".num_batches_tracked"
"""Of batch normalisation; files from before PyTorch 0.4.1 lack it, and nothing computes with it."""
_OBJECT = re.compile(r"(?:GLOBAL|Unsupported (?:global|class))\W+([\w.]+)")
"""Which object torch names when it refuses a pickle."""
_REASON = re.compile(r"\n\s*(.{1,100}).*\s+Check the documentation of torch\.load")
"""What torch says between its advice."""


@dataclass(frozen=True)
class _Target:
    """What is to be loaded into, or loaded from by name."""

    model_name: str
    weights: str
    n_categories: int
    image_size: int | None


@dataclass(frozen=True)
class _Start:
    """Trained weights by name, what messages call them, and what a manifest says of them."""

    tensors: Mapping[str, Tensor]
    shown: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def describe_start(weights: str) -> dict[str, str]:
    """What a pretrained start is, the place of a file left out: equal starts have equal descriptions.

    Args:
        weights: see `load_start`.

    Returns:
        "source" ("file", "run", "torchvision" or "timm") and "name"; "sha256" of a file, or of the weights of
        a run, with the run's key as "run".

    Raises:
        UsageError: neither a word that is known here nor a file that exists.
        ManifestError: a folder that is no finished run.
        TrainingError: a run without its weights.
    """
    source, _, name = weights.partition(":")
    if source == _TORCHVISION or weights == _TIMM:
        return {"source": source, "name": name}
    path = Path(weights)
    if path.is_dir():
        key = read_manifest(path, kind=KIND).key
        return {"source": "run", "name": path.name, "run": key, "sha256": _sha256(path / WEIGHTS)}
    if not path.is_file():
        raise UsageError(
            f"weights '{weights}': no such file; give a file, the folder of a run, or one of "
            "torchvision, torchvision:NAME, timm (whose weights are named with the model: timm:NAME.TAG)"
        )
    return {"source": "file", "name": path.name, "sha256": _sha256(path)}


def load_start(  # noqa: PLR0913 -- a model as it was built, and what it starts from
    model: nn.Module,
    model_name: str,
    weights: str,
    n_categories: int,
    *,
    image_size: int | None = None,
    fresh_head: bool = False,
) -> dict[str, Any]:
    """Load trained weights into a new model; its head stays random where the categories differ in number.

    Args:
        model: as `build_model` gives it for the same name, number and size; changed in place, or not at all.
        model_name: see `find_model`.
        weights: a file of weights by name (safetensors, or what torch.load reads without running code: a
            plain dictionary, or one with "state_dict" or "model" in it, names with or without "module.");
            the folder of a finished run; "torchvision" (its default) or "torchvision:NAME" for published
            weights of a torchvision model; "timm" for those of a timm model. These need a network, or the
            cache that an earlier call left. A file that is called like one of the words is "./timm".
        n_categories: number of scores that the model gives.
        image_size: side of the images in pixels, for timm's nets that must know it.
        fresh_head: the head stays random in any case, since the categories are others.

    Returns:
        Facts for a manifest: those of `describe_start`; "replaced", names of the parameters that stayed
        random; "n_categories_before" of the weights, None where they have no head; for a run its "model" and
        "arm", for published weights their "url".

    Raises:
        UsageError, ManifestError: as `describe_start`; no published weights of that name.
        TrainingError: the weights are damaged, hold more than weights, belong to another model, or cannot be
            fetched.
    """
    facts = describe_start(weights)
    target = _Target(model_name, weights, n_categories, image_size)
    start = _READERS[facts["source"]](target)
    own = model.state_dict()
    tensors = _named_as(own, start.tensors)
    replaced = (
        _replaced(own, tensors, target, fresh=fresh_head) if fresh_head or _misfit(own, tensors) else []
    )
    kept = {name: tensor for name, tensor in tensors.items() if name not in replaced}
    misfit = _misfit({name: tensor for name, tensor in own.items() if name not in replaced}, kept)
    if misfit:
        raise TrainingError(
            f"{start.shown}: holds the weights of another model than {model_name} ({misfit}); "
            f"give weights of {model_name}, or name the model that they are of"
        )
    model.load_state_dict(kept, strict=False)  # all but the head, as was just checked
    before = [len(tensors[name]) for name in replaced if name in tensors] if replaced else [n_categories]
    return {
        **facts,
        **start.facts,
        "replaced": replaced,
        "n_categories_before": before[-1] if before else None,
    }


def _named_as(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without what DataParallel put into their names, unless the model itself has such names."""
    if any(_PARALLEL in name.split(".") for name in own):
        return dict(tensors)
    parts = {name: [part for part in name.split(".") if part != _PARALLEL] for name in tensors}
    return {".".join(parts[name]): tensor for name, tensor in tensors.items()}


def _misfit(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    """The first parameter that does not fit, in words; empty where all fit."""
    for name, tensor in own.items():
        if name not in tensors:
            if name.endswith(_COUNTER):
                continue
            return f"'{name}' is not in it"
        if tensors[name].shape != tensor.shape:
            return f"'{name}' has shape {_shape(tensors[name])}, not {_shape(tensor)}"
    beyond = [name for name in tensors if name not in own]
    return f"it has '{beyond[0]}', which the model has not" if beyond else ""


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "()"


def _replaced(
    own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], target: _Target, *, fresh: bool
) -> list[str]:
    """Names of the head's parameters that the weights have for another number of categories, or lack.

    A fresh head is replaced whole.
    """
    head = head_of(own, target.model_name, target.n_categories, image_size=target.image_size)
    if fresh:
        return head
    return [name for name in head if name not in tensors or _other_number(own[name], tensors[name])]


def _other_number(own: Tensor, given: Tensor) -> bool:
    return own.ndim == given.ndim and own.shape[1:] == given.shape[1:] and len(own) != len(given)


def _read_run(target: _Target) -> _Start:
    run = Path(target.weights)
    facts = read_manifest(run, kind=KIND).facts
    tensors = _read_safetensors(run / WEIGHTS)
    return _Start(
        tensors, f"{run} ({facts['model']})", {name: facts[name] for name in ("model", "arm", "seed")}
    )


def _read_file(target: _Target) -> _Start:
    path = Path(target.weights)
    read = _read_safetensors if path.suffix == ".safetensors" else _read_pickle
    return _Start(read(path), str(path))


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: Mapping[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path}: not a readable safetensors file ({error}); get it again") from error
    return tensors


def _read_pickle(path: Path) -> Mapping[str, Tensor]:
    """What torch.save wrote, read with a list of allowed types: a pickle can otherwise run anything."""
    torch = import_torch()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickles, which either are read or are refused
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can lead torch's reader anywhere
        raise TrainingError(f"{path}: {_why_unreadable(error)}") from error
    return _unwrapped(found, path)


def _why_unreadable(error: Exception) -> str:
    """What is wrong with a file and what to do; torch's own text advises to run the code."""
    refused = _OBJECT.search(str(error))
    if refused:
        return (
            f"holds Python objects beside weights ({refused[1]}), which could run code and so are not "
            "loaded; save its state dict alone, or as safetensors"
        )
    reason = _REASON.search(str(error))
    said = reason[1] if reason else _first_line(error)
    return (
        f"damaged, or no weights that can be read without running code ({said}); get it again, "
        "best as safetensors"
    )


def _unwrapped(found: object, path: Path) -> Mapping[str, Tensor]:
    """The dictionary of tensors in what a training script saved."""
    import torch

    for wrapper in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
            break
    if isinstance(found, dict) and found and all(isinstance(value, torch.Tensor) for value in found.values()):
        return {str(name): value for name, value in found.items()}
    held = ", ".join(map(str, list(found)[:5])) if isinstance(found, dict) else type(found).__name__
    raise TrainingError(f"{path}: holds no weights by name (but {held or 'nothing'}); save a state dict")


def _read_torchvision(target: _Target) -> _Start:
    architecture = find_model(target.model_name)
    if not isinstance(architecture, TorchvisionModel):
        raise UsageError(f"weights '{target.weights}': {target.model_name} is no model of torchvision")
    known = import_torchvision().models.get_model_weights(architecture.name)
    name = target.weights.partition(":")[2] or known.DEFAULT.name
    if name not in known.__members__:
        names = ", ".join(known.__members__)
        raise UsageError(f"weights '{target.weights}': of {architecture.name} torchvision has {names}")
    entry = known[name]
    tensors = _fetched(lambda: entry.get_state_dict(progress=False, check_hash=True), target)
    return _Start(tensors, f"{_TORCHVISION}:{name}", {"name": name, "url": entry.url})


def _read_timm(target: _Target) -> _Start:
    import torch

    architecture = find_model(target.model_name)
    if not isinstance(architecture, TimmModel):
        raise UsageError(
            f"weights '{target.weights}': {target.model_name} is no model of timm; say timm:NAME"
        )
    sized = for_size(architecture, target.image_size)
    assert isinstance(sized, TimmModel)
    with torch.random.fork_rng():
        trained = _fetched(lambda: sized.create(pretrained=True), target)
    config = trained.pretrained_cfg
    facts = {"name": ".".join(filter(None, (config["architecture"], config.get("tag"))))}
    url = config.get("hf_hub_id") or config.get("url")
    return _Start(trained.state_dict(), f"timm's {facts['name']}", facts | ({"url": url} if url else {}))


def _fetched(fetch: Callable[[], Any], target: _Target) -> Any:
    try:
        return fetch()
    except Exception as error:  # whatever the network and two libraries raise
        raise TrainingError(
            f"weights '{target.weights}' of {target.model_name} cannot be fetched ({_first_line(error)}); "
            "get them where there is a network and give the file"
        ) from error


def _first_line(error: Exception) -> str:
    """The first sentence of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].partition(". ")[0][:120]


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}); train the run anew") from error


_READERS: Mapping[str, Callable[[_Target], _Start]] = {
    "file": _read_file,
    "run": _read_run,
    _TORCHVISION: _read_torchvision,
    _TIMM: _read_timm,
}
