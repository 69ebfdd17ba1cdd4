from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from sfumato.errors import TrainingError
from sfumato.learn import STUDY_MODELS, build_model
from sfumato.learn.attention import FeatureMap
from sfumato.learn.detection import Detector, build_detector, network
from sfumato.learn.detection.cut import find_cut
from sfumato.learn.detection.network import (
    LOWEST_SCORE,
    MOST_DETECTIONS,
    Anchors,
    _Batch,
    anchor_sizes,
)
from sfumato.learn.operators import import_torchvision

SIDE = 64
STRIDES = {"alexnet": (4, 8, 16), "squeezenet1_0": (4, 8, 16), "small_resnet": (4, 8)}
"""At 64 px; of all others down to 32. Two of these end earlier; AlexNet's last map is one pixel there."""
SIZES = [(SIDE, SIDE), (50, SIDE)]


@pytest.fixture(autouse=True)
def same_chance() -> None:
    torch.manual_seed(0)


def classifier(name: str) -> nn.Module:
    """A model with random weights; without those of large heads, which take seconds and are thrown away."""
    if not name.startswith(("alexnet", "vgg")):
        return build_model(name, 4, image_size=SIDE)
    with torch.device("meta"):
        model = build_model(name, 4)
    model.to_empty(device="cpu")
    for parameter in model.get_submodule("features").parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
        else:
            nn.init.zeros_(parameter)
    return model


def small(*, trained: bool = True, freeze: bool = False) -> Detector:
    return build_detector(classifier("small_resnet"), 3, image_size=SIDE, trained=trained, freeze=freeze)


def images() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def targets(*counts: int) -> list[dict[str, Tensor]]:
    """One list of objects an image, one box in another."""
    boxes = torch.tensor([[6.0, 8, 40, 30], [20, 20, 30, 45], [2, 2, 60, 48]])
    labels = torch.tensor([0, 2, 1])
    return [{"boxes": boxes[:count], "labels": labels[:count]} for count in counts]


def backward(detector: Detector, *counts: int) -> dict[str, Tensor]:
    losses = detector(images(), SIZES, targets(*counts))
    assert isinstance(losses, dict)
    sum(losses.values(), torch.zeros(())).backward()
    return losses


def found(detector: Detector) -> list[dict[str, Tensor]]:
    with torch.no_grad():
        detections = detector.eval()(images(), SIZES)
    assert isinstance(detections, list)
    return detections


def finite_gradients(detector: Detector) -> bool:
    gradients = [value.grad for value in detector.parameters() if value.requires_grad]
    return all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)


@pytest.mark.parametrize("name", [*STUDY_MODELS, "swin_b", "small_resnet"])
def test_every_model_is_a_body_that_learns_and_finds(name: str) -> None:
    detector = build_detector(classifier(name), 3, image_size=SIDE, trained=False)
    strides = tuple(level.stride for level in detector.body.levels)
    assert strides == STRIDES.get(name, (4, 8, 16, 32))
    losses = backward(detector, 1, 2)
    assert all(loss.shape == () and bool(loss.isfinite()) for loss in losses.values())
    assert finite_gradients(detector), "a part of the head is still there, or gradients are not finite"
    for part in (detector.body, detector.pyramid, detector.proposals, detector.heads):
        assert any(value.grad is not None and bool(value.grad.any()) for value in part.parameters())
    for (height, width), image in zip(SIZES, found(detector), strict=True):
        need_detections(image, height, width)


def need_detections(image: dict[str, Tensor], height: int, width: int) -> None:
    boxes, labels, scores = image["boxes"], image["labels"], image["scores"]
    assert boxes.dtype == scores.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert boxes.shape == (len(labels), 4)
    assert len(scores) == len(labels) <= MOST_DETECTIONS
    assert bool((boxes[:, 2:] > boxes[:, :2]).all())
    assert bool((boxes >= 0).all())
    assert bool((boxes[:, 2:] <= torch.tensor([width, height])).all())
    assert not len(labels) or (labels.min() >= 0 and labels.max() < 3)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert bool((scores > LOWEST_SCORE).all())


@pytest.mark.parametrize(
    "name", ["test_vit.r160_in1k", "test_convnext.r160_in1k", "test_efficientnet.r160_in1k"]
)
def test_models_of_timm_are_bodies(name: str) -> None:
    pytest.importorskip("timm")
    detector = build_detector(classifier(f"timm:{name}"), 3, image_size=SIDE, trained=True)
    strides = tuple(level.stride for level in detector.body.levels)
    assert strides == ((16,) if "vit" in name else (4, 8, 16, 32))
    assert all(bool(loss.isfinite()) for loss in backward(detector, 1, 2).values())
    assert finite_gradients(detector)


