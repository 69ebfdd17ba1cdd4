"""Objects: plain implementations of VOC's and COCO's evaluation, repeated images, the bootstrap."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sfumato.compare import CompareSettings, compare
from sfumato.compare.detection import object_runs
from sfumato.compare.measured import Measured, Measurement
from sfumato.compare.pairing import align
from sfumato.errors import MissingExtra, TableError, UnknownName, UsageError
from sfumato.predictions import ObjectPredictions
from sfumato.progress import silent
from tests.compare.downstream import VOC, Scene, image_names, run_facts, task, write_objects
from tests.compare.synthetic import BLUR

Box = tuple[float, float, float, float]
Floats = NDArray[np.float64]
FAST = CompareSettings(rounds=200)
KEY = ("resnet18", "original")


def measure(items: Sequence[ObjectPredictions]) -> Measured:
    return object_runs(align(items, allow_single_seed=True), items)(silent)


def measured(root: Path, scenes: Sequence[Scene], n_classes: int = 2) -> Measurement:
    (run,) = measure([write_objects(root, scenes, run_facts("original", 0, VOC), n_classes)]).measurements[
        KEY
    ]
    return run


def overlap(a: Box, b: Box, *, crowd: bool = False) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inside = width * height
    area_a, area_b = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return inside / (area_a if crowd else area_a + area_b - inside)


def by_score(scenes: Sequence[Scene], label: int, limit: int | None = None) -> list[tuple[int, Box, float]]:
    """Detections of a class as (image, box, score), best first."""
    found = []
    for number, scene in enumerate(scenes):
        own = sorted((d for d in scene.detections if d[0] == label), key=lambda d: -d[2])
        found += [(number, box, score) for _, box, score in own[:limit]]
    return sorted(found, key=lambda d: -d[2])


def devkit(scenes: Sequence[Scene], label: int) -> tuple[float, float]:
    """The development kit of VOC: 11-point AP (2007) and area (2010) of a class."""
    objects = [[(box, flag) for own, box, flag in scene.objects if own == label] for scene in scenes]
    total = sum(flag == "" for of_image in objects for _, flag in of_image)
    taken = [[False] * len(of_image) for of_image in objects]
    right: list[int] = []
    for image, box, _ in by_score(scenes, label):
        overlaps = [overlap(box, other) for other, _ in objects[image]]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best < 0 or overlaps[best] < 0.5:
            right.append(0)
        elif objects[image][best][1] == "":
            right.append(int(not taken[image][best]))
            taken[image][best] = True
    hits = np.cumsum(right)
    recall, precision = hits / total, hits / np.arange(1, len(right) + 1)
    eleven = sum(max(precision[recall >= t / 10], default=0.0) for t in range(11)) / 11
    recall, precision = np.concatenate([[0], recall, [1]]), np.concatenate([[0], precision, [0]])
    for place in range(len(precision) - 2, -1, -1):
        precision[place] = max(precision[place], precision[place + 1])
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return float(eleven), float(((recall[steps + 1] - recall[steps]) * precision[steps + 1]).sum())


def coco_match(box: Box, objects: Sequence[tuple[int, Box, str]], taken: set[int], best: float) -> int | None:
    """The object that a box is matched with; objects to be found come first."""
    match: int | None = None
    for place, (_, other, flag) in enumerate(objects):
        if place in taken and flag != "crowd":
            continue
        if match is not None and objects[match][2] == "" and flag != "":
            break
        found = overlap(box, other, crowd=flag == "crowd")
        if found >= best:
            best, match = found, place
    return match


def coco_verdicts(
    scenes: Sequence[Scene], label: int, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_], Floats]:
    """Image and right or wrong of each counted box of a class, best first, and the objects of each image."""
    verdicts: list[tuple[float, int, bool]] = []
    positives = np.zeros(len(scenes))
    for number, one in enumerate(scenes):
        objects = sorted((o for o in one.objects if o[0] == label), key=lambda o: o[2] != "")
        positives[number] = sum(flag == "" for *_, flag in objects)
        taken: set[int] = set()
        for _, box, score in by_score([one], label, 100):
            match = coco_match(box, objects, taken, threshold)
            taken |= set() if match is None else {match}
            if match is None or objects[match][2] == "":
                verdicts.append((score, number, match is not None))
    verdicts.sort(key=lambda verdict: -verdict[0])
    images, hits = ([verdict[place] for verdict in verdicts] for place in (1, 2))
    return np.array(images, dtype=np.int64), np.array(hits, dtype=bool), positives


def coco(scenes: Sequence[Scene], label: int, threshold: float) -> float:
    """COCO's evaluation of a class at one IoU, with 100 boxes an image."""
    _, right, positives = coco_verdicts(scenes, label, threshold)
    hits = np.cumsum(right)
    recall, precision = hits / positives.sum(), hits / np.arange(1, len(right) + 1)
    return float(np.mean([max(precision[recall >= t], default=0.0) for t in np.linspace(0, 1, 101)]))


