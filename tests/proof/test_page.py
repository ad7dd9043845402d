"""docs/proof.md shows what its commands really print: its first part here, all of it by `python docs/regenerate.py`."""

from __future__ import annotations

from tests.deadletters.test_transcript import DOCS, regenerating


def test_the_page_is_what_its_commands_print() -> None:
    docs = regenerating()
    text = (DOCS / "proof.md").read_text().split("The rest of `examples/broken/`")[0]
    assert text.count("```console") == 4
    assert docs.plain(docs.regenerate(text)).splitlines() == docs.plain(text).splitlines()
