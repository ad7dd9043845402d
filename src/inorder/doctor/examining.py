"""Gathers the facts, runs every check that has what it needs, and says what could not be decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from inorder.core.limits import Limits
from inorder.doctor.facts import Facts
from inorder.doctor.producer_file import read_producer
from inorder.doctor.table import TABLE, Check
from inorder.wiring import source_facts, store_facts


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can break order."""

    check: str
    what: str
    why: str
    fix: str
    link: str


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `inorder doctor --json`."""

    source: str
    store: str | None
    producer: str | None
    findings: list[Finding]
    passed: list[str]
    unknown: dict[str, str]
    """Checks that could not be decided, and why."""


def examine(
    source: str,
    store: str | None = None,
    producer: str | None = None,
    group: str | None = None,
    limits: Limits | None = None,
) -> Diagnosis:
    """Look at a live source, and at a store and a producer's configuration where they are named.

    `limits` are those of the consumer; the defaults unless given. Raises `UsageError` or `Unreachable` when a part
    cannot be looked at at all.
    """
    facts = Facts()
    limits = limits or Limits()
    if producer is not None:
        facts.producer = read_producer(producer)
    place = source_facts(source, group)
    place.gather(facts, limits.handler_s, limits.drain_s)
    found_store: Any = None
    if store is not None:
        found_store = store_facts(store)
        topic = facts.topic.name if facts.topic else ""
        facts.store = found_store.gather(topic)
    findings: list[Finding] = []
    passed: list[str] = []
    unknown: dict[str, str] = {}
    for check in TABLE:
        if missing := [part for part in check.needs if getattr(facts, part) is None]:
            if why := next((facts.unknown[part] for part in missing if part in facts.unknown), None):
                unknown[check.name] = why
            continue
        try:
            whats = _run(check, facts)
        except Exception as error:
            # A check that fails has not passed.
            unknown[check.name] = f"{type(error).__name__}: {error}"
            continue
        findings += [
            Finding(check=check.name, what=what, why=check.why, fix=check.fix, link=check.link) for what in whats
        ]
        if not whats:
            passed.append(check.name)
    return Diagnosis(
        source=place.source,
        store=found_store.name if found_store else None,
        producer=producer,
        findings=findings,
        passed=passed,
        unknown=unknown,
    )


def _run(check: Check, facts: Facts) -> list[str]:
    look: Callable[..., Any] = check.look
    return list(look(**{part: getattr(facts, part) for part in check.uses}))
