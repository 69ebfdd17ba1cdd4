from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sfumato.data import Dataset
from sfumato.errors import ManifestError, SfumatoError, TrainingError, UsageError
from sfumato.learn import Recipe, RunConfig, build_model, train
from sfumato.learn.checkpoint import write_weights
from sfumato.learn.operators import import_torchvision
from sfumato.learn.pretrained import describe_start, load_start
from sfumato.records import file_sha256, read_manifest

Make = Callable[..., Dataset]
SMALL = "small_resnet"


def state(n_categories: int = 5, name: str = SMALL) -> dict[str, Tensor]:
    """The weights of a trained model: drawn after another seed than the model that starts from them."""
    torch.manual_seed(99)
    return dict(build_model(name, n_categories).state_dict())


def plain(path: Path, tensors: dict[str, Tensor]) -> None:
    torch.save(tensors, path)


def legacy(path: Path, tensors: dict[str, Tensor]) -> None:
    torch.save(tensors, path, _use_new_zipfile_serialization=False)


def as_published(path: Path, tensors: dict[str, Tensor]) -> None:
    """As the study publishes most of its nets: a script's dictionary, names after DataParallel."""
    optimizer = {
        "state": {0: {"momentum_buffer": torch.ones(3)}},
        "param_groups": [{"lr": 0.1, "params": [0]}],
    }
    named = {f"module.{name}": tensor for name, tensor in tensors.items()}
    script = {"epoch": 90, "arch": SMALL, "best_acc1": torch.tensor(69.0), "optimizer": optimizer}
    torch.save({**script, "state_dict": named}, path)


def as_published_alexnet(path: Path, tensors: dict[str, Tensor]) -> None:
    """As its AlexNet and VGGs, of which only a part was parallel."""
    named = {name.replace("stages.", "stages.module.", 1): tensor for name, tensor in tensors.items()}
    torch.save({"model": named}, path)


def in_safetensors(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, path.with_suffix(".safetensors"))
    path.with_suffix(".safetensors").rename(path)


WRITERS = {
    "a.pth": plain,
    "b.pt": legacy,
    "c.pth": as_published,
    "d.pth": as_published_alexnet,
    "e.safetensors": in_safetensors,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("n_categories", [5, 3])
def test_files_of_every_kind_are_loaded(name: str, n_categories: int, tmp_path: Path) -> None:
    trained, path = state(5), tmp_path / name
    WRITERS[name](path, trained)
    torch.manual_seed(1)
    model = build_model(SMALL, n_categories)
    drawn = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    chance = torch.get_rng_state()
    facts = load_start(model, SMALL, str(path), n_categories)
    assert torch.equal(torch.get_rng_state(), chance)
    head = ["head.weight", "head.bias"] if n_categories == 3 else []
    assert facts == {
        "source": "file",
        "name": name,
        "sha256": file_sha256(path),
        "replaced": head,
        "n_categories_before": 5,
    }
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, drawn[key] if key in head else trained[key])


@pytest.mark.parametrize(("name", "head"), [("squeezenet1_0", "classifier.1"), ("shufflenet_v2_x1_0", "fc")])
def test_the_head_is_what_depends_on_the_number_of_categories(name: str, head: str, tmp_path: Path) -> None:
    save_file(state(9, name), tmp_path / "w.safetensors")
    facts = load_start(build_model(name, 4), name, str(tmp_path / "w.safetensors"), 4)
    assert facts["replaced"] == [f"{head}.weight", f"{head}.bias"]


