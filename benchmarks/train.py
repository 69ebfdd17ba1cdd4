"""Speed of training: a plain loop as in PyTorch's ImageNet example against ours, in one run.

    python benchmarks/train.py [PHOTOS] [--small SMALL] [--sizes 224 64] [--models resnet18]
    python benchmarks/train.py --accuracy [--small SMALL] [--categories 10] [--epochs 10] [--seeds 3]

PHOTOS holds `images/` with full-size photos, SMALL `train/` and `val/` with small ones in categories (see the
README of the development images); sizes up to 64 px use SMALL. The plain loop is fp32 with channels first:
torchvision's ImageFolder and Pillow's RandomResizedCrop, flip, ToTensor and Normalize in a DataLoader, SGD,
accuracies each step. Ours is `sfumato.learn.train` with the same model, views, batches and optimizer; its
decoding, once before the first epoch, is reported apart.

The two take turns in short rounds, so that a machine that becomes slower is slow for both. Each round trains
two epochs anew; the second one counts, the plain loop's from its first batch on, so that the start of its
workers does not. The ten steps in float32 with which our runs begin are left out. Printed are images a
second, the ratio at the median round, processor time (which other work on the machine changes less), and the
ceiling: the rate of the same steps on a batch that lies in the device's memory. The processor time of the
plain loop counts the start of its workers, which weighs less with more `--images`. OMP_NUM_THREADS sets the
threads that compute. `--accuracy` trains both as they are for equal epochs, the rate divided by ten after
each third of them, and prints their accuracies.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sfumato.data import Dataset, read_folder
from sfumato.engines import Work
from sfumato.learn import Recipe, RunConfig, evaluate, find_recipe, train
from sfumato.learn.device import choose_runtime
from sfumato.learn.inputs import DEFAULT_BUDGET, prepare_images
from sfumato.learn.memory import kept_memory
from sfumato.learn.objective import OneCategory
from sfumato.learn.operators import import_torchvision
from sfumato.learn.run import read_rows
from sfumato.learn.steps import Steps
from sfumato.learn.training import start
from sfumato.predictions import PREDICTIONS, PREDICTIONS_SCHEMA
from sfumato.records import read_table

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALL_SIZE = 64
N_CATEGORIES = 20
"""Into which the photos, which have a category each, are dealt."""


@dataclass(frozen=True)
class Setup:
    """What both train: on which images, in which size and batches, with which device."""

    model: str
    recipe: Recipe
    folder: Path
    dataset: Dataset
    device: str
    workers: int
    budget: int

    @property
    def size(self) -> int:
        """Side of the model's input in pixels."""
        return int(self.recipe.image_size or 0)


@dataclass(frozen=True)
class Rate:
    """Speed of one epoch: images a second, processor milliseconds an image, share of waiting."""

    images: float
    processor: float
    waiting: float = float("nan")


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def plain_loader(setup: Setup, split: str) -> Any:
    """Images as PyTorch's ImageNet example loads them."""
    from torchvision import datasets, transforms

    size, ratio = setup.size, setup.recipe.resize_ratio
    if split == "train":
        views = [
            transforms.RandomResizedCrop(size, scale=setup.recipe.crop_scale),
            transforms.RandomHorizontalFlip(),
        ]
    else:
        views = [transforms.Resize(round(size * ratio)), transforms.CenterCrop(size)]
    rest = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    images = datasets.ImageFolder(str(setup.folder / split), transforms.Compose([*views, *rest]))
    return torch.utils.data.DataLoader(
        images,
        batch_size=setup.recipe.batch_size,
        shuffle=split == "train",
        num_workers=setup.workers,
        pin_memory=setup.device == "cuda",
    )


def plain_epochs(setup: Setup, seed: int, epochs: int) -> tuple[nn.Module, list[Rate]]:
    """Train as PyTorch's ImageNet example does."""
    torch.manual_seed(seed)
    step, model, optimizer = plain_step(setup)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, setup.recipe.step_epochs)
    loader, rates = plain_loader(setup, "train"), []
    for _ in range(epochs):
        before, begun, count = processor_seconds(), 0.0, 0
        model.train()
        for images, target in loader:
            begun = begun or time.perf_counter()
            step(images, target)
            count += len(target)
        schedule.step()
        wait_for(setup.device)
        seconds = time.perf_counter() - begun
        rates.append(Rate(count / seconds, 1000 * (processor_seconds() - before) / count))
    return model, rates


