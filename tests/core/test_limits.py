"""Limits that would stop everything are refused where they are written."""

from __future__ import annotations

import msgspec
import pytest

from inorder.core.limits import Limits

NAMES = [field.name for field in msgspec.structs.fields(Limits)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [-1, -0.5, float("nan")])
def test_a_limit_is_not_negative(name: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=rf"Limits\({name}={wrong!r}\) leaves no room"):
        Limits(**{name: wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_of_nothing_is_refused_where_nothing_could_happen(name: str) -> None:
    if name in {"gap_s", "drain_s", "cache_bytes"}:
        assert getattr(Limits(**{name: 0}), name) == 0
    else:
        with pytest.raises(ValueError, match="leaves no room"):
            Limits(**{name: 0})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", ["9", None, True, 1 + 1j])
def test_a_limit_is_a_number(name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=rf"Limits\({name}=.*\) is no number"):
        Limits(**{name: wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["drain_s", "held", "held_per_key", "letters", "letters_per_key"])
@pytest.mark.parametrize("wrong", [10**18 + 1, float("inf")])
def test_a_limit_that_no_thread_waits_for_and_no_database_counts_to_is_refused(name: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=rf"Limits\({name}=.*\) is too much"):
        Limits(**{name: wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["handler_s", "gap_s"])
def test_a_handler_or_a_gap_may_last_for_ever(name: str) -> None:
    assert getattr(Limits(**{name: float("inf")}), name) == float("inf")  # type: ignore[arg-type]