def test_weights_without_a_head_or_without_counters_start_a_model(tmp_path: Path) -> None:
    trained = {name: tensor for name, tensor in state().items() if not name.startswith("head.")}
    old = {name: tensor for name, tensor in trained.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < len(trained)
    torch.save(old, tmp_path / "old.pth")
    model = build_model(SMALL, 3)
    facts = load_start(model, SMALL, str(tmp_path / "old.pth"), 3)
    assert (facts["replaced"], facts["n_categories_before"]) == (["head.weight", "head.bias"], None)
    assert torch.equal(model.state_dict()["stem.0.weight"], trained["stem.0.weight"])


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    torch.save(
        {name: each.half() if each.is_floating_point() else each for name, each in state().items()},
        tmp_path / "h.pt",
    )
    model = build_model(SMALL, 5)
    load_start(model, SMALL, str(tmp_path / "h.pt"), 5)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_run_is_a_start_for_other_categories(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    config = RunConfig(SMALL, tiny.with_overrides(epochs=1), seed=4)
    run = train(colours(n_categories=3), config, tmp_path / "run")
    model = build_model(SMALL, 2)
    facts = load_start(model, SMALL, str(run), 2)
    assert facts == {
        "source": "run",
        "name": "run",
        "run": read_manifest(run).key,
        "sha256": file_sha256(run / "model.safetensors"),
        "model": SMALL,
        "arm": "original",
        "seed": 4,
        "replaced": ["head.weight", "head.bias"],
        "n_categories_before": 3,
    }
    with pytest.raises(TrainingError, match=r"run \(small_resnet\): holds the weights of another model than"):
        load_start(build_model("shufflenet_v2_x1_0", 2), "shufflenet_v2_x1_0", str(run), 2)
    (run / "model.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"model\.safetensors: cannot be read"):
        describe_start(str(run))
    with pytest.raises(ManifestError, match="not a finished artefact"):
        load_start(model, SMALL, str(tmp_path), 2)


class Malicious:
    """Runs a command when it is unpickled without care."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["beside", "instead"])
def test_code_in_a_checkpoint_is_not_run(zipped: bool, place: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "was-run", tmp_path / "evil.pth"
    evil = Malicious(mark)
    content: object = {"state_dict": state(), "args": evil} if place == "beside" else evil
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    model = build_model(SMALL, 5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(
        TrainingError, match=r"evil\.pth: holds Python objects .*system.*could run code"
    ) as found:
        load_start(model, SMALL, str(path), 5)
    assert "\n" not in str(found.value)
    assert not mark.exists()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    with path.open("rb") as file:  # the test itself: read carelessly, it would have run
        torch.load(file, weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_plain_malicious_pickle_is_not_run_either(protocol: int, tmp_path: Path) -> None:
    mark, path = tmp_path / "was-run", tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(Malicious(mark), protocol))
    with pytest.raises(TrainingError, match=r"evil\.pt: .*run(ning)? code") as found:
        load_start(build_model(SMALL, 5), SMALL, str(path), 5)
    assert "weights_only" not in str(found.value)  # torch's text advises to switch the protection off
    assert not mark.exists()


@pytest.mark.parametrize("name", [name for name in WRITERS if name[0] in "abe"])
@pytest.mark.parametrize("kept", [0, 5, 300, 0.5, 0.99])
def test_a_truncated_file_is_one_clear_line(name: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path, state())
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(len(data) * kept)])
    with pytest.raises(TrainingError, match=rf"{name}: .*get it again") as found:
        load_start(build_model(SMALL, 5), SMALL, str(path), 5)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < len(str(path)) + 300
    assert "weights_only" not in str(found.value)


def test_noise_is_refused_in_words(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(40):
        path = tmp_path / f"{number}.{'safetensors' if number % 4 == 0 else 'pth'}"
        path.write_bytes(rng.integers(0, 256, 400, dtype=np.uint8).tobytes())
        with pytest.raises(TrainingError, match=rf"{path.name}: "):
            load_start(build_model(SMALL, 5), SMALL, str(path), 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "net": {}}, r"holds no weights by name \(but epoch, net\)"),
        ([torch.ones(2)], r"holds no weights by name \(but list\)"),
        ({}, r"holds no weights by name \(but nothing\)"),
    ],
)
def test_other_contents_are_refused(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(TrainingError, match=message):
        load_start(build_model(SMALL, 5), SMALL, str(tmp_path / "x.pth"), 5)


def wider(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {"stages.1.conv1.weight": torch.zeros(16, 17, 3, 3)}


def shorter(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("stages.8")}


def longer(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {"stages.9.conv1.weight": torch.zeros(1)}


def other_head(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {"head.weight": torch.zeros(7, 63), "head.bias": torch.zeros(7)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (wider, r"'stages\.1\.conv1\.weight' has shape 16x17x3x3, not 16x16x3x3"),
        (shorter, r"'stages\.8\.conv1\.weight' is not in it"),
        (longer, r"it has 'stages\.9\.conv1\.weight', which the model has not"),
        (other_head, r"'head\.weight' has shape 7x63, not 5x64"),
    ],
)
def test_weights_of_another_model_name_the_first_that_does_not_fit(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.pth"
    torch.save(change(state()), path)
    model = build_model(SMALL, 5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    message = (
        rf"other\.pth: holds the weights of another model than small_resnet \({reason}\); give weights of"
    )
    with pytest.raises(TrainingError, match=message):
        load_start(model, SMALL, str(path), 5)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_whole_other_architecture_is_refused(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", build_model("resnet18", 5))
    with pytest.raises(
        TrainingError, match=r"another model than resnet34 \('layer1\.2\.conv1\.weight' is not in it"
    ):
        load_start(build_model("resnet34", 3), "resnet34", str(tmp_path / "w.safetensors"), 3)


@pytest.mark.parametrize("weights", ["nowhere.pth", "imagenet", "timm:resnet18"])
def test_what_is_neither_file_nor_word_says_what_there_is(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no such file; give .*torchvision:NAME, timm"):
        describe_start(weights)


def test_equal_files_are_equal_starts_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    torch.save(state(), tmp_path / "w.pth")
    (tmp_path / "b" / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes())
    assert describe_start(str(tmp_path / "w.pth")) == describe_start(str(tmp_path / "b" / "w.pth"))
    assert describe_start("torchvision") == {"source": "torchvision", "name": ""}


def test_published_weights_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    api = import_torchvision().models._api
    published, asked = state(1000, "shufflenet_v2_x1_0"), []

    def fetch(url: str, **options: object) -> dict[str, Tensor]:
        asked.append((url, options["check_hash"]))
        return published

    monkeypatch.setattr(api, "load_state_dict_from_url", fetch)
    model = build_model("shufflenet_v2_x1_0", 4)
    for weights in ("torchvision", "torchvision:IMAGENET1K_V1"):
        facts = load_start(model, "shufflenet_v2_x1_0", weights, 4)
        assert facts["name"] == "IMAGENET1K_V1"
        assert (facts["url"], True) == asked[-1]
        assert facts["replaced"] == ["fc.weight", "fc.bias"]
    assert torch.equal(model.get_parameter("conv1.0.weight"), published["conv1.0.weight"])
    with pytest.raises(UsageError, match="of shufflenet_v2_x1_0 torchvision has IMAGENET1K_V1"):
        load_start(model, "shufflenet_v2_x1_0", "torchvision:V9", 4)
    with pytest.raises(UsageError, match="small_resnet is no model of torchvision"):
        load_start(build_model(SMALL, 4), SMALL, "torchvision", 4)


def test_without_a_network_the_remedy_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("Name or service not known\nand more")

    monkeypatch.setattr(import_torchvision().models._api, "load_state_dict_from_url", fail)
    with pytest.raises(
        TrainingError, match=r"cannot be fetched \(Name or service not known\); .* give the file"
    ):
        load_start(build_model("squeezenet1_0", 2), "squeezenet1_0", "torchvision", 2)


def test_published_weights_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    create, asked = timm.create_model, []

    def created(name: str, **options: Any) -> nn.Module:
        asked.append(options)
        torch.manual_seed(5)
        model: nn.Module = create(name, **(options | {"pretrained": False}))
        return model

    model = build_model("timm:resnet10t", 3)
    monkeypatch.setattr(timm, "create_model", created)
    chance = torch.get_rng_state()
    facts = load_start(model, "timm:resnet10t", "timm", 3)
    assert torch.equal(torch.get_rng_state(), chance)
    assert asked[0] == {"pretrained": True}
    assert (facts["source"], facts["name"]) == ("timm", "resnet10t.c3_in1k")
    assert facts["replaced"] == ["fc.weight", "fc.bias"]
    assert facts["n_categories_before"] == 1000
    with pytest.raises(UsageError, match="small_resnet is no model of timm"):
        load_start(build_model(SMALL, 3), SMALL, "timm", 3)


def test_every_refusal_is_an_error_of_ours(tmp_path: Path) -> None:
    """A stream that torch itself half understands: every prefix of a real file, byte by byte at its start."""
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(2)}, buffer, _use_new_zipfile_serialization=False)
    path = tmp_path / "w.pth"
    for length in range(0, len(buffer.getvalue()) - 1, 7):
        path.write_bytes(buffer.getvalue()[:length])
        with pytest.raises(SfumatoError):
            load_start(build_model(SMALL, 2), SMALL, str(path), 2)
