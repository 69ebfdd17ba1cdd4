"""Who may review: names, and hashes of the tokens in their links."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sfumato.errors import TableError, UsageError
from sfumato.records import read_json, write_json
from sfumato.review.model import Reviewer

TOKENS = 8
"""Links of one person that work at the same time: those issued last."""

LONGEST_NAME = 64


class Reviewers:
    """The people of a review, in `reviewers.json`; tokens are kept as hashes only.

    A person may have several links, so that one from before the server was started again still works.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Read the file, where there is one; where it is not to be written, new links end with the process.

        Raises:
            TableError: it is damaged.
        """
        self._path, self._read_only = path, read_only
        self._people: dict[str, Reviewer] = {}
        self._hashes: dict[str, list[str]] = {}
        if path.is_file():
            self._read()

    def __len__(self) -> int:
        return len(self._people)

    @property
    def people(self) -> tuple[Reviewer, ...]:
        """Everybody, in the order in which they came."""
        return tuple(self._people.values())

    def named(self, name: str) -> Reviewer | None:
        """The person of this name."""
        return self._people.get(name)

    def issue(self, name: str, *, arbiter: bool = False) -> str:
        """A new token for a person, who is added where nobody has the name.

        Raises:
            UsageError: no name, or one with characters that cannot be shown.
        """
        _check_name(name)
        token = secrets.token_urlsafe(24)
        self._people[name] = replace(self._people.get(name, Reviewer(name)), arbiter=arbiter)
        self._hashes[name] = [*self._hashes.get(name, []), _hash(token)][-TOKENS:]
        self._write()
        return token

    def of_token(self, token: str) -> Reviewer | None:
        """The person with this token, compared in a time that does not depend on how much of it is right."""
        given, found = _hash(token), None
        for name, hashes in self._hashes.items():
            for known in hashes:
                if hmac.compare_digest(known, given):
                    found = self._people[name]
        return found

    def set_aside(self, name: str, *, aside: bool = True) -> None:
        """Take a person out, or in again.

        Raises:
            UsageError: nobody of this name.
        """
        if name not in self._people:
            raise UsageError(f"{self._path}: nobody is called '{name}'; known: {', '.join(self._people)}")
        self._people[name] = replace(self._people[name], set_aside=aside)
        self._write()

    def _read(self) -> None:
        try:
            for row in read_json(self._path)["reviewers"]:
                person = Reviewer(str(row["name"]), bool(row["arbiter"]), bool(row["set_aside"]))
                self._people[person.name] = person
                self._hashes[person.name] = [str(value) for value in row["token_sha256"]]
        except (KeyError, TypeError) as error:
            raise TableError(
                f"{self._path}: damaged ({error!r}); remove it, and give everybody a new link"
            ) from error

    def _write(self) -> None:
        rows: list[dict[str, Any]] = [
            {**asdict(person), "token_sha256": self._hashes[name]} for name, person in self._people.items()
        ]
        if not self._read_only:
            write_json(self._path, {"reviewers": rows})


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _check_name(name: str) -> None:
    shown = name.strip() == name and not any(unicodedata.category(letter)[0] == "C" for letter in name)
    if not name or len(name) > LONGEST_NAME or not shown:
        raise UsageError(
            f"{name!r} is no name for a reviewer; give 1 to {LONGEST_NAME} letters without spaces around them"
        )
