from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sfumato.errors import MissingExtra, TrainingError, UnknownName
from sfumato.learn import MODELS, STUDY_MODELS, Preprocessing, build_model, catalogue, find_model
from sfumato.learn.catalogue import need_image_size
from sfumato.learn.checkpoint import read_weights, write_weights


def test_the_study_has_fifteen_and_we_one_more() -> None:
    assert len(STUDY_MODELS) == 15
    assert sorted({*STUDY_MODELS, "small_resnet"}) == sorted(MODELS.builtins)


@pytest.mark.parametrize("name", sorted(MODELS.builtins))
def test_every_model_goes_forward_and_backward(name: str) -> None:
    model = build_model(name, 7)
    scores = model(torch.randn(2, 3, 64, 64))
    assert scores.shape == (2, 7)
    scores.square().mean().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    # At the size it was designed for, the model must take what its own facts say.
    facts = find_model(name).preprocessing
    assert facts == Preprocessing(64 if name == "small_resnet" else 224)


@pytest.mark.parametrize("name", ["small_resnet", "shufflenet_v2_x1_0", "squeezenet1_0"])
def test_weights_survive_the_file(name: str, tmp_path: Path) -> None:
    model = build_model(name, 3).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    write_weights(tmp_path / "model.safetensors", model)
    other = build_model(name, 3).eval()
    images = torch.randn(2, 3, 64, 64)
    assert not torch.equal(model(images), other(images))
    read_weights(tmp_path / "model.safetensors", other)
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])
    assert list(tmp_path.iterdir()) == [tmp_path / "model.safetensors"]


def test_weights_of_another_model_and_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_weights(path, build_model("small_resnet", 3))
    with pytest.raises(TrainingError, match="another model"):
        read_weights(path, build_model("small_resnet", 4))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="not a readable safetensors file"):
        read_weights(path, build_model("small_resnet", 3))
    with pytest.raises(TrainingError, match="no such file"):
        read_weights(tmp_path / "none", build_model("small_resnet", 3))


def test_too_small_images_are_refused_with_the_models_name() -> None:
    model = build_model("squeezenet1_0", 2).train()
    with pytest.raises(TrainingError, match=r"squeezenet1_0 cannot take images of 8 px"):
        need_image_size(model, "squeezenet1_0", 8)
    need_image_size(model, "squeezenet1_0", 64)
    assert model.training


def test_unknown_names_list_ours_and_mention_timm() -> None:
    with pytest.raises(UnknownName, match=r"resnet18, .*timm:NAME .*where timm is installed"):
        find_model("resnet_of_nobody")


def test_timm_models_by_name() -> None:
    pytest.importorskip("timm")
    plain, marked = find_model("resnet10t"), find_model("timm:resnet10t")
    assert plain == marked
    assert plain.preprocessing.image_size == 176
    assert plain(5)(torch.randn(1, 3, 64, 64)).shape == (1, 5)
    assert find_model("timm:resnet18") != find_model("resnet18")


def test_timm_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"sfumato\[timm\]"):
        find_model("timm:resnet10t")
    with pytest.raises(UnknownName):
        find_model("resnet10t")


def test_looking_names_up_loads_no_torch() -> None:
    code = (
        "import sys; from sfumato.learn import MODELS, find_model, find_recipe\n"
        "find_model('resnet18'); print(len(MODELS.names()), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(MODELS.names())), "False"]
