from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sfumato.errors import MissingExtra, TrainingError, UnknownName
from sfumato.learn import MODELS, STUDY_MODELS, Preprocessing, build_model, catalogue, find_model
from sfumato.learn.architectures import rate_for
from sfumato.learn.attention import GradCam
from sfumato.learn.catalogue import need_image_size
from sfumato.learn.checkpoint import read_weights, write_weights
from sfumato.learn.operators import import_torchvision

SMALLEST = {"squeezenet1_0": 32, "alexnet": 64, "swin_b": 32, "timm:convnext_atto": 64}
"""Side in pixels at which a model still has a map of more than one place, where that is not 64 or 48."""
TIMM = "timm:convnext_atto"


def smallest(name: str) -> int:
    return SMALLEST.get(name, 48 if name.startswith("vgg") else 64)


@pytest.fixture
def drawn_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights repeat one short draw: 140 million random numbers take VGG longer than all else here."""

    def draw(tensor: torch.Tensor, scale: float) -> torch.Tensor:
        with torch.no_grad():
            block = torch.randn(4099) * scale  # a prime number, so that no two rows are equal
            tensor.view(-1).copy_(block.repeat(-(-tensor.numel() // 4099))[: tensor.numel()])
        return tensor

    def normal(tensor: torch.Tensor, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
        return draw(tensor, std)

    def kaiming(tensor: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return draw(tensor, math.sqrt(2 / tensor[0].numel()))

    monkeypatch.setattr(torch.nn.init, "normal_", normal)
    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", kaiming)
    monkeypatch.setattr(torch.nn.init, "kaiming_normal_", kaiming)


def test_the_study_has_fifteen_and_swin_and_we_one_more() -> None:
    assert len(STUDY_MODELS) == 15
    assert sorted({*STUDY_MODELS, "swin_b", "small_resnet"}) == sorted(MODELS.builtins)


@pytest.mark.parametrize("name", [*sorted(MODELS.builtins), TIMM])
@pytest.mark.usefixtures("drawn_quickly")
def test_every_model_goes_forward_backward_through_grad_cam_and_a_file(name: str, tmp_path: Path) -> None:
    if name == TIMM:
        pytest.importorskip("timm")
    torch.manual_seed(0)
    size = smallest(name)
    model, images = build_model(name, 7, image_size=size).train(), torch.randn(2, 3, size, size)
    scores = model(images)
    assert scores.shape == (2, 7)
    scores.square().mean().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert math.isfinite(float(parameter.grad.norm()))
        parameter.grad = None
    maps = GradCam(model, size, name=name).maps(images, torch.arange(7).repeat(2, 1))
    assert maps.shape[:2] == (2, 7)
    assert min(maps.shape[2:]) > 1
    assert np.isfinite(maps).all()
    assert maps.max() > 0
    before = model.eval()(images).detach()
    write_weights(tmp_path / "model.safetensors", model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert not torch.equal(model(images), before)
    read_weights(tmp_path / "model.safetensors", model)
    assert torch.equal(model(images), before)
    (tmp_path / "model.safetensors").unlink()  # pytest would keep half a gigabyte for each VGG


@pytest.mark.parametrize("name", [*STUDY_MODELS, "swin_b"])
def test_what_a_model_wants_to_be_fed_travels_with_it(name: str) -> None:
    """Against what torchvision publishes with its own weights."""
    given = find_model(name).preprocessing
    published = import_torchvision().models.get_model_weights(name)["IMAGENET1K_V1"].transforms()
    assert [given.image_size] == published.crop_size
    assert [round(given.image_size * given.resize_ratio)] == published.resize_size
    assert (list(given.mean), list(given.std)) == (published.mean, published.std)


def test_a_recipe_may_ask_for_another_size_and_crop() -> None:
    given = find_model("swin_b").preprocessing
    assert given.adapted(image_size=None, resize_ratio=None) == given
    changed = given.adapted(image_size=64, resize_ratio=1.0)
    assert (changed.image_size, changed.resize_ratio, changed.mean) == (64, 1.0, given.mean)


def test_each_optimizer_has_its_rate() -> None:
    """The study's for SGD; for AdamW Swin's 1e-3 at batch 1024, scaled to 256."""
    slow = {name for name in STUDY_MODELS if rate_for(find_model(name), "sgd") == 0.01}
    assert slow == {"alexnet", "squeezenet1_0", "vgg11", "vgg13", "vgg16", "vgg19"}
    assert {rate_for(find_model(name), "sgd") for name in STUDY_MODELS} == {0.01, 0.1}
    assert rate_for(find_model("swin_b"), "adamw") == pytest.approx(1e-3 * 256 / 1024)

    class Foreign:
        """A plug-in that knows nothing of AdamW."""

        learning_rate, preprocessing = 0.3, Preprocessing()

        def __call__(self, n_categories: int) -> torch.nn.Module:
            return torch.nn.Linear(1, n_categories)

    assert (rate_for(Foreign(), "sgd"), rate_for(Foreign(), "adamw")) == (0.3, 2.5e-4)


def test_models_in_channels_last_survive_the_file(tmp_path: Path) -> None:
    model = build_model("small_resnet", 3).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    write_weights(tmp_path / "model.safetensors", model)
    other = build_model("small_resnet", 3).eval()
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
    given = plain.preprocessing
    assert (given.image_size, given.resize_ratio) == (176, 1 / 0.875)
    assert plain(5)(torch.randn(1, 3, 64, 64)).shape == (1, 5)
    assert find_model("timm:resnet18") != find_model("resnet18")
    assert find_model("timm:resnet18.a1_in1k").preprocessing.resize_ratio == 1 / 0.95
    for unknown in ("timm:resnet18.nobodys", "timm:nothing"):
        with pytest.raises(UnknownName, match=unknown):
            find_model(unknown)


def test_a_transformer_of_timm_is_built_for_the_size_of_its_images() -> None:
    pytest.importorskip("timm")
    assert find_model("timm:vit_tiny_patch16_224").preprocessing.mean == (0.5, 0.5, 0.5)
    small = build_model("timm:vit_tiny_patch16_224", 3, image_size=32)
    need_image_size(small, "vit", 32)
    with pytest.raises(TrainingError, match="vit cannot take images of 224 px"):
        need_image_size(small, "vit", 224)
    # A convolutional net does not know the word, and needs not.
    assert build_model("timm:resnet10t", 3, image_size=64)(torch.randn(1, 3, 64, 64)).shape == (1, 3)


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