def plain_step(setup: Setup) -> tuple[Callable[[Any, Any], None], nn.Module, torch.optim.Optimizer]:
    """One step of the example, the model that it trains, and its optimizer."""
    models = import_torchvision().models
    model: nn.Module = getattr(models, setup.model)(num_classes=len(setup.dataset.categories))
    model = model.to(setup.device)
    criterion = nn.CrossEntropyLoss()
    recipe = setup.recipe
    rate = recipe.learning_rate or 0.1
    optimizer = torch.optim.SGD(model.parameters(), rate, recipe.momentum, weight_decay=recipe.weight_decay)

    def step(images: Any, target: Any) -> None:
        images, target = (value.to(setup.device, non_blocking=True) for value in (images, target))
        output = model(images)
        loss = criterion(output, target)
        _, best = output.topk(min(5, output.shape[1]), 1)
        right = best.eq(target[:, None])
        _ = loss.item(), right[:, :1].sum().item(), right.sum().item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step, model, optimizer


def plain_accuracy(setup: Setup, model: nn.Module) -> float:
    """Top-1 accuracy on the split "val"."""
    model.eval()
    right = count = 0
    with torch.inference_mode():
        for images, target in plain_loader(setup, "val"):
            right += int((model(images.to(setup.device)).argmax(1).cpu() == target).sum())
            count += len(target)
    return right / count


