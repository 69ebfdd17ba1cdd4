"""Pickles as data: what arrays and plain containers need is read, all else refused, nothing ever run."""

from __future__ import annotations

import collections
import os
import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sfumato.errors import TableError
from sfumato.plain_pickle import read_plain_pickle
from tests.data.task_layouts import python2_pickle

PROTOCOLS = range(6)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
ARRAYS = hnp.arrays(
    st.one_of(
        hnp.boolean_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(),
        hnp.floating_dtypes(sizes=(16, 32, 64)),
        hnp.unicode_string_dtypes(max_len=5), hnp.byte_string_dtypes(max_len=5),
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
)  # fmt: skip


def read(tmp_path: Path, data: bytes) -> Any:
    (tmp_path / "data.pickle").write_bytes(data)
    return read_plain_pickle(tmp_path / "data.pickle")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=PLAIN, protocol=st.sampled_from(PROTOCOLS))
def test_plain_values_are_what_pickle_reads(tmp_path: Path, value: Any, protocol: int) -> None:
    assert read(tmp_path, pickle.dumps(value, protocol)) == value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(array=ARRAYS, protocol=st.sampled_from(PROTOCOLS), fortran=st.booleans())
def test_arrays_are_what_pickle_reads(
    tmp_path: Path, array: np.ndarray, protocol: int, fortran: bool
) -> None:
    array = np.asfortranarray(array) if fortran and array.ndim else array
    found = read(tmp_path, pickle.dumps({"a": array, "again": [array]}, protocol))
    for copy in (found["a"], found["again"][0]):
        assert copy.shape == array.shape
        assert copy.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(copy, array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_shared_items_and_ordered_dictionaries_are_read(tmp_path: Path, protocol: int) -> None:
    shared = ["x"]
    value = {"a": np.float32(1.5), "b": np.int64(7), "s": [shared, shared], "n": np.str_("text")}
    value["o"] = collections.OrderedDict(k=1)
    found = read(tmp_path, pickle.dumps(value, protocol))
    assert found == {"a": 1.5, "b": 7, "s": [["x"], ["x"]], "n": "text", "o": {"k": 1}}
    assert found["s"][0] is found["s"][1]
    assert read(tmp_path, pickletools.optimize(pickle.dumps(value, protocol))) == found


def test_what_python_2_wrote_is_what_pickle_reads_as_latin1(tmp_path: Path) -> None:
    array = np.arange(300, dtype=np.uint8).reshape(3, 100)
    value = {"data": array, "labels": [6, 300], "names": ["a_s_000004.png", "\xff" * 300]}
    data = python2_pickle(value)
    found, expected = read(tmp_path, data), pickle.loads(data, encoding="latin1")
    assert found.keys() == expected.keys() == value.keys()
    for read_ in (found, expected):
        np.testing.assert_array_equal(read_["data"], array)
        assert read_["data"].dtype == np.uint8
        assert {name: read_[name] for name in ("labels", "names")} == {
            "labels": [6, 300],
            "names": ["a_s_000004.png", "\xff" * 300],
        }


def test_a_text_that_is_no_bytes_is_no_array(tmp_path: Path) -> None:
    data = python2_pickle({"data": np.zeros((1, 3), dtype=np.uint8)})
    odd = data.replace(b"U\x03\0\0\0", b"\x8c\x03\xe2\x82\xac")  # a euro sign, for three bytes
    assert odd != data
    with pytest.raises(TableError, match="damaged"):
        read(tmp_path, odd)


class Reduced:
    """Pickles as a call of anything."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return self.parts


def touch(path: str) -> tuple[Callable[..., Any], tuple[str]]:
    return os.system, (f"touch {path}",)


def short(text: str) -> bytes:
    """SHORT_BINUNICODE."""
    return b"\x8c" + bytes([len(text)]) + text.encode()


def deep(depth: int) -> bytes:
    """A tuple in a tuple in a tuple …"""
    return b"N" + b"\x85" * depth


def attacks(mark: str) -> dict[str, bytes]:
    """Pickles that would make a file `mark`, or change something, if anything in them were run."""
    command = f"touch {mark}"
    system = b"cposix\nsystem\n"
    array = np.arange(4.0)
    call = Reduced(*touch(mark))
    objects = np.empty(1, dtype=object)
    objects[0] = call
    return {
        "GLOBAL": system + b"(" + short(command) + b"tR.",
        "STACK_GLOBAL": b"\x80\x04" + short("posix") + short("system") + b"\x93(" + short(command) + b"tR.",
        "INST": b"(" + f"S'{command}'\n".encode() + b"iposix\nsystem\n.",
        "OBJ": b"(" + system + short(command) + b"o.",
        "NEWOBJ": system + b"(" + short(command) + b"t\x81.",
        "NEWOBJ_EX": b"\x80\x04" + system + b"(" + short(command) + b"t}\x92.",
        "EXT1": b"\x82\x01.",
        "PERSID": b"Pposix\n.",
        "builtins.eval": pickle.dumps(Reduced(eval, (f"__import__('os').system({command!r})",))),
        "builtins.getattr": pickle.dumps(Reduced(getattr, (array, "tofile"))),
        "numpy.load": pickle.dumps(Reduced(np.load, (mark,))),
        "numpy.fromfile": pickle.dumps(Reduced(np.fromfile, (mark,))),
        "nested in an array's state": pickle.dumps(Reduced(np.ndarray, (1,), (1, (1,), call, False, b""))),
        "nested in a dictionary": pickle.dumps({"output_scores": array, "examples": [{"path": call}]}),
        "array of objects": pickle.dumps(objects),
        "object type": pickle.dumps(np.dtype(object)),
        "type with fields": pickle.dumps(np.zeros(2, dtype=[("a", "f4"), ("b", "O")])),
        "reconstruct of another class": b"cnumpy.core.multiarray\n_reconstruct\n" + system + b"(tR.",
        "array called": b"cnumpy\nndarray\n(K\x01tR.",
        "BUILD on a name": b"cnumpy\ndtype\n}" + short("__setstate__") + system + b"sb.",
        "BUILD on a dictionary": b"}}" + short("x") + b"K\x01sb.",
        "REDUCE of a text": short("posix.system") + b"(" + short(command) + b"tR.",
        "dotted name": b"\x80\x04" + short("numpy") + short("dtype.__class__") + b"\x93.",
        "name of another module": b"cnumpy.core.multiarray\nsystem\n.",
        "encode with another codec": b"c_codecs\nencode\n(" + short("x") + short("idna") + b"tR.",
        "key that is no text": b"}(K\x01K\x02u.",
        "name that is a deep tuple": deep(1_000_000) + short("x") + b"\x93.",
        "attribute that is a deep tuple": short("numpy") + deep(1_000_000) + b"\x93.",
        "type of elements that is a deep tuple": b"cnumpy\ndtype\n" + deep(1_000_000) + b"\x85R.",
        "deep tuple": deep(101) + b".",
        "deep list": b"]" * 101 + b"a" * 100 + b".",
        "very deep tuple": deep(1_000_000) + b".",
        "deep, and a short way to it": b"N" + b"\x85\x94" * 101 + b"(h\x05h\x63h\x60t\x86.",
        "list in itself": b"]\x94h\x00a.",
    }  # fmt: skip


ATTACKS = tuple(attacks("x"))


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_in_a_pickle_is_run(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "mark"
    data = attacks(str(mark))[name]
    with pytest.raises(TableError) as caught:
        read(tmp_path, data)
    assert not mark.exists()
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/data.pickle: not read, since a pickle can run code and this one ")
    assert "\n" not in message


def test_the_attacks_are_real(tmp_path: Path) -> None:
    """Were they read by pickle, they would do what they are refused for."""
    for name in (
        "GLOBAL",
        "STACK_GLOBAL",
        "INST",
        "OBJ",
        "builtins.eval",
        "array of objects",
        "nested in a dictionary",
    ):
        mark = tmp_path / name.replace(" ", "-")
        pickle.loads(attacks(str(mark))[name])
        assert mark.exists(), name


def deep_key(depth: int) -> bytes:
    """A dictionary whose key is a tuple in a tuple in a tuple …: its hash would overflow the stack."""
    return b"}N" + b"\x85" * depth + b"Ns."


DAMAGED = {
    "empty": b"",
    "no pickle": b"PK\x03\x04 not a pickle",
    "cut off": pickle.dumps({"a": np.arange(100)})[:-40],
    "nothing on the stack": b".",
    "two values": b"NN.",
    "take from nothing": b"\x85.",
    "no mark": b"Nt.",
    "unknown place": b"h\x05.",
    "append to a number": b"K\x01K\x02a.",
    "odd items": b"}(" + short("a") + b"u.",
    "BINBYTES8 of 2^62 bytes": b"\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
    "BINUNICODE8 of 2^40 bytes": b"\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
    "LONG4 of 2^31-1 bytes": b"\x8b" + struct.pack("<i", (1 << 31) - 1) + b"x.",
    "BYTEARRAY8 of 2^60 bytes": b"\x96" + struct.pack("<Q", 1 << 60) + b"x.",
    "negative length": b"T" + struct.pack("<i", -5) + b"x.",
    "array of a huge shape": pickle.dumps(np.arange(2)).replace(b"K\x02\x85", b"J\xff\xff\xff\x7f\x85"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_one_clear_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(TableError, match=r"data\.pickle: damaged, or no pickle \(\w+: .+\)$"):
        read(tmp_path, DAMAGED[name])


def test_what_a_pickle_could_exhaust_costs_nothing(tmp_path: Path) -> None:
    place = struct.pack("<I", (1 << 32) - 1)
    assert read(tmp_path, b"Nr" + place + b"0j" + place + b".") is None  # pickle would reserve 64 GiB
    with pytest.raises(TableError, match="not all texts"):
        read(tmp_path, deep_key(200_000))
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(J\xff\xff\xff\x7ft" + short("f8") + b"tR."
    )
    assert not isinstance(read(tmp_path, array), np.ndarray)  # no state, so no array and no 16 GiB
    huge = b"cnumpy\ndtype\n(" + short("S999999999") + b"tR."
    with pytest.raises(TableError, match="not of numbers or texts"):
        read(tmp_path, huge)


def test_a_hundred_containers_in_one_another_are_read(tmp_path: Path) -> None:
    value: Any = None
    for _ in range(100):
        value = (value,)
    assert read(tmp_path, pickle.dumps(value)) == value
    shared = [1]
    assert read(tmp_path, pickle.dumps([shared, {"a": shared}, shared])) == [[1], {"a": [1]}, [1]]
    doubled: Any = []
    for _ in range(60):
        doubled = [doubled, doubled]  # 2^60 ways through it, gone once each
    assert read(tmp_path, pickle.dumps(doubled))[0][1][0] is not None


def outcome(tmp_path: Path, data: bytes) -> str:
    """The error that bytes give, empty where they are a value."""
    try:
        read(tmp_path, data)
    except TableError as error:
        return str(error)
    return ""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_one_error(tmp_path: Path, data: bytes) -> None:
    said = outcome(tmp_path, data)
    assert not said or said.startswith(f"{tmp_path}/data.pickle: ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_any_byte_of_a_result_may_be_wrong(tmp_path: Path, place: int, byte: int) -> None:
    value = {"output_scores": np.arange(6.0), "examples": [{"path": "a", "label": 1}] * 2}
    data = bytearray(pickle.dumps(value))
    data[place % len(data)] = byte
    said = outcome(tmp_path, bytes(data))
    assert not said or said.startswith(f"{tmp_path}/data.pickle: ")
