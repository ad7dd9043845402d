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