def test_it_learns_where_two_rectangles_are(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = replace(network.SMALL, channels=64, hidden=128, proposals_sampled=64)  # a quarter of the time
    monkeypatch.setattr(network, "SMALL", fewer)
    side = 48
    pixels = torch.zeros(2, 3, side, side)
    pixels[0, :, 6:30, 14:40], pixels[1, :, 20:40, 4:30] = 1, -1
    truth = [
        {"boxes": torch.tensor([[14.0, 6, 40, 30]]), "labels": torch.tensor([0])},
        {"boxes": torch.tensor([[4.0, 20, 30, 40]]), "labels": torch.tensor([1])},
    ]
    model = classifier("small_resnet").train()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # the statistics are those of the next pass
    model(pixels)
    detector = build_detector(model, 2, image_size=side, trained=True)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=1.5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        losses = detector(pixels, [(side, side), (44, side)], truth)
        sum(losses.values()).backward()
        optimizer.step()
    with torch.no_grad():
        detections = detector.eval()(pixels, [(side, side), (44, side)])
    for image, wanted in zip(detections, truth, strict=True):
        assert image["labels"][0] == wanted["labels"][0]
        assert import_torchvision().ops.box_iou(image["boxes"][:1], wanted["boxes"]).item() > 0.5


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (1, 0)])
def test_images_without_objects_are_learnt_from(counts: tuple[int, int]) -> None:
    detector = small()
    losses = backward(detector, *counts)
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert finite_gradients(detector)
    assert losses["loss_objectness"] > 0
    assert bool(losses["loss_rpn_box_reg"] > 0) == any(counts)


def test_a_box_without_extent_is_refused() -> None:
    flat = [{"boxes": torch.tensor([[5.0, 5, 5, 9]]), "labels": torch.tensor([0])}] * 2
    with pytest.raises(TrainingError, match="no extent"):
        small()(images(), SIZES, flat)


def test_weights_arrive_and_the_classifier_stays() -> None:
    model = classifier("resnet18")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    detector = build_detector(model, 3, image_size=SIDE, trained=True)
    inside = detector.body.net.state_dict()
    assert set(before) - set(inside) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, before[name]) for name, value in inside.items())
    backward(detector, 1, 1)
    torch.optim.SGD(detector.body.net.get_submodule("layer4").parameters(), lr=1.0).step()
    assert not torch.equal(
        detector.body.net.state_dict()["layer4.0.conv1.weight"], before["layer4.0.conv1.weight"]
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_maps_are_those_of_the_stages() -> None:
    model: Any = classifier("resnet18")
    body = build_detector(model, 3, image_size=SIDE, trained=True).eval().body
    values = model.eval().maxpool(model.relu(model.bn1(model.conv1(images()))))
    for stage, ours in zip(
        (model.layer1, model.layer2, model.layer3, model.layer4), body(images()), strict=True
    ):
        values = stage(values)
        assert torch.equal(values, ours)


def test_maps_with_channels_last_are_turned() -> None:
    model: Any = classifier("swin_b")
    body = build_detector(model, 3, image_size=SIDE, trained=True).eval().body
    values = model.eval().features[:2](images()).permute(0, 3, 1, 2)
    maps = body(images())
    assert torch.allclose(values, maps[0], atol=1e-5)
    assert [tuple(found.shape[1:]) for found in maps] == [
        (128, 16, 16), (256, 8, 8), (512, 4, 4), (1024, 2, 2)
    ]  # fmt: skip


@pytest.mark.parametrize("trained", [True, False])
def test_a_frozen_body_stays_bit_for_bit(trained: bool) -> None:
    detector = small(trained=trained, freeze=True).train()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    losses = backward(detector, 1, 2)
    assert all(value.grad is None for value in detector.body.parameters())
    learns = [value for value in detector.parameters() if value.requires_grad]
    torch.optim.SGD(learns, lr=0.1, momentum=0.9, weight_decay=0.1).step()
    assert losses["loss_classifier"].requires_grad
    for name, value in detector.state_dict().items():
        if name.startswith("body."):
            assert torch.equal(value, before[name]), name
    assert not torch.equal(
        detector.state_dict()["heads.box_head.fc6.weight"], before["heads.box_head.fc6.weight"]
    )


@pytest.mark.parametrize("trained", [True, False])
def test_batch_normalisation_keeps_still_in_a_trained_body_only(trained: bool) -> None:
    detector = small(trained=trained).train()
    norms = [module for module in detector.body.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms if norm.running_mean is not None]
    backward(detector, 1, 2)
    same = [torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True)]  # type: ignore[arg-type]
    assert all(same) if trained else not any(same)
    assert all((norm.weight.grad is None) == trained for norm in norms)
    convolutions = [module for module in detector.body.modules() if isinstance(module, nn.Conv2d)]
    assert all(module.weight.grad is not None for module in convolutions)


def test_a_copy_and_a_file_give_the_same() -> None:
    detector = small(trained=False)
    backward(detector, 2, 1)  # statistics that are not those of the beginning
    saved = save({name: value.contiguous() for name, value in detector.state_dict().items()})
    copied = copy.deepcopy(detector)
    torch.manual_seed(5)
    other = small(trained=False)
    other.load_state_dict(load(saved))
    for again in (copied, other):
        for image, wanted in zip(found(again), found(detector), strict=True):
            assert all(torch.equal(image[name], wanted[name]) for name in wanted)


