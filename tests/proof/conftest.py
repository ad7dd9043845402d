"""Proofs that end after a few scopes, however fast the machine is."""

from __future__ import annotations

import pytest

from inorder.proof import proving


@pytest.fixture
def few_scopes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the scopes with faults, only the first ones; of payloads, a few."""
    monkeypatch.setattr(proving, "_FAULTY", proving._FAULTY[:2])
    monkeypatch.setattr(proving, "_SMALL", tuple((scope, 5) for scope, _ in proving._SMALL))
