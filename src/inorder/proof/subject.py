"""A consumer under proof: how it is called, what it should come to, and worlds to play its schedules on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from inorder.codecs.payload import decoder, encoder
from inorder.core.order import Order
from inorder.core.retry import Retry
from inorder.declaration import Declaration, Kind
from inorder.errors import UsageError
from inorder.proof.anomalies import ANOMALIES, Anomaly, Oracle
from inorder.proof.memory import MemoryStore
from inorder.proof.oracle import Finding
from inorder.proof.payloads import Case
from inorder.proof.purity import Seen, shared_state, watching
from inorder.proof.scope import Scope
from inorder.proof.system import Message
from inorder.proof.tables import Setup, TablesStore
from inorder.proof.trace import Op
from inorder.proof.world import World
from inorder.worker.effects import AsyncTransaction, Finisher

ATTEMPTS = 2
"""A failing event is tried once more, whatever the consumer says: more attempts are no other case."""
OF_STATES = ("S11", "S19")
"""Anomalies of states by key, which the tables of a handler with tx are not."""


class Subject:
    """One declared fold, or handler with `tx`. `setup` makes the tables of the latter."""

    def __init__(self, declared: Declaration, setup: Setup | None = None) -> None:
        if declared.kind is Kind.CALL:
            raise UsageError(
                f"{declared.name}: a handler without tx has its effects elsewhere, where a proof cannot look: "
                f"prove the fold, or the handler with tx, that decides what they are"
            )
        if setup is not None and declared.kind is not Kind.TX:
            raise UsageError(f"{declared.name}: tables are for a handler with tx; the state of a fold is its result")
        if declared.order is Order.UNGUARDED:
            raise UsageError(f"{declared.name}: order='unguarded' promises nothing, so there is nothing to prove")
        self.declared = msgspec.structs.replace(declared, retry=Retry(attempts=ATTEMPTS, delay_s=1.0))
        self.setup = setup
        self._decode = decoder(declared.payload)
        self._decode_state, self._encode_state = decoder(declared.state), encoder(declared.state)
        self._finisher = Finisher() if declared.is_async else None
        self._oracles: dict[tuple[bytes, ...], Oracle] = {}

    def with_order(self, order: Order) -> Subject:
        """The same function, declared with another order."""
        return Subject(msgspec.structs.replace(self.declared, order=order, parks=True), self.setup)

    @property
    def anomalies(self) -> Iterable[Anomaly]:
        """What is looked for."""
        tx = self.declared.kind is Kind.TX
        return [one for one in ANOMALIES.values() if not (tx and one.id in OF_STATES)]

    def store(self) -> Any:
        """An empty store."""
        name = self.declared.name
        return TablesStore(name, self.setup) if self.declared.kind is Kind.TX else MemoryStore(name)

    def world(self, case: Case, scope: Scope) -> World:
        """A world in which nothing has happened."""
        made = self._world(self.declared, case, scope)
        made.at_rest = self._given_up_rightly
        return made

    def watched(self, case: Case, scope: Scope) -> World:
        """The same, where every call of the function is watched for what it does outside: slow."""
        worlds: list[World] = []

        def tell(seen: str) -> None:
            event = worlds[0].now_at()
            assert event is not None
            system = worlds[0].system
            system.tell(Op.CALLED, key=event.key, version=event.version, id=event.id, what=seen)

        declared = msgspec.structs.replace(self.declared, function=told(self, tell))
        worlds.append(self._world(declared, case, scope, watched=True))
        worlds[0].at_rest = self._given_up_rightly
        return worlds[0]

    def _world(self, declared: Declaration, case: Case, scope: Scope, watched: bool = False) -> World:
        return World(
            declared,
            case,
            scope,
            self.store(),
            self.oracle(case),
            anomalies=self.anomalies,
            watched=watched,
            text=self.text,
        )

    def text(self, state: bytes) -> str:
        """A stored state as text: what is the same once it is read back is the same text."""
        return self._encode_state(self._decode_state(state)).decode()

    def _given_up_rightly(self, world: World) -> Finding | None:
        """Under an order that lets events pass each other, whether an event fails must not hang on when it came."""
        if self.declared.order is Order.STRICT:
            return None
        history = world.judge.history
        for letter in history.letters.values():
            key, version = letter.key or "", letter.version or 0
            if letter.reason != "failed" or (key, version) in world.weather.poisoned:
                continue
            claimed = sorted(of for of in history.claimed[key] if of <= version)
            effects = [(of, history.claims[key, of][0]) for of in claimed]
            if not self.oracle(world.messages).fails(key, effects):
                why = f"{key} v{version} was given up on; in order, each event once, it takes effect"
                return Finding("S20", ANOMALIES["S20"].name, why, world.judge.seen)
        return None

    def oracle(self, case: Case) -> FoldingOracle | TablesOracle:
        """What is right for these events."""
        values = tuple(message.value for message in case.values())
        if values not in self._oracles:
            messages = list(case.values())
            fold = self.declared.kind is Kind.FOLD
            self._oracles[values] = FoldingOracle(self, messages) if fold else TablesOracle(self, messages)
        return self._oracles[values]  # type: ignore[return-value]

    def once(self, message: Message, states: dict[str, Any], store: TablesStore | None) -> None:
        """Let an event take effect, as the oracle does: on `states` by key, or in the tables of `store`."""
        if store is not None:
            run_in_tables(self, store, message)
        else:
            states[message.key] = self.call(states.get(message.key), self.payload(message))

    def raises(self, message: Message) -> Exception | None:
        """What the function raises for an event that is the first of its key, if anything."""
        payload = self.payload(message)
        store = TablesStore(self.declared.name, self.setup) if self.declared.kind is Kind.TX else None
        try:
            if store is not None:
                with store.transaction() as tx:
                    self.call(payload, tx=AsyncTransaction(tx) if self.declared.is_async else tx)
            else:
                self.call(None, payload)
        except Exception as error:
            return error
        return None

    def seen(self, what: str, case: Case) -> Seen:
        """Where the function does what it was seen to do outside of itself."""
        code = self.declared.function.__code__
        store = TablesStore(self.declared.name, self.setup) if self.declared.kind is Kind.TX else None
        with watching(code) as watch, suppress(Exception):
            self.once(next(iter(case.values())), {}, store)
        found = next((seen for seen in watch.reaches if seen.line), None)
        return found or Seen(what, code.co_filename, 0)

    def payload(self, message: Message) -> Any:
        """The payload of an event, as a handler would get it."""
        return self._decode(message.value)

    def call(self, *given: Any, **named: Any) -> Any:
        """Call the function, and wait for it where it is async."""
        found = self.declared.function(*given, **named)
        if self._finisher is not None and inspect.isawaitable(found):
            return self._finisher.finish(found)
        return found


def told(subject: Subject, tell: Callable[[str], None]) -> Callable[..., Any]:
    """The function, watched: `tell` hears of what each call did outside of its result and its transaction."""
    function = subject.declared.function

    def watched(*given: Any, **named: Any) -> Any:
        before = shared_state(function)
        with watching(function.__code__) as watch:
            found = subject.call(*given, **named)
        for seen in watch.reaches:
            tell(seen.what)
        after = shared_state(function)
        for name in sorted(after):
            if before.get(name) != after[name]:
                tell(f"changes {name}")
        return _later(found) if subject.declared.is_async else found

    return watched


async def _later(found: Any) -> Any:
    return found


class FoldingOracle:
    """The in-order, once-only fold. An event that the function raises for leaves the state as it is."""

    def __init__(self, subject: Subject, messages: Sequence[Message]) -> None:
        self._subject = subject
        self._messages = {(message.key, message.version, message.id): message for message in messages}
        self._decode = decoder(subject.declared.state)
        self._encode = encoder(subject.declared.state)
        self._known: dict[tuple[str, tuple[tuple[int, str], ...]], tuple[bytes | None, bool]] = {}

    def state_after(self, key: str, effects: Sequence[tuple[int, str]]) -> str | None:
        """The state of a key after these effects in this sequence, as text."""
        found = self._after(key, tuple(effects))[0]
        return None if found is None else self._subject.text(found)

    def state(self, key: str, effects: Sequence[tuple[int, str]]) -> Any:
        """The same, as the function would be given it."""
        found = self._after(key, tuple(effects))[0]
        return None if found is None else self._decode(found)

    def fails(self, key: str, effects: Sequence[tuple[int, str]]) -> bool:
        """Whether the function raises for the last of these."""
        return self._after(key, tuple(effects))[1]

    def _after(self, key: str, effects: tuple[tuple[int, str], ...]) -> tuple[bytes | None, bool]:
        if not effects:
            return None, False
        known = self._known.get((key, effects))
        if known is None:
            before = self._after(key, effects[:-1])[0]
            state = None if before is None else self._decode(before)
            payload = self._subject.payload(self._messages[key, *effects[-1]])
            try:
                known = self._encode(self._subject.call(state, payload)), False
            except Exception:
                known = before, True
            self._known[key, effects] = known
        return known


class TablesOracle:
    """The tables after the events of all keys, each once and in order, one key after the other."""

    def __init__(self, subject: Subject, messages: Sequence[Message]) -> None:
        self._subject = subject
        self._messages = {(message.version, message.id): message for message in messages}
        self._store = TablesStore(subject.declared.name, subject.setup)
        self._empty = self._store.save()
        self._known: dict[tuple[tuple[int, str], ...], tuple[str, bool]] = {}

    def state_after(self, key: str, effects: Sequence[tuple[int, str]]) -> str:
        """What is in the tables after these effects, in this sequence."""
        return self._after(tuple(effects))[0]

    def fails(self, key: str, effects: Sequence[tuple[int, str]]) -> bool:
        """Whether the handler raises for the last of these."""
        return self._after(tuple(effects))[1]

    def _after(self, effects: tuple[tuple[int, str], ...]) -> tuple[str, bool]:
        if effects not in self._known:
            self._store.restore(self._empty)
            failed = False
            for effect in effects:
                failed = not run_in_tables(self._subject, self._store, self._messages[effect])
            self._known[effects] = self._store.dump(), failed
        return self._known[effects]


def run_in_tables(
    subject: Subject, store: TablesStore, message: Message, before: Callable[[], None] = lambda: None
) -> bool:
    """Let an event take effect in a transaction of its own. Returns whether the handler got through."""
    payload = subject.payload(message)
    try:
        with store.transaction() as tx:
            before()
            subject.call(payload, tx=AsyncTransaction(tx) if subject.declared.is_async else tx)
    except Exception:
        return False
    return True
