"""Build the ILSVRC hierarchy that Sfumato ships, from the files of Debian's `wordnet-base`.

    apt-get install wordnet-base
    python scripts/build_ilsvrc.py

It writes `src/sfumato/data/ilsvrc_synsets.csv` and, beside it, WordNet's licence notice. The ids of the
1,000 categories come from a list with one id a line; timm brings one.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

WORDNET = Path("/usr/share/wordnet")
TARGET = Path(__file__).parents[1] / "src" / "sfumato" / "data"
HYPERNYM = "@"  # "@i" points from an instance ("Paris") to its class; no category is an instance
NOTICE = """\
The file ilsvrc_synsets.csv holds synsets of WordNet 3.0 (names, lemmas and hypernyms), taken from the file
data.noun by scripts/build_ilsvrc.py. The licence of WordNet 3.0, as it stands in that file:

"""


@dataclass(frozen=True)
class Synset:
    """One line of data.noun: its offset, lemmas, and the offsets of its direct hypernyms."""

    offset: int
    lemmas: tuple[str, ...]
    hypernyms: tuple[int, ...]


def parse_synset(line: str) -> Synset:
    """Read a line of data.noun (format: wndb(5WN)); the number of words is hexadecimal."""
    fields = line.split(" | ", 1)[0].split()
    n_words = int(fields[3], 16)
    pointers = fields[5 + 2 * n_words :]
    above = zip(pointers[::4], pointers[1::4], strict=False)
    return Synset(
        offset=int(fields[0]),
        lemmas=tuple(fields[4 : 4 + 2 * n_words : 2]),
        hypernyms=tuple(int(offset) for symbol, offset in above if symbol == HYPERNYM),
    )


def read_synsets(folder: Path) -> tuple[dict[int, Synset], list[str]]:
    """Noun synsets by offset, and the lines of the licence, which open the file."""
    lines = (folder / "data.noun").read_text("utf-8").splitlines()
    numbered = (line.split(maxsplit=1) for line in lines if line.startswith("  "))
    licence = [line[1].rstrip() if len(line) > 1 else "" for line in numbered]
    synsets = map(parse_synset, (line for line in lines if not line.startswith("  ")))
    return {synset.offset: synset for synset in synsets}, licence


def read_senses(folder: Path) -> dict[str, list[int]]:
    """Offsets of the synsets of each noun, in WordNet's order of senses (format: wndb(5WN))."""
    senses: dict[str, list[int]] = {}
    for line in (folder / "index.noun").read_text("utf-8").splitlines():
        if not line.startswith("  "):
            fields = line.split()
            senses[fields[0]] = [int(offset) for offset in fields[-int(fields[2]) :]]
    return senses


def name_of(synset: Synset, senses: dict[str, list[int]]) -> str:
    """The usual name of a synset: its first lemma, n for noun, and the number of that lemma's sense."""
    lemma = synset.lemmas[0].lower()
    return f"{lemma}.n.{senses[lemma].index(synset.offset) + 1:02d}"


def closure(offsets: Sequence[int], synsets: dict[int, Synset]) -> list[int]:
    """These synsets and everything above them on any path, sorted."""
    found: set[int] = set()
    waiting = list(offsets)
    while waiting:
        offset = waiting.pop()
        if offset not in found:
            found.add(offset)
            waiting.extend(synsets[offset].hypernyms)
    return sorted(found)


def table(categories: Sequence[int], folder: Path) -> tuple[str, str]:
    """The CSV and the licence notice as text."""
    synsets, licence = read_synsets(folder)
    senses = read_senses(folder)
    chosen = set(categories)
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["wnid", "synset", "is_category", "lemmas", "hypernyms"])
    for offset in closure(categories, synsets):
        synset = synsets[offset]
        above = [name_of(synsets[one], senses) for one in synset.hypernyms]
        lemmas = "; ".join(lemma.replace("_", " ") for lemma in synset.lemmas)
        writer.writerow(
            [f"n{offset:08d}", name_of(synset, senses), int(offset in chosen), lemmas, " ".join(above)]
        )
    return sink.getvalue(), NOTICE + "\n".join(licence).strip() + "\n"


def default_ids() -> Path:
    """The list of ids in the installed timm, found without importing it."""
    found = find_spec("timm")
    if found is None or found.origin is None:
        sys.exit("timm is not installed; name a list of the 1,000 ids with --ids")
    return Path(found.origin).parent / "data" / "_info" / "imagenet_synsets.txt"


def main() -> None:
    """Read WordNet, write the two files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wordnet", type=Path, default=WORDNET, help="folder with data.noun and index.noun")
    parser.add_argument("--ids", type=Path, help="file with one id (n02119022) a line")
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    ids = (options.ids or default_ids()).read_text("utf-8").split()
    rows, notice = table([int(wnid.removeprefix("n")) for wnid in ids], options.wordnet)
    (options.out / "ilsvrc_synsets.csv").write_text(rows, "utf-8")
    (options.out / "WORDNET-LICENSE.txt").write_text(notice, "utf-8")


if __name__ == "__main__":
    main()
