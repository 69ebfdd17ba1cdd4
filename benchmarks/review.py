"""Speed and memory of a review of 1.4 million images, on a face table made here.

    python benchmarks/review.py [--images 1400000] [--records 0] [--saves 4000] [--reviewers 2]

A child process opens the review as `sfumato review` does (face table from the disk, queue, log, server) and
answers through a socket on 127.0.0.1; the pictures themselves are not asked for. Printed are the time to
start, the times to the next image and to save, and the most memory that the process ever held. A second start
replays what was saved in the first.
"""

from __future__ import annotations

import argparse
import http.client
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa

from sfumato.data import IMAGES_SCHEMA
from sfumato.faces import FACES_SCHEMA, read_faces
from sfumato.records import Manifest, finish, write_table
from sfumato.review import Record, dataset_of
from sfumato.review.columns import Columns
from sfumato.review.log import line_of
from sfumato.review.model import Task
from sfumato.review.opening import LOG
from sfumato.review.queue import audit_order
from sfumato.review.versions import rows_of


def make(out: Path, n: int) -> None:
    """A face table of n images in 1,000 categories, with as many faces as the study's: 0.4 an image."""
    rng = np.random.default_rng(0)
    category = np.sort(rng.integers(1000, size=n))
    ids = [f"train/n{label:08d}/n{label:08d}_{number}.JPEG" for number, label in enumerate(category.tolist())]
    ids.sort()
    share = rng.beta(0.35, 1.7, 1000)[category]
    count = np.where(rng.random(n) < share, np.minimum(rng.geometric(0.43, n), 40), 0)
    owner = np.repeat(np.arange(n), count)
    start = rng.uniform(0, 300, (len(owner), 2))
    side = rng.lognormal(3.7, 0.8, (len(owner), 1))
    columns = np.hstack([start, start + side]).astype(np.float32).T
    digest = pa.array(["0" * 64]).dictionary_encode().take(pa.array(np.zeros(n, np.int32))).cast(pa.string())
    images = pa.table(
        {
            "image_id": ids,
            "split": pa.array(["train"]).take(pa.array(np.zeros(n, np.int32))),
            "label": pa.array(category, pa.int32()),
            "width": pa.array(np.full(n, 500), pa.int32()),
            "height": pa.array(np.full(n, 375), pa.int32()),
            "status": pa.array(["ok"]).take(pa.array(np.zeros(n, np.int32))),
            "error": pa.nulls(n, pa.string()),
            "sha256": digest,
            "frames": pa.array(np.ones(n), pa.int32()),
        },
        schema=IMAGES_SCHEMA,
    )
    words = {"kind": "face", "source": "retinaface(size=840)"}
    faces = pa.table(
        {
            "image_id": pa.array(ids).take(pa.array(owner)),
            **dict(zip(("x0", "y0", "x1", "y1"), columns, strict=True)),
            "score": rng.beta(5, 1, len(owner)).astype(np.float32),
            **{
                name: pa.array([word]).take(pa.array(np.zeros(len(owner), np.int32)))
                for name, word in words.items()
            },
        },
        schema=FACES_SCHEMA,
    )
    out.mkdir(parents=True)
    write_table(out / "faces.parquet", faces)
    write_table(out / "images.parquet", images)
    facts = {"categories": [f"n{label:08d}" for label in range(1000)]}
    finish(out, Manifest("faces", "benchmark", {}, {}, {}, facts))


