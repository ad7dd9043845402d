"""Consumers with one fault each, for the alerts."""

from __future__ import annotations

import os
import time

import msgspec

import inorder

BAD = 13
"""The amount that a faulty consumer fails on."""


class Entry(msgspec.Struct):
    id: str
    account: str
    version: int
    amount: int


@inorder.fold(key="account", version="version", id="id", name="stream")
def steady(total: int | None, entry: Entry) -> int:
    return (total or 0) + entry.amount


@inorder.fold(key="account", version="version", id="id", name="stream", order="unguarded")
def naive(total: int | None, entry: Entry) -> int:
    """Applies whatever comes, as it comes."""
    return (total or 0) + entry.amount


@inorder.fold(key="account", version="version", id="id", name="stream")
def refusing(total: int | None, entry: Entry) -> int:
    if entry.amount == BAD:
        raise inorder.Poison("13 is refused")
    return (total or 0) + entry.amount


@inorder.fold(key="account", version="version", id="id", name="stream", limits=inorder.Limits(poll_events=20))
def slow(total: int | None, entry: Entry) -> int:
    time.sleep(0.005)
    return (total or 0) + entry.amount


@inorder.fold(key="account", version="version", id="id", name="stream", limits=inorder.Limits(drain_s=0.2))
def hanging(total: int | None, entry: Entry) -> int:
    if entry.amount == BAD:
        time.sleep(60)
    return (total or 0) + entry.amount


@inorder.fold(key="account", version="version", id="id", name="stream")
def dying(total: int | None, entry: Entry) -> int:
    if entry.amount == BAD:
        os._exit(9)
    return (total or 0) + entry.amount


@inorder.handler(key="account", version="version", id="id", name="stream")
def dependent(entry: Entry) -> None:
    if entry.amount == BAD:
        raise inorder.Unavailable("the mail server does not answer")
