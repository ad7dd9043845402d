"""The pytest fixtures `prove` and `disordered`. What they need is imported when a test uses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(name="prove")
def prove_fixture() -> Callable[..., Any]:
    """`prove(consumer)`: fails with a smallest schedule that breaks it. See `inorder.testing.prove`."""
    from inorder.testing import prove

    return prove


@pytest.fixture(name="disordered")
def disordered_fixture() -> Callable[..., list[Any]]:
    """`disordered(events, seed=1)`: the events out of order, some twice. See `inorder.testing.disordered`."""
    from inorder.testing import disordered

    return disordered