def remember(folder: Path, n: int) -> None:
    """A log of n records, as people leave one: every 20th of the random sample, the others of the queue."""
    table = read_faces(folder / "faces")
    columns = Columns.of(table, dataset_of(table, folder / "photos"))
    sample = audit_order(columns.ok, columns.ok, seed=0)[: n // 20].tolist()
    usual = np.random.default_rng(1).permutation(len(columns))[: n - len(sample)].tolist()
    (folder / "review").mkdir()
    with (folder / "review" / LOG).open("wb") as file:
        for number in range(n):
            task: Task = "queue" if number % 20 or not sample else "audit"
            image = (usual if task == "queue" else sample).pop()
            faces = rows_of(columns.faces(image))
            shown = (number + 1, "2026-11-23T00:00:00.000+00:00", f"person {number % 2}")
            record = Record(*shown, columns.image_id(image), task, "0" * 16, 0, faces, seconds=1.0)
            file.write(line_of(record))


class Visitor:
    """One person's browser: a connection that stays open, and the cookie of their link."""

    def __init__(self, link: str, cookie: str) -> None:
        address, token = link.split("/?token=")
        self._connection = http.client.HTTPConnection(address.removeprefix("http://"))
        self._headers = {"Cookie": f"{cookie}={token}", "Origin": address, "Content-Type": "application/json"}
        self._after = ""

    def next(self) -> dict[str, Any]:
        """The next image."""
        found: dict[str, Any] = self._ask(
            "GET", f"/api/next?{urlencode({'after': self._after} if self._after else {})}"
        )
        item: dict[str, Any] = found["item"]
        self._after = item["image_id"]
        return item

    def save(self, item: dict[str, Any]) -> None:
        """Hand an image in as it is."""
        faces = [[*face["box"], face["kind"], face["source"]] for face in item["faces"]]
        body = {"image_id": item["image_id"], "base": item["base"], "faces": faces, "seconds": 1}
        outcome = self._ask("POST", "/api/save", json.dumps(body))
        assert outcome["kind"] == "saved", outcome

    def _ask(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        self._connection.request(method, path, body, self._headers)
        answer = self._connection.getresponse()
        value: dict[str, Any] = json.loads(answer.read())
        assert answer.status == 200, value
        return value


def answer(folder: Path, saves: int, reviewers: int) -> None:
    """In the child: open, ask and save, print one line of JSON."""
    began = time.perf_counter()
    from sfumato.review import ReviewSettings, Session
    from sfumato.review.server import ReviewServer, ServerOptions

    table = read_faces(folder / "faces")
    dataset = dataset_of(table, folder / "photos")
    session = Session.open(table, dataset, folder / "review", ReviewSettings(overlap=2, overlap_share=0.05))
    del table  # a review needs its columns only, which are copies
    server = ReviewServer(session, ServerOptions())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    names = [f"person {number}" for number in range(reviewers)]
    visitors = [Visitor(server.link(session.add_reviewer(name)), server.cookie) for name in names]
    row: dict[str, Any] = {"start_s": round(time.perf_counter() - began, 2)}
    asked, kept = [], []
    for turn in range(saves):
        visitor = visitors[turn % reviewers]
        item, seconds = _timed(visitor.next)
        asked.append(seconds)
        kept.append(_timed(partial(visitor.save, item))[1])
    row |= {"next_ms": _spread(asked), "save_ms": _spread(kept)}
    row["status_ms"] = round(1000 * _timed(session.status)[1], 1)
    server.shutdown()
    session.close()
    row["memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(row))


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    value = work()
    return value, time.perf_counter() - start


def _spread(seconds: list[float]) -> dict[str, float]:
    cuts = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(1000 * float(np.quantile(seconds, at)), 2) for name, at in cuts.items()}


def main() -> None:
    """Make the table, then ask in a process of its own, twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1_400_000)
    parser.add_argument("--records", type=int, default=0)
    parser.add_argument("--saves", type=int, default=4000)
    parser.add_argument("--reviewers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the table there, and use one that is")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        answer(options.folder, options.saves, options.reviewers)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "faces").is_dir():
            make(folder / "faces", options.images)
        if options.records and not (folder / "review").is_dir():
            remember(folder, options.records)
        for _ in range(2):
            sizes = ["--saves", str(options.saves), "--reviewers", str(options.reviewers)]
            command = [sys.executable, __file__, "--child", "--folder", str(folder), *sizes]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
