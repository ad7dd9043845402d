"""Consumers that the tests of the proof drive."""

from __future__ import annotations

import msgspec

import inorder


class Entry(msgspec.Struct, frozen=True):
    """An event."""

    id: str
    account: str
    version: int
    amount: int = 1


@inorder.fold(key="account", version="version", id="id")
def listing(state: list[tuple[int, str]] | None, entry: Entry) -> list[tuple[int, str]]:
    return [*(state or []), (entry.version, entry.id)]


@inorder.fold(key="account", version="version", id="id", order="latest")
def newest(state: list[tuple[int, str]] | None, entry: Entry) -> list[tuple[int, str]]:
    return [(entry.version, entry.id)]


@inorder.fold(key="account", version="version", id="id", order="commutative")
def total(state: int | None, entry: Entry) -> int:
    return (state or 0) + entry.amount


class Change(msgspec.Struct):
    """An event that can be changed."""

    id: str
    account: str
    version: int
    amount: int = 1


@inorder.fold(key="account", version="version", id="id")
def doubled(state: int | None, change: Change) -> int:
    change.amount *= 2
    return (state or 0) + change.amount


@inorder.fold(key="account", version="version", id="id")
def adopted(state: Change | None, change: Change) -> Change:
    """The first event becomes the state, and is changed from then on."""
    if state is None:
        return change
    state.amount += change.amount
    return state