def test_equal_seeds_give_equal_steps() -> None:
    gradients = []
    for _ in range(2):
        torch.manual_seed(3)
        detector = small()
        backward(detector, 1, 3)
        gradients.append([value.grad for value in detector.parameters() if value.grad is not None])
    assert all(torch.equal(first, second) for first, second in zip(*gradients, strict=True))


def test_bfloat16_gives_losses_and_boxes_in_float32() -> None:
    detector = small()
    with torch.autocast("cpu", torch.bfloat16):
        losses = backward(detector, 1, 2)
        detections = found(detector)
    assert all(loss.dtype == torch.float32 and bool(loss.isfinite()) for loss in losses.values())
    assert finite_gradients(detector)
    for (height, width), image in zip(SIZES, detections, strict=True):
        need_detections(image, height, width)


def test_channels_last_gives_the_same() -> None:
    torch.manual_seed(3)
    wanted = backward(detector := small(), 1, 2)
    turned = copy.deepcopy(detector).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(3)
    small()  # draws what the first drew before its pass
    losses = turned(images().contiguous(memory_format=torch.channels_last), SIZES, targets(1, 2))
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(wanted[name].item(), rel=1e-3)


def test_anchors_are_torchvisions_before_rounding() -> None:
    import_torchvision()
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    side, sizes = 800, anchor_sizes(5, 800)
    assert sizes == [[pytest.approx(size)] for size in (32, 64, 128, 256, 512)]
    maps = [torch.zeros(1, 1, side // stride, side // stride) for stride in (8, 16, 32, 50, 100)]
    pixels = torch.zeros(2, 3, side, side)
    theirs = AnchorGenerator(tuple((round(size),) for (size,) in sizes), ((0.5, 1.0, 2.0),) * 5)
    wanted = theirs(ImageList(pixels, [(side, side)] * 2), maps)
    ours = Anchors(sizes)(_Batch(pixels, [(side, side)] * 2), maps)
    assert len(ours) == 2
    torch.testing.assert_close(ours[1], wanted[1], atol=0.51, rtol=0)


def test_anchors_of_few_levels_cover_all_sizes_and_of_small_images_have_an_extent() -> None:
    sizes = anchor_sizes(2, 80)
    assert [len(level) for level in sizes] == [3, 3]
    flat = [size for level in sizes for size in level]
    assert flat == sorted(flat)
    assert (flat[0], flat[-1]) == pytest.approx((3.2, 51.2))
    ((anchors),) = Anchors(anchor_sizes(1, 20))(
        _Batch(torch.zeros(1, 3, 20, 20), [(20, 20)]), [torch.zeros(1, 1, 2, 2)]
    )
    assert bool((anchors[:, 2:] > anchors[:, :2]).all())
    assert anchors.dtype == torch.float32


class Tiny(nn.Module):
    """Two maps, the first of which is written over; a dropout, a pool to a size, a head of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stage = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 6, 2, 2)
        self.unused = nn.Linear(2, 2)
        self.drop, self.pool = nn.Dropout(), nn.AdaptiveAvgPool2d(4)
        self.hidden, self.head = nn.Conv2d(6, 5, 1), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x *= 2
        x = self.pool(self.drop(self.stage(x)))
        scores: Tensor = self.head(self.hidden(x).mean(dim=(2, 3)))
        return scores


class Asks(Tiny):
    """The same, with a step that depends on numbers, so that it does not run without them."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.sum().item() < 1e9
        return super().forward(x)


class OneSize(Tiny):
    """The same, for images of one size only."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] == 240, "input height must be 240"
        return super().forward(x)


@pytest.mark.parametrize("model", [Tiny, Asks, OneSize])
def test_a_cut_lies_before_dropout_pooling_and_head(model: type[Tiny]) -> None:
    made = model()
    cut = find_cut(made, 240)
    assert [(level.where, level.stride, level.channels) for level in cut.levels] == [
        (FeatureMap("stem", 0, "channels_first"), 4, 4),
        (FeatureMap("stage", 0, "channels_first"), 8, 6),
    ]
    assert cut.head == {"drop", "pool", "hidden", "head"}
    detector = build_detector(made, 2, image_size=240, trained=True)
    pixels = torch.randn(1, 3, 240, 240)
    first, second = detector.body(pixels)
    assert torch.equal(first, made.stem(pixels)), "what follows has written over the map"
    assert torch.equal(second, made.stage(2 * made.stem(pixels)))


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(x.mean(dim=(2, 3)))
        return scores


def test_a_model_without_maps_is_refused() -> None:
    with pytest.raises(TrainingError, match="no feature map of 4 to 32 px a pixel for images of 64 px"):
        find_cut(Flat(), 64)


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"cannot take images of 16 px .*; choose a larger image size"):
        find_cut(classifier("alexnet"), 16)
