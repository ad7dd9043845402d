"""Broken consumers are found, each by a smallest schedule; good ones are proved; and what is printed can be used."""

from __future__ import annotations

import dataclasses
import sqlite3
import typing
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest

import inorder
from bench.parts.proof import BROKEN as MEASURED
from inorder.core.order import Outcome
from inorder.declaration import declaration_of
from inorder.proof.payloads import Payloads
from inorder.proof.proving import Proof, prove_declared, replayed
from inorder.proof.report import lines
from inorder.worker.loading import load_consumer
from tests.proof.consumers import Entry, adopted, doubled, listing, newest, total

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

BROKEN = {
    "orders.py:deltas": ("S20", 2, "state.cents if state else 0", 'order="strict"'),
    "orders.py:floor": ("S20", 2, "return Floored(0)", 'order="strict"'),
    "orders.py:average": ("S20", 3, "state.mean + change.amount", 'order="strict"'),
    "orders.py:last_write": ("S20", 2, "return Last(", 'order="strict"'),
    "orders.py:refused": ("S20", 3, "raise ValueError", 'order="strict"'),
    "impure.py:clock": ("S20", 1, "time.time()", "its two arguments"),
    "impure.py:lottery": ("S20", 1, "random.randrange", "its two arguments"),
    "impure.py:remembered": ("S18", 2, "", "its two arguments"),
    "impure.py:noted": ("S18", 2, '.open("a")', "its two arguments"),
    "tables.py:outside": ("S18", 2, "sqlite3.connect", "its event and tx"),
    "tables.py:leak": ("S19", 3, "INSERT OR REPLACE", "no order"),
    "tables.py:summed": ("S20", 2, "tx.execute(ADD", 'order="strict"'),
}


def consumer_of(name: str, room: str = "broken") -> Any:
    return load_consumer(str(EXAMPLES / room / name))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_consumer_is_found_and_explained(name: str) -> None:
    anomaly, actions, text, passes = BROKEN[name]
    proof = prove_declared(consumer_of(name), seconds=30.0)
    assert proof.verdict == "disproved", list(lines(proof))
    found = proof.anomaly
    assert found is not None
    assert (found.anomaly, len(found.schedule) - 1) == (anomaly, actions), found.schedule
    assert found.smaller is not None
    assert Path(found.where.file).name == name.split(":", maxsplit=1)[0]
    assert text in found.where.text
    assert passes in found.passes_with
    again = replayed(consumer_of(name), found.token)
    assert again.finding is not None
    compile(found.test, "test", "exec")
    assert found.token in found.test


def test_every_broken_consumer_is_measured_too() -> None:
    assert {f"{file}:{name}" for file, names in MEASURED.items() for name in names} == set(BROKEN)


@pytest.mark.usefixtures("few_scopes")
@pytest.mark.parametrize("name", ["balance.py:balance", "profile.py:profile"])
def test_the_good_examples_are_proved(name: str) -> None:
    proof = prove_declared(consumer_of(name, ""), seconds=100.0)
    assert proof.verdict == "proved", list(lines(proof))
    seen = {name.split(", ")[1] for name in proof.covered}
    unseen = "\n".join(lines(proof)).split("not seen")[1].split("NOT PROVED")[0]
    assert all((f"{outcome}:" in unseen or f"{outcome}," in unseen) != (outcome in seen) for outcome in Outcome)
    assert all(one.exhausted for one in proof.scopes)
    assert proof.not_proved


@pytest.mark.usefixtures("few_scopes")
@pytest.mark.parametrize("consumer", [listing, newest, total, doubled, adopted])
def test_good_consumers_of_each_order_are_proved(consumer: Any) -> None:
    proof = prove_declared(consumer, seconds=100.0)
    assert proof.verdict == "proved", list(lines(proof))


ADD = "INSERT INTO balances VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET cents = cents + excluded.cents"


@inorder.handler(key="account", version="version", id="id")
def posted(entry: Entry, tx: inorder.Transaction) -> None:
    tx.execute(ADD, (entry.account, entry.amount))


@inorder.handler(key="account", version="version", id="id", order="commutative")
async def posted_later(entry: Entry, tx: inorder.AsyncTransaction) -> None:
    await tx.execute(ADD, (entry.account, entry.amount))


