"""The runbook: a section for every alert, with its metric and commands that exist; transcripts are what they print."""

from __future__ import annotations

import re

import pytest

from inorder.cli import VERBS
from inorder.observe.alerts import RUNBOOK, TABLE, Alert
from inorder.observe.metrics import BY_NAME
from tests.deadletters.test_transcript import DOCS, regenerating
from tests.observe.promql import names_in

TEXT = (DOCS / "runbook.md").read_text()
HEADING = re.compile(r"^#{2,3} (.+)$", re.M)


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


ANCHORS = {anchor(heading) for heading in HEADING.findall(TEXT)}


def section(name: str) -> str:
    found = [part for part in re.split(r"^(?=## )", TEXT, flags=re.M) if anchor(part.splitlines()[0][3:]) == name]
    assert len(found) == 1, name
    return found[0]


@pytest.mark.parametrize("alert", TABLE, ids=lambda alert: alert.name)
def test_an_alert_links_to_a_section_that_names_it_its_metric_and_what_to_do(alert: Alert) -> None:
    assert alert.link == f"{RUNBOOK}#{alert.section}"
    text = section(alert.section)
    assert f"`{alert.name}`" in text
    for metric in names_in(alert.expr) - {"inorder_received_events_total"}:
        assert metric in text
    assert re.search(r"(`|\$ )inorder \w+|--log-level", text)


def test_links_lead_somewhere() -> None:
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= ANCHORS
    for file in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (DOCS / file).exists(), file


def test_what_is_named_exists() -> None:
    named = set(re.findall(r"\b(inorder_[a-z_]+)\b", TEXT))
    assert named <= BY_NAME.keys()
    assert set(re.findall(r"\binorder ([a-z]+) ", TEXT)) & {"dlq", "status", "top", "run", "doctor", "state"}
    for verb in re.findall(r"(?:`|\$ )inorder ([a-z]+)", TEXT):
        assert verb in VERBS, verb


@pytest.mark.timeout(400)
def test_the_transcripts_are_what_their_commands_print() -> None:
    docs = regenerating()
    assert docs.plain(docs.regenerate(TEXT)).splitlines() == docs.plain(TEXT).splitlines()
