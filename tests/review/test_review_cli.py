"""The commands around a review, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sfumato.cli import main
from sfumato.data import read_dataset
from sfumato.faces import Faces, read_faces
from sfumato.review import ReviewSettings, Session, Submission, dataset_of
from sfumato.review.settings import read_settings
from tests.review.people import write_faces

FACE = [10.0, 8.0, 30.0, 40.0]
FIRST = "train/apple/0.jpg"


@pytest.fixture
def faces(photos: Path, tmp_path: Path) -> Path:
    """A face table of `photos`: a face in each image."""
    dataset = read_dataset(photos)
    found = {sample.image_id: Faces.of([FACE], [0.8], source="detector") for sample in dataset.samples}
    write_faces(tmp_path / "faces", dataset, found)
    return tmp_path / "faces"


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def save(faces: Path, photos: Path, box: list[float]) -> None:
    """Somebody gives the first image one box."""
    table = read_faces(faces)
    folder = faces.with_name("faces-review")
    session = Session.open(table, dataset_of(table, photos), folder, ReviewSettings(audit_share=0))
    session.add_reviewer("Ada")
    ada = session.reviewers.people[0]
    item = session.item(ada, FIRST)
    assert session.save(ada, Submission(FIRST, item.base, Faces.of([box]))).kind == "saved"
    session.close()


def test_what_people_said_is_merged(
    capsys: pytest.CaptureFixture[str], faces: Path, photos: Path, tmp_path: Path
) -> None:
    save(faces, photos, [5.0, 5.0, 20.0, 25.0])
    out = tmp_path / "reviewed"
    merge = ("faces", "merge", faces, "--reviews", faces.with_name("faces-review"), "--out", out)
    code, text, _ = said(capsys, *merge)
    assert code == 0
    assert "1 images reviewed" in text
    table = read_faces(out)
    assert table.of(FIRST).xyxy.tolist() == [[5, 5, 20, 25]]
    assert table.of(FIRST).source == ("Ada",)
    assert table.of("train/apple/2.jpg").xyxy.tolist() == [FACE]
    # The result is a face table like any other.
    assert said(capsys, "obfuscate", photos, "--faces", out, "--out", tmp_path / "v", "-q")[0] == 0
    # Done already; after more was said it is something else.
    assert said(capsys, *merge)[0] == 0
    save(faces, photos, [6.0, 5.0, 20.0, 25.0])
    assert said(capsys, *merge)[0] == 2
    assert said(capsys, *merge, "--overwrite")[0] == 0
    assert read_faces(out).of(FIRST).xyxy.tolist() == [[6, 5, 20, 25]]


def test_tasks_go_out_and_results_come_in(
    capsys: pytest.CaptureFixture[str], faces: Path, tmp_path: Path
) -> None:
    gold = tmp_path / "gold.json"
    known = dict(zip(("x0", "y0", "x1", "y1"), FACE, strict=True))
    gold.write_text(json.dumps({"images": {FIRST: {"faces": [known]}}}))
    out = tmp_path / "tasks.jsonl"
    options = ("--truth", gold, "--per-task", "8", "--gold-per-task", "1", "--prefix", "https://example.org/")
    code, text, _ = said(capsys, "faces", "tasks", "export", faces, "--out", out, *options)
    assert (code, text) == (0, f"{out}: 3 tasks, 20 images\n")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [len(line) for line in lines] == [8, 8, 6]
    assert all(sum("ground_truth_bboxes" in image for image in line) == 1 for line in lines)
    assert lines[0][0]["url"].startswith("https://example.org/train/")
    assert said(capsys, "faces", "tasks", "export", faces, "--out", out)[0] == 2
    results = tmp_path / "results.jsonl"
    moved = {name: value + 1 for name, value in known.items()}
    rows = [
        [
            {"url": image["url"], "change": True, "refined_bboxes": [moved]}
            | {name: image[name] for name in ("ground_truth_bboxes",) if name in image}
            for image in line
        ]
        for line in lines
    ]
    results.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, text, _ = said(capsys, "faces", "tasks", "import", results, "--faces", faces)
    assert (code, text) == (0, f"{tmp_path / 'faces-review'}: 19 images from 3 tasks\n")
    code, text, _ = said(capsys, "faces", "tasks", "import", results, "--faces", faces)
    again = "0 images from 0 tasks; 3 tasks are there already and were left out"
    assert (code, text) == (0, f"{tmp_path / 'faces-review'}: {again}\n")
    merged = tmp_path / "merged"
    reviews = ("--reviews", tmp_path / "faces-review")
    assert said(capsys, "faces", "merge", faces, *reviews, "--out", merged)[0] == 0
    assert read_faces(merged).of("train/pear/0.jpg").xyxy.tolist() == [[value + 1 for value in FACE]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "0.0.0.0"), "--allow-remote"),
        (("--key", "key.pem"), "--certificate"),
        (("--instructions", "none.txt"), "none.txt"),
        (("--audit-share", "2"), "audit_share"),
        (("--reviewer", " "), "reviewer"),
        (("--certificate", "none.pem"), "none.pem"),
    ],
)
def test_a_review_that_cannot_be(
    capsys: pytest.CaptureFixture[str],
    faces: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(photos.parent)
    code, out, err = said(capsys, "review", faces, "--dataset", photos, "--no-open", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_images_that_are_not_those_of_the_faces(
    capsys: pytest.CaptureFixture[str], faces: Path, tmp_path: Path
) -> None:
    (tmp_path / "others").mkdir()
    code, _, err = said(capsys, "review", faces, "--dataset", tmp_path / "others", "--no-open")
    assert code == 2
    assert "has no image of" in err


def test_settings_that_are_given_are_kept(
    capsys: pytest.CaptureFixture[str], faces: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given once holds at the next start, where nothing else is said."""
    from sfumato.review.server import ReviewServer

    def ended(self: ReviewServer, poll_interval: float = 0.5) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ReviewServer, "serve_forever", ended)
    rules = faces.with_name("rules.txt")
    rules.write_text("# Our rules\n- All faces, also of animals")
    command = ("review", faces, "--dataset", photos, "--no-open", "--port", "0")
    code, out, err = said(capsys, *command, "--seed", "5", "--overlap", "2", "--instructions", rules)
    assert code == 0
    assert out.startswith("http://127.0.0.1:")
    assert "the same command goes on" in err
    code, out, _ = said(capsys, *command, "--reviewer", "Ada", "--reviewer", "Bo")
    assert [line.split(": ")[0] for line in out.splitlines()] == ["Ada", "Bo"]
    settings, _ = read_settings(faces.with_name("faces-review") / "review.toml")
    assert (settings.seed, settings.overlap) == (5, 2)
    assert settings.instructions.startswith("# Our rules")
    assert not settings.read_only