def balances(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE balances (account TEXT PRIMARY KEY, cents INTEGER NOT NULL)")


@pytest.mark.usefixtures("few_scopes")
@pytest.mark.parametrize("consumer", [posted, posted_later])
def test_a_good_handler_with_tx_is_proved(consumer: Any) -> None:
    proof = prove_declared(consumer, seconds=100.0, setup=balances)
    assert proof.verdict == "proved", list(lines(proof))
    assert any("applied" in name for name in proof.covered)


def test_tables_come_from_a_store(tmp_path: Path) -> None:
    from inorder.proof.tables import TablesStore, copy_of

    with sqlite3.connect(tmp_path / "store.db") as connection:
        balances(connection)
        connection.execute("INSERT INTO balances VALUES ('z', 5)")
        connection.execute("CREATE TABLE inorder_streams (ours)")
    store = TablesStore("x", copy_of(f"sqlite:///{tmp_path}/store.db"))
    assert store.dump() == '{"balances":[["z",5]]}'
    with pytest.raises(inorder.UsageError, match="no such file"):
        copy_of(f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(inorder.UsageError, match="SQLite"):
        copy_of("postgresql://host/base")


def test_a_store_with_tables_is_put_back_as_it_was() -> None:
    from inorder.proof.tables import TablesStore

    store = TablesStore("x", balances)
    before = store.save()
    with store.transaction() as tx:
        tx.execute(ADD, ("a", 1))
    after, digest = store.save(), store.digest(0.0)
    store.restore(before)
    assert store.dump() == "{}"
    store.restore(after)
    assert store.dump() == '{"balances":[["a",1]]}'
    assert store.digest(0.0) == digest


def test_what_cannot_be_proved_is_said_in_a_line() -> None:
    @inorder.handler(key="account", version="version", id="id")
    def notify(entry: Entry) -> None: ...

    @inorder.fold(key=lambda record: "a", version="version", id="id")
    def called(state: int | None, entry: Entry) -> int:
        return 1

    @inorder.fold(key="account", version="version", id="id")
    def untyped(state: int | None, entry: dict[str, Any]) -> int:
        return 1

    @inorder.fold(key="account", version=inorder.POSITION, order="latest")
    def positioned(state: int | None, entry: Entry) -> int:
        return 1

    @inorder.fold(key="account", version="version", id="id", order="unguarded")
    def naive(state: int | None, entry: Entry) -> int:
        return 1

    refusals: list[tuple[Any, str]] = [
        (notify, "effects elsewhere"),
        (called, "--events"),
        (untyped, "--events"),
        (positioned, "POSITION"),
        (naive, "promises nothing"),
    ]
    for consumer, words in refusals:
        with pytest.raises(inorder.UsageError, match=words) as refusal:
            prove_declared(consumer)
        assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("few_scopes")
def test_events_of_the_users_own() -> None:
    @inorder.fold(key="who", version="n", order="commutative")
    def last(state: int | None, event: dict[str, Any]) -> int:
        return int(event["amount"])

    def proof(*events: dict[str, Any]) -> Proof:
        return prove_declared(last, [msgspec.json.encode(event) for event in events], 100.0)

    assert proof(*({"who": "x", "n": n, "amount": 7} for n in (3, 1, 2))).verdict == "proved"
    found = proof(*({"who": "x", "n": n, "amount": n} for n in (3, 1, 2)), {"who": "y", "n": 9, "amount": 0}).anomaly
    assert found is not None
    assert set(found.events) == {"x v1", "x v2"}
    with pytest.raises(inorder.UsageError, match="none with version 1"):
        proof({"who": "y", "n": 9, "amount": 0})


def test_a_function_that_always_raises_is_unknown() -> None:
    @inorder.handler(key="account", version="version", id="id")
    def without_tables(entry: Entry, tx: inorder.Transaction) -> None:
        tx.execute(ADD, (entry.account, entry.amount))

    proof = prove_declared(without_tables)
    assert proof.verdict == "unknown"
    assert "no such table: balances" in (proof.why_unknown or "")
    assert "--tables" in (proof.why_unknown or "")


@pytest.mark.usefixtures("few_scopes")
def test_the_clock_of_an_event_loop_is_not_the_functions() -> None:
    @inorder.fold(key="account", version="version", id="id")
    async def later(state: int | None, entry: Entry) -> int:
        return (state or 0) + entry.amount

    proof = prove_declared(later, seconds=100.0)
    assert (proof.verdict, proof.notes) == ("proved", [])


def test_no_time_at_all_is_unknown() -> None:
    proof = prove_declared(total, seconds=0.001)
    assert proof.verdict == "unknown"
    assert "seconds" in (proof.why_unknown or "")
    assert any(line.startswith("unknown:") for line in lines(proof))


@pytest.mark.usefixtures("few_scopes")
def test_a_checker_that_crashes_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    from inorder.proof import subject
    from inorder.proof.anomalies import ANOMALIES

    crashing = ANOMALIES | {"S1": ANOMALIES["S1"]._replace(check=lambda history, step, oracle: str(1 // 0))}
    monkeypatch.setattr(subject, "ANOMALIES", crashing)
    proof = prove_declared(total, seconds=100.0)
    assert proof.verdict == "unknown"
    assert "ZeroDivisionError" in (proof.why_unknown or "")


@dataclasses.dataclass
class Dated:
    key: int
    version: int
    amount: float
    note: str | None = None


class Typed(typing.TypedDict):
    key: str
    version: int
    kind: typing.Literal["credit", "debit"]
    tags: list[str]


class Model(pydantic.BaseModel):
    key: str
    version: int = pydantic.Field(alias="ver")
    id: str
    amount: int
    flag: bool = False


class Bounded(msgspec.Struct, rename="camel"):
    account_key: str
    version: int
    amount: typing.Annotated[int, msgspec.Meta(ge=1000)]
    inner: Dated


@pytest.mark.parametrize("payload", [Dated, Typed, Model, Bounded])
def test_payloads_are_made_from_the_type(payload: Any) -> None:
    def function(state: Any, event: Any) -> int:
        return 1

    function.__annotations__ = {"state": int | None, "event": payload, "return": int}
    key = "account_key" if payload is Bounded else "key"
    declared = declaration_of(inorder.fold(key=key, version="version", baseline=2)(function))
    cases = list(Payloads(declared).cases(2, 3, 10))
    assert len(cases) == 10
    for case in cases:
        assert [version for _, version in case] == [3, 4, 5] * 2
        assert len({key for key, _ in case}) == 2
        assert len({message.id for message in case.values()}) == 6
    varied = {message.value for case in cases for message in case.values()}
    assert len(varied) > 12
