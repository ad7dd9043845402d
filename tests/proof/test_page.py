"""docs/proof.md shows what its commands really print."""

from __future__ import annotations

from tests.deadletters.test_transcript import DOCS, regenerating


def test_the_page_is_what_its_commands_print() -> None:
    docs = regenerating()
    text = (DOCS / "proof.md").read_text()
    assert docs.plain(docs.regenerate(text)).splitlines() == docs.plain(text).splitlines()
