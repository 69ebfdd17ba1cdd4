from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sfumato.errors import TrainingError
from sfumato.learn import build_model
from sfumato.learn.attention import FeatureMap, GradCam, find_feature_map, to_display, to_mass


class Closed(nn.Module):
    """Features A, their mean over the picture, a linear head W: w_c of category k is W[k, c] / (h w)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 4, 4, bias=False)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.features(x).mean(dim=(2, 3)))
        return scores


class Last(Closed):
    """The same with channels last, and an output written over, as `ReLU(inplace=True)` does."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = Turn()

    def forward(self, x: Tensor) -> Tensor:
        turned = self.turn(self.features(x))
        turned += 1  # a constant over places, so no map changes
        scores: Tensor = self.head(turned.mean(dim=(1, 2)))
        return scores


class Turn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).contiguous()


class Tokens(Closed):
    """The same as a sequence behind a class token, which the head does not read."""

    def __init__(self, prefix: int = 1) -> None:
        super().__init__()
        self.sequence, self.prefix = Sequence(prefix), prefix

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.sequence(self.features(x))[:, self.prefix :].mean(dim=1))
        return scores


class Sequence(nn.Module):
    def __init__(self, prefix: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, prefix, 4))

    def forward(self, x: Tensor) -> Tensor:
        patches = x.flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1)


class Shared(nn.Module):
    """One activation, called after each of two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(4, 4, 2, 2)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.second(self.relu(self.first(x))))
        scores: Tensor = self.head(x.mean(dim=(2, 3)))
        return scores


def closed_form(model: Closed, images: Tensor, categories: Tensor) -> np.ndarray:
    with torch.no_grad():
        features = model.features(images)
        weights = model.head.weight[categories] / (features.shape[2] * features.shape[3])  # (n, k, c)
        found: np.ndarray = torch.einsum("nkc,nchw->nkhw", weights, features).relu().numpy()
    return found


@pytest.mark.parametrize(
    ("model", "where"),
    [
        (Closed, FeatureMap("features", 0, "channels_first")),
        (Last, FeatureMap("turn", 0, "channels_last")),
        (Tokens, FeatureMap("sequence", 0, "tokens", 1)),
        (lambda: Tokens(5), FeatureMap("sequence", 0, "tokens", 5)),
    ],
)
def test_maps_of_a_net_whose_maps_are_known(model: type[Closed], where: FeatureMap) -> None:
    torch.manual_seed(1)
    net = model()
    images, categories = torch.randn(6, 3, 28, 28), torch.randint(0, 5, (6, 2))
    cam = GradCam(net, 28)
    assert cam.where == where
    maps = cam.maps(images, categories)
    assert maps.shape == (6, 2, 7, 7)
    assert np.allclose(maps, closed_form(net, images, categories), atol=1e-6)
    assert (maps.max(axis=(2, 3)) > 0).any()


def test_resnet18_agrees_with_hooks_set_by_hand() -> None:
    torch.manual_seed(2)
    model = build_model("resnet18", 6).eval()
    images, categories = torch.randn(3, 3, 96, 96), torch.tensor([[0, 1], [5, 5], [2, 4]])
    kept: dict[str, Tensor] = {}
    layer = model.get_submodule("layer4")

    def keep_gradients(_: nn.Module, __: object, gradients: tuple[Tensor, ...] | Tensor) -> None:
        kept["gradients"] = gradients[0]

    forward = layer.register_forward_hook(lambda _, __, output: kept.update(activations=output))
    backward = layer.register_full_backward_hook(keep_gradients)
    expected = np.zeros((3, 2, 3, 3))
    for row in range(3):
        for column in range(2):
            model.zero_grad()
            scores = model(images[row : row + 1])
            scores[0, categories[row, column]].backward()
            weights = kept["gradients"].mean(dim=(2, 3), keepdim=True)
            expected[row, column] = (weights * kept["activations"]).sum(1).relu()[0].detach().numpy()
    forward.remove()
    backward.remove()
    cam = GradCam(model, 96)
    assert cam.where == FeatureMap("layer4", 0, "channels_first")
    found = cam.maps(images, categories)
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert (expected.max(axis=(2, 3)) > 0).sum() > 2


def test_the_model_is_left_as_it_was() -> None:
    model = build_model("small_resnet", 3).train()
    model.get_submodule("stages.0").eval()  # frozen, as some fine-tuning has it
    model.get_parameter("head.weight").requires_grad_(False)
    images = torch.randn(4, 3, 32, 32)
    model(images).sum().backward()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = {name: each.grad for name, each in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    first = GradCam(model, 32).maps(images, torch.zeros(4, 1, dtype=torch.int64))
    assert torch.is_grad_enabled()
    assert [module.training for module in model.modules()] == modes
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    for name, parameter in model.named_parameters():
        assert parameter.grad is gradients[name]
        assert parameter.requires_grad == (name != "head.weight")
    assert not any(module._forward_hooks for module in model.modules())
    again = GradCam(model, 32).maps(images, torch.zeros(4, 1, dtype=torch.int64))
    assert np.array_equal(first, again)


def test_a_map_does_not_depend_on_the_other_images() -> None:
    """Unlike the study's, which are scaled over the whole batch."""
    model = build_model("small_resnet", 3)
    cam, images = GradCam(model, 32), torch.randn(5, 3, 32, 32)
    categories = torch.tensor([[0], [1], [2], [0], [1]])
    alone = [cam.maps(images[n : n + 1], categories[n : n + 1]) for n in range(5)]
    assert np.allclose(cam.maps(images, categories), np.concatenate(alone), atol=1e-6)


