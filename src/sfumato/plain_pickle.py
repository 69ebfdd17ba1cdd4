"""Read a pickle of plain data: numbers, texts, lists, dictionaries and numpy arrays.

A pickle is a program: whoever unpickles it calls what it names. Here it is only decoded (by `pickletools`,
which runs nothing), and the few instructions that plain data needs are carried out by hand. A name in it is
looked up in a short list of meanings and never imported; everything else is refused.
"""

from __future__ import annotations

import math
import pickletools
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.errors import TableError

_RECONSTRUCT, _DTYPE, _SCALAR, _BUFFER = "_reconstruct", "dtype", "scalar", "_frombuffer"
_NDARRAY, _ENCODE, _NO_BYTES, _DICT = "ndarray", "encode", "bytes", "OrderedDict"
_MEANINGS = {
    **{
        (f"numpy.{core}.multiarray", name): name
        for core in ("core", "_core")
        for name in (_RECONSTRUCT, _SCALAR)
    },
    **{(f"numpy.{core}.numeric", _BUFFER): _BUFFER for core in ("core", "_core")},
    ("numpy", _NDARRAY): _NDARRAY,
    ("numpy", _DTYPE): _DTYPE,
    ("_codecs", _ENCODE): _ENCODE,
    ("__builtin__", _NO_BYTES): _NO_BYTES,
    ("collections", _DICT): _DICT,
}
"""Names that may occur in a pickle, and what is done for them here."""

_CODE = re.compile(r"b1|[iu][1248]|f[248]|[SU]\d{1,6}")
"""Types of the elements of an array, as numpy writes them; "O", any object, is none."""
_BYTES_AS_TEXT = "latin1"

_PUSHED = re.compile(
    r"INT|BININT[12]?|LONG[14]?|FLOAT|BINFLOAT|UNICODE|(?:SHORT_)?BINUNICODE|BINUNICODE8"
    r"|(?:SHORT_)?BINBYTES|BINBYTES8|BYTEARRAY8|(?:SHORT_)?BINSTRING"
)
"""Instructions that only push what they carry; a string of Python 2 is a text here, in latin1."""
_IGNORED = frozenset({"PROTO", "FRAME", "STOP"})

_DEEPEST = 100
"""Containers in containers that are read; what goes through deeper ones may overflow the stack of C."""


class _Refused(Exception):
    """The pickle asks for more than plain data; the message says for what."""


class _Name:
    """One of the names that a pickle may hold."""

    __slots__ = ("meaning",)

    def __init__(self, meaning: str) -> None:
        self.meaning = meaning


class _Unfinished:
    """An array or a type of elements whose state has not come yet.

    Attributes:
        dtype: of the type; None for an array.
        place: where it was put to be referred to.
    """

    __slots__ = ("dtype", "place")

    def __init__(self, dtype: np.dtype[Any] | None) -> None:
        self.dtype = dtype
        self.place: int | None = None


