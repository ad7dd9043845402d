"""Words of others are kept in one printable line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inorder.core.words import LONGEST, describe, one_line
from tests.core.profiles import examples


@given(st.one_of(st.text(), st.text(alphabet="\0\x1b\n\r\ud800\u2028é😀", max_size=600)))
@examples(150)
def test_it_is_one_printable_line_of_bounded_length(text: str) -> None:
    found = one_line(text)
    assert found.isprintable()
    found.encode()
    assert len(found) <= LONGEST * len("\\U00000000")
    if text.isprintable() and len(text) <= LONGEST:
        assert found == text


def test_what_is_too_long_is_cut_and_says_so() -> None:
    assert one_line("x" * 500) == "x" * 500
    assert one_line("x" * 501) == "x" * 499 + "…"


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no such account"), "ValueError: no such account"),
        (ValueError("two\nlines, \x1b[31mred\0"), "ValueError: two\\nlines, \\x1b[31mred\\x00"),
        (KeyError("amount"), "KeyError: 'amount'"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (Unspeakable(), "Unspeakable: its message cannot be read"),
    ],
)
def test_an_exception_is_described_by_its_type_and_message(error: Exception, words: str) -> None:
    assert describe(error) == words