def test_a_module_called_twice_is_tapped_the_second_time() -> None:
    torch.manual_seed(0)
    model = Shared()
    cam = GradCam(model, 16)
    assert cam.where == FeatureMap("relu", 1, "channels_first")
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        features = model.relu(model.second(model.relu(model.first(images))))
        expected = torch.einsum("c,nchw->nhw", model.head.weight[3] / 16, features).relu()
    assert np.allclose(cam.maps(images, torch.full((2, 1), 3))[:, 0], expected.numpy(), atol=1e-6)


def test_a_head_of_zeros_hides_nothing() -> None:
    model = Closed()
    nn.init.zeros_(model.head.weight)
    cam = GradCam(model, 16)
    assert cam.where.module == "features"
    assert not model.head.weight.any()
    assert (cam.maps(torch.randn(2, 3, 16, 16), torch.zeros(2, 1, dtype=torch.int64)) == 0).all()


def test_a_model_without_places_is_said_to_have_none() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same, self.head = nn.Identity(), nn.Linear(3 * 8 * 8, 4)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.head(self.same(x).flatten(1))
            return scores

    with pytest.raises(TrainingError, match=r"flat depend on no spatial feature map at 8 px.*larger images"):
        find_feature_map(Flat(), 8, name="flat")
    with pytest.raises(TrainingError, match="at 4 px"):  # its map has one place only
        find_feature_map(Closed(), 4)


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_each_map_is_normalised_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = (rng.random((3, 2, 4, 5)) * 10.0 ** rng.integers(-6, 6, (3, 2, 1, 1))).astype(np.float32)
    maps[1, 0] = 0
    mass, shown = to_mass(maps), to_display(maps)
    alive = np.ones((3, 2), dtype=bool)
    alive[1, 0] = False
    assert np.allclose(mass.sum(axis=(2, 3)), alive, atol=1e-5)
    assert np.allclose(shown.max(axis=(2, 3)), alive)
    assert np.isfinite(mass).all()
    assert np.isfinite(shown).all()


@pytest.mark.parametrize(
    ("name", "size", "layout", "prefix"),
    [
        ("vit_tiny_patch16_224", 64, "tokens", 1),
        ("deit_tiny_distilled_patch16_224", 32, "tokens", 2),
        ("convnext_atto", 64, "channels_first", 0),
        ("swin_tiny_patch4_window7_224", 64, "channels_last", 0),
    ],
)
def test_families_of_timm(name: str, size: int, layout: str, prefix: int) -> None:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    model = build_model(f"timm:{name}", 3, image_size=size)
    cam = GradCam(model, size, name=name)
    assert (cam.where.layout, cam.where.prefix) == (layout, prefix)
    maps = cam.maps(torch.randn(2, 3, size, size), torch.tensor([[0, 1, 2], [2, 0, 1]]))
    side = size // 16 if layout == "tokens" else size // 32
    assert maps.shape == (2, 3, side, side)
    assert maps.max() > 0
    assert np.isfinite(maps).all()