def our_epochs(setup: Setup, seed: int, epochs: int, scratch: Path) -> tuple[Path, list[Rate]]:
    """Train with `sfumato.learn.train`."""
    marks = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "train" and done % (total // epochs) == 0:
            marks[done // (total // epochs)] = processor_seconds()

    config = RunConfig(
        setup.model, replace(setup.recipe, epochs=epochs), seed, device=setup.device, checkpoint_seconds=1e9
    )
    run = train(
        setup.dataset,
        config,
        Path(tempfile.mkdtemp(dir=scratch)) / "run",
        cache=scratch / "cache",
        budget=setup.budget,
        work=Work(progress=progress),
    )
    return run, [
        Rate(
            row["images_per_second"],
            1000 * (marks[row["epoch"]] - marks[row["epoch"] - 1]) / row["n_images"],
            row["waiting_share"],
        )
        for row in read_rows(run)
    ]


def our_accuracy(setup: Setup, run: Path, scratch: Path) -> float:
    """Top-1 accuracy on the split "val"."""
    out = evaluate(
        run, setup.dataset, run.parent / "predictions", cache=scratch / "cache", device=setup.device
    )
    ranks = read_table(out / PREDICTIONS, PREDICTIONS_SCHEMA)["label_rank"].to_numpy()
    return float((ranks == 0).mean())


def in_memory(setup: Setup) -> dict[str, Callable[[], Rate]]:
    """Rates of the steps of both ways on one batch in the device's memory, measured for a second or so."""
    runtime = choose_runtime(setup.device)
    training = start(RunConfig(setup.model, setup.recipe), len(setup.dataset.categories), runtime=runtime)
    training.model.train()
    count = setup.recipe.batch_size
    shape = (count, setup.size, setup.size, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=setup.device)
    floats = torch.randn(count, 3, setup.size, setup.size, device=setup.device)
    labels = torch.arange(count, device=setup.device) % len(setup.dataset.categories)
    steps = Steps(training, OneCategory(labels.cpu().numpy(), setup.recipe.label_smoothing))
    plain, _, _ = plain_step(setup)

    def ours() -> None:
        steps.take(pixels, labels, rate=0.01, n_batch=count, pause=False)

    measured: dict[str, Callable[[], Rate]] = {}
    for name, way in {"plain": lambda: plain(floats, labels), "ours": ours}.items():
        timed(way, 1, count, setup.device)
        n_steps = max(1, round(timed(way, 2, 1, setup.device).images))
        measured[name] = partial(timed, way, n_steps, count, setup.device)
    return {"plain": measured["plain"], "ours": partial(as_trained, ours, measured["ours"])}


def as_trained(step: Callable[[], None], measure: Callable[[], Rate]) -> Rate:
    """Measure as the training loop keeps its memory: from the second step on."""
    with kept_memory():
        step()
        return measure()


def timed(step: Callable[[], None], n_steps: int, n_images: int, device: str) -> Rate:
    """Rate of some steps."""
    wait_for(device)
    before, begun = time.process_time(), time.perf_counter()
    for _ in range(n_steps):
        step()
    wait_for(device)
    seconds, count = time.perf_counter() - begun, n_steps * n_images
    return Rate(count / seconds, 1000 * (time.process_time() - before) / count)


def wait_for(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def median(rates: Sequence[Rate]) -> Rate:
    """Of each figure."""
    columns = zip(*((rate.images, rate.processor, rate.waiting) for rate in rates), strict=True)
    return Rate(*(float(np.median(column)) for column in columns))


def speed(setup: Setup, rounds: int, scratch: Path) -> None:
    """Print the speed of both ways."""
    begun = time.perf_counter()
    images = prepare_images(
        setup.dataset,
        "train",
        image_size=setup.size,
        resize_ratio=setup.recipe.resize_ratio,
        root=scratch / "cache",
        budget=setup.budget,
    )
    seconds = time.perf_counter() - begun
    print(
        f"\n{setup.model} at {setup.size} px, batches of {setup.recipe.batch_size}, {len(images)} images, "
        f"{setup.device}, {choose_runtime(setup.device).precision}, {torch.get_num_threads()} threads\n"
        f"  ours before the first epoch, {images.way}: {seconds:.1f} s"
    )
    memory, rows = in_memory(setup), []
    for number in range(rounds):
        plain = plain_epochs(setup, number, 2)[1][-1]
        ours = our_epochs(setup, number, 2, scratch)[1][-1]
        rows.append((plain, ours, memory["plain"](), memory["ours"]()))
        print(f"  round {number + 1}: {pair(plain, ours)}", flush=True)
    columns = list(zip(*rows, strict=True))
    plain, ours, *ceiling = map(median, columns)
    print(f"  median:  {pair(plain, ours)}")
    print(f"  ours is x {ratio(columns[1], columns[0]):.2f} at the median round", end=" ")
    print(f"(by processor time x {plain.processor / ours.processor:.2f})")
    print(f"  ours waits for images {ours.waiting:.1%} of the time")
    print(f"  on data in memory: {pair(*ceiling)}")
    print(f"  there x {ratio(columns[3], columns[2]):.2f} at the median round; of its rate there", end=" ")
    print(f"plain reaches {ratio(columns[0], columns[2]):.1%}, ours {ratio(columns[1], columns[3]):.1%}")


def ratio(rates: Sequence[Rate], others: Sequence[Rate]) -> float:
    """Of images a second, at the median round."""
    return float(np.median([a.images / b.images for a, b in zip(rates, others, strict=True)]))


def pair(plain: Rate, ours: Rate) -> str:
    """Both rates in words."""
    words = [
        f"{name} {rate.images:.1f} images/s ({rate.processor:.2f} ms of processors an image)"
        for name, rate in (("plain", plain), ("ours", ours))
    ]
    return ", ".join(words)


def accuracies(setup: Setup, seeds: int, epochs: int, scratch: Path) -> None:
    """Print the accuracies of both ways after equal epochs."""
    n_train, n_val = (len(setup.dataset.subset(split)) for split in ("train", "val"))
    print(
        f"\n{setup.model} at {setup.size} px, {len(setup.dataset.categories)} categories, {n_train} training "
        f"and {n_val} validation images, {epochs} epochs, {seeds} seeds"
    )
    setup = replace(setup, recipe=setup.recipe.with_overrides(step_epochs=max(1, -(-epochs // 3))))
    found: dict[str, list[float]] = {"plain": [], "ours": []}
    for seed in range(seeds):
        found["plain"].append(plain_accuracy(setup, plain_epochs(setup, seed, epochs)[0]))
        found["ours"].append(our_accuracy(setup, our_epochs(setup, seed, epochs, scratch)[0], scratch))
        print(f"  seed {seed}: plain {found['plain'][-1]:.4f}, ours {found['ours'][-1]:.4f}", flush=True)
    means = {name: float(np.mean(values)) for name, values in found.items()}
    spread = {name: float(np.std(values, ddof=1)) if seeds > 1 else 0.0 for name, values in found.items()}
    error = float(np.sqrt(sum(value**2 for value in spread.values()) / seeds))
    for name in found:
        print(f"  {name}: mean {means[name]:.4f}, standard deviation over seeds {spread[name]:.4f}")
    print(f"  ours - plain: {means['ours'] - means['plain']:+.4f}, standard error {error:.4f}")


def dealt(photos: Path, folder: Path, *, n_images: int | None) -> Path:
    """A folder of splits and categories that links to photos; "val" holds a few of "train" again."""
    paths = sorted(path for path in photos.iterdir() if path.is_file())[:n_images]
    for number, path in enumerate(paths):
        for split in ("train", "val") if number < 2 * N_CATEGORIES else ("train",):
            link = folder / split / f"{number % N_CATEGORIES:02d}" / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
    return folder


def chosen(small: Path, folder: Path, *, n_categories: int | None, n_images: int | None) -> Path:
    """A folder that links to images of the first categories, of each split as many at most, evenly."""
    names = sorted(path.name for path in (small / "train").iterdir() if path.is_dir())[:n_categories]
    for split in ("train", "val"):
        for name in names:
            (folder / split / name).mkdir(parents=True)
            files = sorted((small / split / name).iterdir())
            for path in files[: None if n_images is None else max(1, n_images // len(names))]:
                (folder / split / name / path.name).symlink_to(path.resolve())
    return folder


def recipe_for(args: argparse.Namespace, size: int) -> Recipe:
    """The study's recipe in another size; small images are neither cropped nor reduced before."""
    changes = {"image_size": size, "batch_size": args.batch, "learning_rate": args.rate}
    if not args.accuracy:
        changes["fp32_steps"] = 0
    if size <= SMALL_SIZE:
        changes |= {"resize_ratio": 1.0, "crop_scale": (0.25, 1.0)}
    return find_recipe("study").with_overrides(**changes)


def setups(args: argparse.Namespace, scratch: Path) -> Iterator[Setup]:
    """What is measured."""
    device = choose_runtime(args.device).device
    sizes = [SMALL_SIZE] if args.accuracy else args.sizes
    for size in sizes:
        place = scratch / str(size)
        if args.accuracy:
            folder = chosen(args.small, place, n_categories=args.categories, n_images=args.images)
        elif size <= SMALL_SIZE:
            folder = chosen(args.small, place, n_categories=None, n_images=args.images or 1024)
        else:
            folder = dealt(args.photos / "images", place, n_images=args.images or 256)
        dataset = read_folder(folder)
        for model in args.models or (["resnet18", "resnet50"] if device == "cuda" else ["resnet18"]):
            budget = 0 if args.stream else DEFAULT_BUDGET
            yield Setup(model, recipe_for(args, size), folder, dataset, device, args.workers, budget)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", nargs="?", type=Path, default=Path("../shared/data/imagenet-samples"))
    parser.add_argument("--small", type=Path, default=Path("../shared/data/tiny-faces"))
    parser.add_argument("--sizes", nargs="*", type=int, default=[224, 64])
    parser.add_argument(
        "--models", nargs="*", help="torchvision's names; default resnet18, on CUDA resnet50 too"
    )
    parser.add_argument("--images", type=int, help="at most; default 256 photos, 1024 small ones")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.05, help="learning rate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=2, help="of the plain loop's DataLoader")
    parser.add_argument("--stream", action="store_true", help="ours decodes while it trains, too")
    parser.add_argument("--accuracy", action="store_true", help="compare accuracies instead of speed")
    parser.add_argument("--categories", type=int, default=10, help="of SMALL, for --accuracy")
    parser.add_argument("--epochs", type=int, default=10, help="for --accuracy")
    parser.add_argument("--seeds", type=int, default=3, help="for --accuracy")
    args = parser.parse_args()
    import_torchvision()
    print(f"torch {torch.__version__}; load of the machine when it began: {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        for setup in setups(args, Path(folder)):
            if args.accuracy:
                accuracies(setup, args.seeds, args.epochs, Path(folder))
            else:
                speed(setup, args.rounds, Path(folder))


if __name__ == "__main__":
    main()