def read_plain_pickle(path: Path) -> Any:
    """The value in a pickle of any protocol; nothing that the file holds is run.

    Returns:
        None, bool, int, float, str, bytes, list, tuple, dict with text keys, or numpy array, nested. What is
        a string in a pickle of Python 2 is a str, one character a byte (latin1).

    Raises:
        TableError: the file holds anything else, or is no whole pickle.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    try:
        return _Machine().run(data)
    except _Refused as error:
        raise TableError(f"{path}: not read, since a pickle can run code and this one {error}") from error
    except MemoryError as error:
        raise TableError(f"{path}: more than memory holds") from error
    # A damaged program may do anything to a stack: there is one thing to say about it.
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise TableError(f"{path}: damaged, or no pickle ({type(error).__name__}: {error})") from error


class _Machine:
    """The stack, the marks on it, and what was put aside, while a pickle is gone through."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.aside: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """Carry out a whole pickle; gives what is left on the stack."""
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # odd escapes in texts, which we refuse anyway
            for opcode, argument, _ in pickletools.genops(data):
                self.step(opcode.name, argument)
        (value,) = self.stack
        _need_shallow(value)
        return value

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if _PUSHED.fullmatch(name):
            self.stack.append(argument)
        elif name not in _IGNORED:
            if name not in _STEPS:
                raise _Refused(f"has the instruction {name}, which plain data does not need")
            _STEPS[name](self, argument)

    def above_mark(self) -> list[Any]:
        """Take everything above the last mark off the stack."""
        mark = self.marks.pop()
        taken = self.stack[mark:]
        del self.stack[mark:]
        return taken

    def take(self, count: int) -> list[Any]:
        """Take the last items off the stack."""
        if len(self.stack) < count:
            raise IndexError("nothing left on the stack")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def put(self, place: int) -> None:
        """Put the last item aside too, so that it can be referred to."""
        value = self.stack[-1]
        if isinstance(value, _Unfinished):
            value.place = place
        self.aside[place] = value

    def name(self, module: Any, attribute: Any) -> None:
        """Push one of the names that have a meaning here."""
        # Asked first: to look anything else up is to hash it, which a deep tuple does not survive.
        if type(module) is not str or type(attribute) is not str:
            raise _Refused("asks for something whose name is no text")
        meaning = _MEANINGS.get((module, attribute))
        if meaning is None:
            raise _Refused(f"asks for {module}.{attribute}"[:200])
        self.stack.append(_Name(meaning))

    def call(self) -> None:
        """What REDUCE is for: a name and its arguments become what is meant by them."""
        name, arguments = self.take(2)
        if not isinstance(name, _Name) or name.meaning not in _CALLED:
            raise _Refused("calls something that is no numpy array")
        self.stack.append(_CALLED[name.meaning](*arguments))

    def build(self) -> None:
        """What BUILD is for: give an array or a type of elements its state."""
        unfinished, state = self.take(2)
        if not isinstance(unfinished, _Unfinished):
            raise _Refused("changes something that is no numpy array")
        value = _array(state) if unfinished.dtype is None else _ordered(unfinished.dtype, state)
        if unfinished.place is not None:
            self.aside[unfinished.place] = value
        self.stack.append(value)

    def extend(self, values: list[Any]) -> None:
        """Append to the list on the stack."""
        self._last(list).extend(values)

    def update(self, pairs: list[Any]) -> None:
        """Set items of the dictionary on the stack."""
        self._last(dict).update(_dictionary(pairs))

    def _last(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise TypeError(f"no {kind.__name__} to add to")
        return self.stack[-1]


def _need_shallow(value: Any) -> None:
    """Refuse a value that is nested too deep, or holds itself; goes through it without recursion."""
    heights: dict[int, int] = {}
    entered: set[int] = set()
    pending = [value]
    while pending:
        parts = _parts(pending[-1])
        place = id(pending[-1])
        if place in heights or place in entered:
            heights[place] = 1 + max((heights[id(part)] for part in parts), default=0)
            if heights[place] > _DEEPEST:
                raise _Refused(f"is nested more than {_DEEPEST} deep")
            pending.pop()
            entered.discard(place)
            continue
        entered.add(place)
        if any(id(part) in entered for part in parts):
            raise _Refused("has a list or a dictionary that holds itself")
        pending += [part for part in parts if id(part) not in heights]


def _parts(value: Any) -> list[Any]:
    """The containers in a container."""
    inside = value.values() if type(value) is dict else value if type(value) in (list, tuple) else ()
    return [part for part in inside if type(part) in (dict, list, tuple)]


def _dictionary(items: list[Any]) -> dict[str, Any]:
    keys, values = items[::2], items[1::2]
    if not all(type(key) is str for key in keys):
        raise _Refused("has a dictionary whose keys are not all texts")
    return dict(zip(keys, values, strict=True))


def _numpy_type(code: Any, *_: Any) -> _Unfinished:
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        said = repr(code[:20]) if isinstance(code, str) else type(code).__name__
        raise _Refused(f"has an array of {said}, not of numbers or texts")
    return _Unfinished(np.dtype(code))


def _ordered(dtype: np.dtype[Any], state: Any) -> np.dtype[Any]:
    """The type of elements in its byte order."""
    _, order, *parts = state
    if order not in ("<", ">", "=", "|") or any(part is not None for part in parts[:3]):
        raise _Refused("has an array whose elements have parts")
    return dtype.newbyteorder(order)


def _array(state: Any) -> np.ndarray[Any, Any]:
    _, shape, dtype, fortran, raw = state
    if isinstance(raw, str):  # of Python 2, whose strings are bytes
        raw = raw.encode(_BYTES_AS_TEXT)
    return _from_bytes(raw, dtype, shape, "F" if fortran else "C")


def _from_bytes(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    if not isinstance(dtype, np.dtype) or not isinstance(raw, (bytes, bytearray)):
        raise _Refused("has an array whose content is not bytes")
    if order not in ("C", "F") or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("an array with an impossible shape")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError(f"an array of {len(raw)} bytes, which do not fill its shape")
    # A copy in this machine's byte order, which does not keep the whole file in memory.
    return (
        np.frombuffer(raw, dtype)
        .reshape(shape, order="F" if order == "F" else "C")
        .astype(dtype.newbyteorder("="))
    )


def _scalar(dtype: Any, raw: Any) -> Any:
    return _from_bytes(raw, dtype, (), "C").item()


def _encoded(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != _BYTES_AS_TEXT:
        raise _Refused("has bytes written in an unknown way")
    return text.encode(_BYTES_AS_TEXT)


_CALLED: dict[str, Callable[..., Any]] = {
    _RECONSTRUCT: lambda *_: _Unfinished(None),
    _DTYPE: _numpy_type,
    _SCALAR: _scalar,
    _BUFFER: _from_bytes,
    _ENCODE: _encoded,
    _NO_BYTES: lambda: b"",
    _DICT: lambda: dict(),  # noqa: C408 -- takes nothing, as `dict` would
}

_STEPS: dict[str, Callable[[_Machine, Any], object]] = {
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, _: machine.take(1),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "LIST": lambda machine, _: machine.stack.append(machine.above_mark()),
    "DICT": lambda machine, _: machine.stack.append(_dictionary(machine.above_mark())),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.above_mark())),
    "TUPLE1": lambda machine, _: machine.stack.append(tuple(machine.take(1))),
    "TUPLE2": lambda machine, _: machine.stack.append(tuple(machine.take(2))),
    "TUPLE3": lambda machine, _: machine.stack.append(tuple(machine.take(3))),
    "APPEND": lambda machine, _: machine.extend(machine.take(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.above_mark()),
    "SETITEM": lambda machine, _: machine.update(machine.take(2)),
    "SETITEMS": lambda machine, _: machine.update(machine.above_mark()),
    "PUT": lambda machine, place: machine.put(int(place)),
    "BINPUT": lambda machine, place: machine.put(place),
    "LONG_BINPUT": lambda machine, place: machine.put(place),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.aside)),
    "GET": lambda machine, place: machine.stack.append(machine.aside[int(place)]),
    "BINGET": lambda machine, place: machine.stack.append(machine.aside[place]),
    "LONG_BINGET": lambda machine, place: machine.stack.append(machine.aside[place]),
    "GLOBAL": lambda machine, name: machine.name(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(*machine.take(2)),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
}
"""What each instruction of a pickle does here, beside those that only push their argument."""
