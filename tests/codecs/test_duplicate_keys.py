"""A key that comes twice in one object is found in any JSON, although most records are only asked for their quotes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
from hypothesis import event, given
from hypothesis import strategies as st

from inorder.codecs.json import JsonCodec
from inorder.core.event import Event, Malformed
from tests.codecs.reading import Entry, codec_for, read
from tests.core.profiles import examples


class Flat(msgspec.Struct):
    """Every kind of field that a record may be asked only the quotes of."""

    key: str
    version: int
    id: str
    amount: float
    open: bool


class Renamed(msgspec.Struct, rename="pascal"):
    key: str
    version: int
    id: str


class Tagged(msgspec.Struct, tag=True):
    key: str
    version: int
    id: str


class Listed(msgspec.Struct, array_like=True):
    key: str
    version: int
    id: str


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    version: int
    id: str


@dataclass
class FlatClass:
    key: str
    version: int
    id: str


class FlatDict(TypedDict):
    key: str
    version: int
    id: str


CODECS = {payload: codec_for(payload) for payload in [Flat, FlatClass, FlatDict, Tagged, Strict, Entry]}
RENAMED = codec_for(Renamed)


@dataclass(frozen=True)
class Object:
    """A JSON object as it is written: its keys need not differ."""

    pairs: tuple[tuple[str, Any], ...]

    def twice(self) -> bool:
        """Whether a key comes twice, here or anywhere inside."""
        names = [name for name, _ in self.pairs]
        return len(set(names)) < len(names) or any(twice(value) for _, value in self.pairs)


def twice(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(twice, value))
    return isinstance(value, Object) and value.twice()


class Writer:
    """Writes JSON with the white space and the escapes that are drawn."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.spaced = draw(st.booleans())
        self.escaped = draw(st.sampled_from([0, 0, 0.2, 1]))
        self.random = draw(st.randoms(use_true_random=False))

    def space(self) -> str:
        return self.random.choice(["", "", " ", "\n", "\t\r"]) if self.spaced else ""

    def text(self, text: str) -> str:
        written = [self.escape(one) if self.random.random() < self.escaped else one for one in text]
        return f'"{"".join(written)}"'

    def escape(self, one: str) -> str:
        return f"\\u{ord(one):04{self.random.choice('xX')}}"

    def write(self, value: Any) -> str:
        if isinstance(value, Object):
            inside = [f"{self.text(name)}{self.space()}:{self.space()}{self.write(of)}" for name, of in value.pairs]
            found = f"{{{self.space()}{f',{self.space()}'.join(inside)}{self.space()}}}"
        elif isinstance(value, list):
            found = f"[{self.space()}{','.join(map(self.write, value))}{self.space()}]"
        elif isinstance(value, str):
            found = self.text(value)
        else:
            found = json.dumps(value)
        return f"{self.space()}{found}{self.space()}"


@st.composite
def writers(draw: st.DrawFn) -> Writer:
    return Writer(draw)


names = st.sampled_from(["key", "version", "id", "amount", "open", "type", "x", "y", ""])
scalars = st.one_of(st.none(), st.booleans(), st.integers(1, 9), st.sampled_from(["a", "", "key", "ü{}[]:,"]))
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.builds(Object, st.lists(st.tuples(names, inner), max_size=4).map(tuple)),
    ),
    max_leaves=6,
)
REQUIRED = {"key": "a", "version": 1, "id": "i", "amount": 1.5, "open": True}


@st.composite
def documents(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A JSON entry, with more fields or without, and whether a key comes twice in it."""
    extras = draw(st.lists(st.tuples(names, st.one_of(scalars, values)), max_size=3))
    pairs = draw(st.permutations([*REQUIRED.items(), *extras]))
    written = Object(tuple(pairs))
    return Writer(draw).write(written).encode(), written.twice()


@given(documents(), st.sampled_from(list(CODECS)))
@examples(600)
def test_a_record_is_read_only_if_no_key_comes_twice(document: tuple[bytes, bool], payload: Any) -> None:
    value, comes_twice = document
    found = read(CODECS[payload], value)
    event(f"{type(found).__name__}, twice: {comes_twice}")
    if comes_twice:
        assert isinstance(found, Malformed)
    elif isinstance(found, Malformed):
        assert "twice" not in found.reason
        assert refused_by_the_decoder(value, payload)


def refused_by_the_decoder(value: bytes, payload: Any) -> bool:
    try:
        msgspec.json.decode(value, type=payload)
    except msgspec.ValidationError:
        return True
    return False


@given(st.permutations(list(REQUIRED.items())), writers())
@examples(150)
def test_a_record_with_each_field_once_is_read_whatever_its_order_and_escapes(
    pairs: list[tuple[str, Any]], writer: Writer
) -> None:
    assert isinstance(read(CODECS[Flat], writer.write(Object(tuple(pairs))).encode()), Event)


@given(st.sampled_from(sorted(REQUIRED)), st.booleans(), st.integers(0, 5), writers())
@examples(200)
def test_any_one_field_written_again_is_found(name: str, same: bool, place: int, writer: Writer) -> None:
    pairs = list(REQUIRED.items())
    again = REQUIRED[name] if same else {"key": "b", "version": 2, "id": "j", "amount": 2.5, "open": False}[name]
    pairs.insert(place, (name, again))
    found = read(CODECS[Flat], writer.write(Object(tuple(pairs))).encode())
    assert isinstance(found, Malformed)
    assert found.reason == f"{name}: the key comes twice in one object"


def test_names_that_the_decoder_changes_are_counted_as_they_are_written() -> None:
    plain = b'{"Key":"a","Version":1,"Id":"i"}'
    assert isinstance(read(RENAMED, plain), Event)
    assert isinstance(read(RENAMED, plain[:-1] + b',"Version":2}'), Malformed)
    assert isinstance(read(RENAMED, plain[:-1] + b',"version":2,"Version":1}'), Malformed)


def test_what_an_array_has_behind_its_fields_is_looked_at_too() -> None:
    listed = codec_for(Listed)
    assert isinstance(read(listed, b'["a",1,"i"]'), Event)
    assert isinstance(read(listed, b'["a",1,"i",{"x":1,"y":2}]'), Event)
    assert isinstance(read(listed, b'["a",1,"i",{"x":1,"x":2}]'), Malformed)
    assert isinstance(read(listed, b'["a",1,"i",{"x":1,"x":2,"x":3}]'), Malformed), "as many quotes as an object has"


def twisted(codec: JsonCodec) -> JsonCodec:
    """The same, which now believes the quotes of a payload that has fewer fields."""
    codec._quotes += 2
    return codec


def test_the_shortcut_is_taken_and_the_tests_above_would_see_it_err() -> None:
    flat = codec_for(Flat)
    written_twice = json.dumps(REQUIRED)[:-1].encode() + b',"version":2}'
    assert isinstance(read(flat, written_twice), Malformed)
    assert isinstance(read(twisted(flat), written_twice), Event)
