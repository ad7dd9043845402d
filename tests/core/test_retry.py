"""Delays grow, within bounds, and are the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inorder.core.retry import Retry
from tests.core.profiles import examples

retries = st.builds(
    Retry,
    attempts=st.integers(1, 10),
    delay_s=st.one_of(st.just(0.0), st.floats(0.001, 100)),
    factor=st.one_of(st.floats(1, 1000), st.integers(1, 1000)),
    max_delay_s=st.floats(0, 10_000),
)


@given(retries, st.integers(1, 1_000_000), st.text("abü", max_size=8))
@examples(200)
def test_a_delay_is_between_what_is_declared_and_a_quarter_more(retry: Retry, attempt: int, key: str) -> None:
    found = retry.delay(attempt, key)
    least = min(retry.delay_s, retry.max_delay_s)
    assert least <= found <= 1.25 * retry.max_delay_s
    if attempt == 1:
        assert found <= 1.25 * least
    assert found == retry.delay(attempt, key)


@given(retries, st.integers(1, 2000), st.text("abü", max_size=8))
@examples(200)
def test_it_grows_by_the_factor_up_to_the_longest_one(retry: Retry, attempt: int, key: str) -> None:
    now, after = retry.delay(attempt, key), retry.delay(attempt + 1, key)
    longest = retry.max_delay_s * Retry(delay_s=1.0).delay(1, key)
    assert after == pytest.approx(min(now * retry.factor, longest))


def test_keys_that_failed_together_do_not_all_come_back_together() -> None:
    assert len({Retry().delay(1, f"key-{n}") for n in range(100)}) > 50


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"delay_s": -0.1},
        {"factor": 0.9},
        {"max_delay_s": -1},
        *({name: float("nan")} for name in ("attempts", "delay_s", "factor", "max_delay_s")),
    ],
    ids=str,
)
def test_a_retry_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Retry needs attempts >= 1"):
        Retry(**wrong)  # type: ignore[arg-type]


def test_what_happens_by_default_is_what_the_page_says() -> None:
    page = (Path(__file__).parents[2] / "docs/handlers.md").read_text()
    assert f"`{Retry()}`".replace(".0", "") in page
