"""Training plans as data: their files, their lists of runs, parts of them, and how long they take."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import UsageError
from sfumato.learn import Cell, Part, TrainingPlan, cells_of, read_training_plan, write_training_plan
from sfumato.learn.device import Precision
from sfumato.learn.inputs import parse_bytes
from sfumato.learn.plan import PRECISIONS, evaluation_arms, record_training_plan
from sfumato.learn.timing import Timing, in_words, remaining_seconds, waiting_share

BLUR, STRONG = "blur(strength=0.2, grow=0.1)", "blur(strength=0.5, grow=0.1)"
ARMS = ("original", "none", BLUR)


def test_a_plan_is_written_with_every_default_and_read(tmp_path: Path) -> None:
    plan = TrainingPlan(
        tmp_path / "photos",
        (tmp_path / "v/none", tmp_path / "v/blur"),
        models=("resnet18", "timm:resnet18.a1_in1k"),
        seeds=(0, 7),
        weights="torchvision:IMAGENET1K_V1",
        change={"epochs": 3},
        on=(("blur", "original"),),
        faces=tmp_path / "faces",
    )
    write_training_plan(tmp_path / "a/training.toml", plan)
    assert read_training_plan(tmp_path / "a/training.toml") == plan
    text = (tmp_path / "a/training.toml").read_text()
    assert 'recipe = "small"' in text
    assert "keep_scores = false" in text


def test_paths_of_a_plan_begin_at_its_file_and_names_stay_names(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(
        '[data]\nphotos = "photos"\nvariants = ["v/none", "/elsewhere/blur"]\n'
        '[train]\nrecipe = "my.toml"\nweights = "start/{model}.pth"\n[evaluate]\nfaces = "../faces"\n'
    )
    plan = read_training_plan(tmp_path / "plan.toml")
    assert plan.photos == tmp_path / "photos"
    assert plan.variants == (tmp_path / "v/none", Path("/elsewhere/blur"))
    assert (plan.recipe, plan.weights) == (f"{tmp_path}/my.toml", f"{tmp_path}/start/{{model}}.pth")
    assert plan.faces == tmp_path / "../faces"
    (tmp_path / "plan.toml").write_text('[data]\nphotos = "p"\n[train]\nrecipe = "study"\nweights = "timm"\n')
    plan = read_training_plan(tmp_path / "plan.toml")
    assert (plan.recipe, plan.weights, plan.on, plan.seeds) == ("study", "timm", "same", (0, 1, 2))


WRONG = [
    ("", "[data] photos is missing"),
    ('[data]\nphotos = "p"\nfolder = 1', "[data] has no field 'folder'; known: photos, variants, "),
    ('[data]\nphotos = "p"\n[hide]\narms = []', "unknown section 'hide'; known: data, train, evaluate"),
    ('[data]\nphotos = "p"\n[train]\nseeds = "1"', "seeds = '1' cannot be; it needs a list of whole numbers"),
    ('[data]\nphotos = "p"\n[train]\nseeds = [true]', "seeds = [True] cannot be"),
    ('[data]\nphotos = "p"\n[train]\nseeds = [1, 1]', "needs seeds, each named once, not [1, 1]"),
    ('[data]\nphotos = "p"\n[train]\nseeds = [-1]', "a seed is 0 or more"),
    ('[data]\nphotos = "p"\n[train]\nmodels = []', "needs models, each named once"),
    ('[data]\nphotos = "p"\n[evaluate]\non = "both"', 'it needs "same", "all", or a list of pairs'),
    ('[data]\nphotos = "p"\n[evaluate]\non = [["a"]]', "a list of pairs [trained on, evaluated on]"),
    ("[data", "not valid TOML"),
    ('[data]\nphotos = "p"\n[train]\nprecision = "fp8"', "precision = 'fp8' cannot be; known: auto, fp32"),
    ('[data]\nphotos = "p"\n[evaluate]\nattention = true', "attention = true needs faces"),
    ('[data]\nphotos = "p"\n[train]\ncache_budget = true', "cache_budget = True cannot be; it needs a text"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_is_wrong_with_a_plan_is_said_with_file_and_field(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_training_plan(tmp_path / "plan.toml")
    assert str(caught.value).startswith(f"{tmp_path}/plan.toml: ")
    assert message in str(caught.value)


def test_precisions_are_those_of_the_device() -> None:
    assert get_args(Precision) == PRECISIONS


@pytest.mark.parametrize(("written", "budget"), [("0", 0), ("500000", 500000), ('"2GiB"', 2 << 30)])
def test_a_budget_may_be_a_number(tmp_path: Path, written: str, budget: int) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(f'[data]\nphotos = "p"\n[train]\ncache_budget = {written}\n')
    assert parse_bytes(read_training_plan(path).cache_budget) == budget


def test_relative_paths_are_written_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_training_plan(Path("deep/er/training.toml"), TrainingPlan(Path("photos"), (Path("v"),)))
    read = read_training_plan(Path("deep/er/training.toml"))
    assert (read.photos, read.variants) == (tmp_path / "photos", (tmp_path / "v",))


OWN = '# mine\n[data]\nphotos = "photos"\n'


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("training.toml", "training.ran.toml"),
        ("study.toml", "training.toml"),
        ("training.ran.toml", "training.toml"),
    ],
)
def test_what_ran_is_never_written_over_the_plan_itself(tmp_path: Path, source: str, place: str) -> None:
    own = tmp_path / source
    own.write_text(OWN)
    for _ in range(2):
        plan = replace(read_training_plan(own), val_fraction=0.2)
        assert record_training_plan(tmp_path, plan, own) == tmp_path / place
        assert read_training_plan(tmp_path / place) == plan
    assert own.read_text() == OWN
    assert {path.name for path in tmp_path.iterdir()} == {source, place}


def test_a_second_plan_leaves_the_record_of_the_first(tmp_path: Path) -> None:
    first, second = TrainingPlan(tmp_path / "p"), TrainingPlan(tmp_path / "p", seeds=(5,))
    record_training_plan(tmp_path, first, tmp_path / "one.toml")
    before = (tmp_path / "training.toml").read_bytes()
    for seed in (5, 6):
        plan = replace(second, seeds=(seed,))
        assert record_training_plan(tmp_path, plan, tmp_path / "two.toml") == tmp_path / "two.ran.toml"
        assert read_training_plan(tmp_path / "two.ran.toml") == plan
    assert (tmp_path / "training.toml").read_bytes() == before
    assert record_training_plan(tmp_path, plan, tmp_path / "two.ran.toml") is None
    assert record_training_plan(tmp_path, first, tmp_path / "two.toml") == tmp_path / "training.toml"


def test_a_damaged_training_toml_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "training.toml").write_text("[data")
    assert record_training_plan(tmp_path, TrainingPlan(tmp_path / "p")) == tmp_path / "training.ran.toml"
    assert (tmp_path / "training.toml").read_text() == "[data"


def test_one_seed_of_everything_comes_before_the_next() -> None:
    cells = cells_of(("a", "b"), (3, 4), {"original": ("original",), "none": ("none", "original")})
    assert [(cell.seed, cell.model, cell.arm) for cell in cells[:5]] == [
        (3, "a", "original"), (3, "a", "none"), (3, "b", "original"), (3, "b", "none"), (4, "a", "original"),
    ]  # fmt: skip
    assert cells[1].on == ("none", "original")
    assert Cell("m", BLUR, 2, (BLUR,)).title == "m blur seed 2"


def test_a_run_is_evaluated_on_its_own_arm_and_what_is_asked_besides() -> None:
    assert evaluation_arms("same", ARMS) == {arm: (arm,) for arm in ARMS}
    crossed = evaluation_arms("all", ARMS)
    assert {arm: set(others) for arm, others in crossed.items()} == {arm: set(ARMS) for arm in ARMS}
    assert all(others[0] == arm for arm, others in crossed.items())
    pairs = evaluation_arms((("blur", "original"), ("original", BLUR), ("none", "none")), ARMS)
    assert pairs == {"original": ("original", BLUR), "none": ("none",), BLUR: (BLUR, "original")}


@pytest.mark.parametrize(
    ("name", "message"), [("mosaic", "is none of the arms; name one of original"), ("blur", "means 2 arms")]
)
def test_an_arm_that_is_not_one_of_the_plan_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluation_arms((("original", name),), (*ARMS, STRONG))


@given(n_models=st.integers(1, 5), n_seeds=st.integers(1, 5), n_arms=st.integers(1, 4), of=st.integers(1, 12))
def test_parts_are_a_division_of_the_plan_in_which_every_model_is_spread(
    n_models: int, n_seeds: int, n_arms: int, of: int
) -> None:
    on = {f"arm{number}": (f"arm{number}",) for number in range(n_arms)}
    cells = cells_of([f"m{number}" for number in range(n_models)], range(n_seeds), on)
    parts = [Part(number, of).choose(cells) for number in range(1, of + 1)]
    assert Counter(cell for part in parts for cell in part) == Counter(cells)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for model in {cell.model for cell in cells}:
        counts = [sum(cell.model == model for cell in part) for part in parts]
        assert max(counts) - min(counts) <= 1
    for part in parts:
        assert part == [cell for cell in cells if cell in part]


@pytest.mark.parametrize("text", ["3", "3/", "/8", "a/b", "0/3", "4/3", "-1/3", "1.5/3", "3/8/2"])
def test_a_part_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--part"):
        Part.parse(text)
    assert Part.parse("3/8") == Part(3, 8)


def test_what_is_left_takes_as_long_an_image_as_its_model_took() -> None:
    finished = [Timing("a", 100, 10.0), Timing("a", 300, 50.0), Timing("b", 100, 5.0)]
    assert remaining_seconds(finished, [("a", 200)]) == pytest.approx(200 * 60 / 400)
    assert remaining_seconds(finished, [("b", 200), ("b", 100)]) == pytest.approx(15)
    assert remaining_seconds(finished, [("c", 1000)]) == pytest.approx(1000 * 65 / 500)
    assert remaining_seconds(finished, []) == 0
    assert remaining_seconds([], [("a", 1)]) is None
    assert remaining_seconds([Timing("a", 0, 0.0)], [("a", 1)]) is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 1000)), max_size=6), st.floats(0.1, 10))
def test_the_time_left_adds_up_and_grows_with_the_time_it_took(
    left: list[tuple[str, int]], factor: float
) -> None:
    finished = [Timing("a", 10, 3.0), Timing("b", 20, 1.0)]
    total = remaining_seconds(finished, left)
    assert total is not None
    single = [remaining_seconds(finished, [run]) or 0.0 for run in left]
    assert total == pytest.approx(sum(single))
    slower = [Timing(each.model, each.images, each.seconds * factor) for each in finished]
    assert remaining_seconds(slower, left) == pytest.approx(total * factor)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"), (42, "42 s"), (90, "2 min"), (3600, "1 h 0 min"), (12000, "3 h 20 min"),
        (86399, "24 h 0 min"), (86400, "1 d 0 h"), (190000, "2 d 5 h"),
    ],
)  # fmt: skip
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_the_share_of_waiting_is_over_the_time_of_all_runs() -> None:
    assert waiting_share([Timing("a", 1, 10.0, waited=1.0), Timing("b", 1, 30.0, waited=9.0)]) == 0.25
    assert waiting_share([]) == 0