def weighted_area(scenes: Sequence[Scene], label: int, threshold: float, weights: Floats) -> float:
    """Area under the curve of a class at one IoU, where images have weights."""
    images, right, positives = coco_verdicts(scenes, label, threshold)
    own = weights[images]
    precision = np.cumsum(own * right) / np.cumsum(own)
    return float(sum(own[t] * precision[t:].max() for t in np.flatnonzero(right)) / (positives @ weights))


def rounded(box: Floats) -> Box:
    """As it is on disk."""
    x0, y0, x1, y1 = box.astype(np.float32).tolist()
    return x0, y0, x1, y1


def scene(rng: np.random.Generator, *, apart: bool, n_classes: int = 2) -> Scene:
    """Objects in cells of 25 pixels, where they are apart; else anywhere, crowds too."""
    objects: list[tuple[int, Box, str]] = []
    detections: list[tuple[int, Box, float]] = []
    for cell in rng.permutation(16)[: rng.integers(0, 7)]:
        corner = 25.0 * np.array([cell % 4, cell // 4]) if apart else rng.uniform(0, 50, size=2)
        size = rng.uniform(12, 20 if apart else 50, size=2)
        box = rounded(np.concatenate([corner, corner + size]))
        flag = str(rng.choice(["", "", "", "difficult"] + ([] if apart else ["crowd"])))
        label = int(rng.integers(n_classes))
        objects.append((label, box, flag))
        for _ in range(int(rng.integers(0, 2 if flag == "difficult" else 4))):
            shifted = np.array(box) + rng.normal(scale=1.5, size=4)
            guess = label if rng.random() < 0.8 else int(rng.integers(n_classes))
            detections.append((guess, rounded(shifted), float(np.float32(rng.random()))))
    return Scene(objects, detections)


def scenes_of(seed: int, n: int, *, apart: bool) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [scene(rng, apart=apart) for _ in range(n)]


@pytest.mark.parametrize("seed", range(3))
def test_voc_is_the_development_kits_where_boxes_are_apart(tmp_path: Path, seed: int) -> None:
    scenes = scenes_of(seed, 40, apart=True)
    assert any(flag == "difficult" for one in scenes for *_, flag in one.objects)
    run = measured(tmp_path, scenes)
    expected = np.array([devkit(scenes, label) for label in range(2)])
    assert 0.2 < expected.mean() < 0.95
    assert run.values["voc2007_ap"] == pytest.approx(expected[:, 0].mean(), abs=1e-9)
    assert run.values["voc2010_ap"] == pytest.approx(expected[:, 1].mean(), abs=1e-9)
    np.testing.assert_allclose(run.classes, expected[:, 0], atol=1e-9)  # of the main metric


@pytest.mark.parametrize("seed", range(3))
def test_coco_is_the_plain_evaluation_with_crowds_and_difficult_objects(tmp_path: Path, seed: int) -> None:
    scenes = scenes_of(seed, 40, apart=False)
    run = measured(tmp_path, scenes)
    by_iou = np.array([[coco(scenes, k, t) for k in range(2)] for t in np.linspace(0.5, 0.95, 10)])
    assert run.values["coco_ap"] == pytest.approx(by_iou.mean(), abs=1e-9)
    assert run.values["coco_ap50"] == pytest.approx(by_iou[0].mean(), abs=1e-9)


def test_where_boxes_crowd_matching_is_pycocotools(tmp_path: Path) -> None:
    """The three differences to the development kit that the module's docstring names, one in each image."""
    left, right, box = (0.0, 0.0, 20.0, 20.0), (6.0, 0.0, 26.0, 20.0), (4.0, 0.0, 24.0, 20.0)
    taken = Scene([(0, left, ""), (0, right, "")], [(0, right, 0.9), (0, box, 0.8)])
    assert devkit([taken], 0)[1] == pytest.approx(0.5)  # the second box overlaps the taken object most
    assert measured(tmp_path / "taken", [taken], 1).values["voc2010_ap"] == pytest.approx(1.0)
    twice = Scene([(0, left, "difficult"), (0, (50, 50, 70, 70), "")], [(0, left, 0.9), (0, left, 0.8)])
    found = replace(twice, detections=[*twice.detections, (0, (50, 50, 70, 70), 0.7)])
    assert devkit([found], 0)[1] == pytest.approx(1.0)
    assert measured(tmp_path / "twice", [found], 1).values["voc2010_ap"] == pytest.approx(0.5)
    crowd = replace(found, objects=[(0, left, "crowd"), *found.objects[1:]])
    assert measured(tmp_path / "crowd", [crowd], 1).values["voc2010_ap"] == pytest.approx(1.0)


def test_all_boxes_count_for_voc_and_a_hundred_for_coco(tmp_path: Path) -> None:
    box: Box = (0.0, 0.0, 20.0, 20.0)
    wrong = [(0, (60.0, 60.0, 80.0, 80.0), 0.9 - number / 1000) for number in range(100)]
    run = measured(tmp_path, [Scene([(0, box, "")], [*wrong, (0, box, 0.1)])], 1)
    assert run.values["voc2010_ap"] == pytest.approx(1 / 101)
    assert run.values["voc2007_ap"] == pytest.approx(1 / 101)
    assert run.values["coco_ap"] == run.values["coco_ap50"] == 0


def test_recalls_are_what_they_say(tmp_path: Path) -> None:
    """Three of ten objects found reach the recall 0.3, which is more than 0.1 * 3 in floating point."""
    boxes: list[Box] = [(9.0 * k, 0.0, 9.0 * k + 8, 8.0) for k in range(10)]
    found = [(0, box, 0.9) for box in boxes[:3]]
    run = measured(tmp_path, [Scene([(0, box, "") for box in boxes], found)], 1)
    assert run.values["voc2007_ap"] == pytest.approx(4 / 11)
    assert run.values["voc2010_ap"] == pytest.approx(0.3)


def test_influences_are_derivatives_by_repeated_images(tmp_path: Path) -> None:
    """An image that is there K + 1 times where others are there K times has 1 / K more weight."""
    names, times = ("voc2010_ap", "coco_ap50"), 40
    scenes = scenes_of(5, 8, apart=False)
    facts = run_facts("original", 0, task("voc2007", "objects", names))
    area = measured_at_half(tmp_path / "a", scenes, facts)
    assert area.values["voc2010_ap"] == pytest.approx(
        measured_at_half(tmp_path / "b", scenes * 3, facts).values["voc2010_ap"]
    )
    found = []
    for extra in scenes:
        more = measured_at_half(tmp_path / "c", [*scenes * times, extra], facts)
        found.append((more.values["voc2010_ap"] - area.values["voc2010_ap"]) * times)
    np.testing.assert_allclose(area.influences["voc2010_ap"], found, atol=0.004)
    assert np.abs(found).max() > 0.02
    for name in names:
        assert area.influences[name].sum() == pytest.approx(0, abs=1e-6)


def measured_at_half(root: Path, scenes: Sequence[Scene], facts: Mapping[str, Any]) -> Measurement:
    """With facts that ask for metrics at IoU 0.5 only, which is faster."""
    ((run,),) = measure([write_objects(root, scenes, facts)]).measurements.values()
    return run


def test_influences_of_the_mean_over_overlaps(tmp_path: Path) -> None:
    """Means at 101 and 11 recalls take the influence of the area, whose derivative by a weight this is."""
    scenes = scenes_of(6, 12, apart=False)
    run = measured(tmp_path, scenes)

    def areas(weights: Floats) -> Floats:
        thresholds = np.linspace(0.5, 0.95, 10)
        return np.array(
            [np.mean([weighted_area(scenes, k, t, weights) for k in range(2)]) for t in thresholds]
        )

    start, step = areas(np.ones(12)), 1e-6
    up, down = (np.array([(areas(1 + way * at) - start) / way for at in np.eye(12)]) for way in (step, -step))
    # Where two ranks share the highest precision, the area has a kink, and the influence is
    # between its two derivatives.
    found = {"coco_ap": (down.mean(axis=1), up.mean(axis=1))}
    found |= dict.fromkeys(("coco_ap50", "voc2007_ap", "voc2010_ap"), (down[:, 0], up[:, 0]))
    for name, (low, high) in found.items():
        assert (low - 1e-5 <= run.influences[name]).all()
        assert (run.influences[name] <= high + 1e-5).all()
        assert np.abs(high - low).mean() < 0.05 * np.abs(high).mean()


def arms(
    root: Path, n: int, *, seeds: Sequence[int] = (0, 1), of_task: Mapping[str, Any] = VOC
) -> list[ObjectPredictions]:
    """Two arms on the same objects; in the second some boxes are missed."""
    scenes = scenes_of(9, n, apart=True)
    made = []
    for arm, miss in (("original", 0.1), (BLUR, 0.35)):
        for seed in seeds:
            rng = np.random.default_rng([seed, arm == BLUR])
            kept = [
                replace(one, detections=[d for d in one.detections if rng.random() > miss]) for one in scenes
            ]
            made.append(write_objects(root, kept, run_facts(arm, seed, of_task)))
    return made


def test_the_standard_error_is_that_of_drawing_images_anew(tmp_path: Path) -> None:
    names, n = ("voc2010_ap", "coco_ap50"), 100
    items = arms(tmp_path / "runs", n, seeds=(0,), of_task=task("voc2007", "objects", names))
    made = compare(items, tmp_path / "out", settings=CompareSettings(rounds=200, allow_single_seed=True))
    rng, drawn = np.random.default_rng(0), []
    of_arm = [scenes_from(item) for item in items]
    for number in range(60):
        chosen = rng.integers(0, n, n)
        values = [
            measured_at_half(tmp_path / f"{number}", [scenes[i] for i in chosen], item.facts).values
            for item, scenes in zip(items, of_arm, strict=True)
        ]
        drawn.append([values[1][name] - values[0][name] for name in names])
    for row, error in zip(made.differences.to_pylist(), np.std(drawn, axis=0), strict=True):
        assert row["standard_error"] == pytest.approx(error, rel=0.3)  # 60 rounds know it to 9 %
        assert row["ci_low"] < row["difference"] < row["ci_high"]


def scenes_from(item: ObjectPredictions) -> list[Scene]:
    """What a folder of predictions holds."""
    found: dict[str, Scene] = {name: Scene([], []) for name in item.table["image_id"].to_pylist()}
    for row in item.objects().to_pylist():
        flag = "difficult" if row["difficult"] else "crowd" if row["crowd"] else ""
        box = (row["x0"], row["y0"], row["x1"], row["y1"])
        one = found[row["image_id"]]
        found[row["image_id"]] = replace(one, objects=[*one.objects, (row["label"], box, flag)])
    for row in item.detections().to_pylist():
        box = (row["x0"], row["y0"], row["x1"], row["y1"])
        one = found[row["image_id"]]
        found[row["image_id"]] = replace(one, detections=[*one.detections, (row["label"], box, row["score"])])
    return list(found.values())


def test_a_comparison_of_objects_is_a_folder_of_tables(tmp_path: Path) -> None:
    items = arms(tmp_path / "runs", 40)
    made = compare(items, tmp_path / "out", settings=FAST)
    assert made.metrics == tuple(VOC["metrics"])
    assert [row["metric"] for row in made.differences.to_pylist()] == VOC["metrics"]
    (seeds,) = ([row for row in made.seeds.to_pylist() if (row["arm"], row["seed"]) == (BLUR, 1)],)
    (run,) = measure([item for item in items if item.facts["train_arm"] == BLUR]).measurements[
        "resnet18", BLUR
    ][1:]
    assert {name: seeds[0][name] for name in VOC["metrics"]} == pytest.approx(run.values)
    precision = {(row["arm"], row["category"]): row for row in made.precision.to_pylist()}
    assert precision[BLUR, "c1"]["average_precision"] is not None
    (change,) = [row for row in made.precision_differences.to_pylist() if row["category"] == "c1"]
    by_arm = [precision[arm, "c1"]["average_precision"] for arm in (BLUR, "original")]
    assert change["difference"] == pytest.approx(by_arm[0] - by_arm[1])
    scenes = scenes_of(9, 40, apart=True)
    with_class = sum(any(k == 1 and not flag for k, _, flag in one.objects) for one in scenes)
    assert change["n_images"] == with_class


def test_a_class_without_objects_is_not_in_the_mean(tmp_path: Path) -> None:
    box: Box = (0.0, 0.0, 20.0, 20.0)
    scenes = [Scene([(0, box, ""), (1, box, "difficult")], [(0, box, 0.9), (1, box, 0.9), (2, box, 0.8)])] * 3
    found = measure([write_objects(tmp_path, scenes, run_facts("original", 0, VOC), 3)])
    assert found.not_counted == ("c1", "c2")
    assert found.measurements[KEY][0].values["coco_ap"] == pytest.approx(1.0)
    nothing = [Scene([(1, box, "difficult")], [])]
    with pytest.raises(UsageError, match="there is no object to be found"):
        measure([write_objects(tmp_path, nothing, run_facts("original", 0, VOC))])


def test_a_run_that_found_nothing_has_zero(tmp_path: Path) -> None:
    run = measured(tmp_path, [Scene([(0, (0, 0, 20, 20), ""), (1, (0, 0, 20, 20), "")], [])] * 2)
    assert set(run.values.values()) == {0.0}
    assert not np.abs(run.influences["coco_ap"]).any()


def test_an_image_that_failed_once_is_left_out_everywhere(tmp_path: Path) -> None:
    scenes = scenes_of(2, 20, apart=True)
    whole = write_objects(tmp_path, scenes, run_facts("original", 0, VOC))
    broken = replace(scenes[4], detections=(), failed=True)
    part = write_objects(tmp_path, [*scenes[:4], broken, *scenes[5:]], run_facts(BLUR, 0, VOC))
    found = measure([whole, part])
    assert list(found.excluded) == [image_names(20)[4]]
    alone = measured(tmp_path / "alone", [*scenes[:4], *scenes[5:]])
    assert found.measurements[KEY][0].values == pytest.approx(alone.values)
    assert found.measurements["resnet18", BLUR][0].values == pytest.approx(alone.values)


def test_other_objects_are_refused_in_whatever_order(tmp_path: Path) -> None:
    scenes = scenes_of(2, 10, apart=True)
    whole = write_objects(tmp_path, scenes, run_facts("original", 0, VOC))
    turned = [replace(one, objects=list(reversed(one.objects))) for one in scenes]
    measure([whole, write_objects(tmp_path, turned, run_facts(BLUR, 0, VOC))])
    place = next(number for number, one in enumerate(scenes) if one.objects)
    turned[place] = replace(scenes[place], objects=scenes[place].objects[1:])
    with pytest.raises(UsageError, match=f"give '{image_names(10)[place]}' different objects"):
        measure([whole, write_objects(tmp_path, turned, run_facts(BLUR, 0, VOC))])


def test_damaged_boxes_are_errors(tmp_path: Path) -> None:
    item = write_objects(tmp_path, scenes_of(2, 10, apart=True), run_facts("original", 0, VOC))
    unknown = replace(item, table=item.table.slice(0, 3))
    with pytest.raises(TableError, match="is none of the images evaluated"):
        unknown.objects()
    fewer = replace(item, facts={**item.facts, "categories": ["c0"]})
    with pytest.raises(TableError, match="a label is none of the 1 classes"):
        fewer.detections()
    broken = [Scene(detections=[(0, (0, 0, 9, 9), float("nan"))])]
    with pytest.raises(TableError, match="column 'score' has something that is no number"):
        write_objects(tmp_path, broken, run_facts("original", 0, VOC)).detections()
    (item.folder / "detections.parquet").unlink()
    with pytest.raises(TableError, match="no such table"):
        item.detections()


def test_a_metric_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    strange = task("voc2007", "objects", ["map"])
    item = write_objects(tmp_path, scenes_of(2, 5, apart=True), run_facts("original", 0, strange))
    with pytest.raises(UnknownName, match=r"unknown metric 'map'; known: .*voc2007_ap"):
        measure([item])


def test_without_pycocotools_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = write_objects(tmp_path, scenes_of(2, 5, apart=True), run_facts("original", 0, VOC))
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(MissingExtra, match=r"sfumato\[objects\]"):
        measure([item])


def test_pycocotools_prints_nothing_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(tmp_path, scenes_of(2, 5, apart=True))
    assert capsys.readouterr().out == ""
