"""Kafka for `inorder.Producer`: idempotent, acknowledged by all replicas, placed as Java's clients place keys.

It closes a hole that idempotence leaves. A broker that knows nothing of a producer takes any of its batches as the
first one: when the first batch to a partition fails, those sent behind it come before it. So the first record to each
partition goes alone, and the rest follows when it is acknowledged.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from inorder.core.partitioner import partition_for
from inorder.producing.channel import Fault, Outgoing, Place, Problem, Report
from inorder.producing.kafka_faults import problem_of
from inorder.producing.kafka_settings import choose
from inorder.producing.kafka_topic import ASK_S, batch_limits
from inorder.sources import kafka_contact as contact
from inorder.sources import kafka_url

REOPEN_S = 600.0
"""A partition that nothing was sent to for so long begins with a single record again: brokers forget idle producers."""
PROOF_S = 30.0
"""How long one record may be tried by itself."""
ANY_PARTITION = -1
UNKNOWN = Problem(Fault.BROKEN, "UNKNOWN", "no answer")

QUEUE = {"queue.buffering.max.messages": 1_000_000}
"""More than a producer ever hands over."""

Raw = tuple[Outgoing, KafkaError | None, Message]


class Gate:
    """One partition: whether the broker has acknowledged anything of this client there, and what waits for that."""

    __slots__ = ("is_open", "opening", "used_at", "waiting")

    def __init__(self) -> None:
        self.is_open = False
        self.opening = False
        self.used_at = 0.0
        self.waiting: deque[Outgoing] = deque()


class KafkaChannel:
    """See `inorder.producing.channel.Channel`. `options` are those of the URL."""

    one_at_a_time = False

    def __init__(self, bootstrap: str, topic: str, options: dict[str, str]) -> None:
        chosen = choose(bootstrap, options)
        self.where = f"Kafka at {bootstrap}, topic {topic}"
        self.delivery_timeout_s = chosen.delivery_timeout_s
        self._topic = topic
        self._settings: kafka_url.Settings = {**QUEUE, **chosen.settings, "logger": contact.Quiet()}
        self._own_placement = chosen.own_placement
        self._count = self._meet(bootstrap, options)
        self._count_every_s = int(self._settings["topic.metadata.refresh.interval.ms"]) / 1000
        self._count_at = time.monotonic() + self._count_every_s
        self._grown: int | None = None
        self._prover: Producer | None = None
        self._start()

    @classmethod
    def from_url(cls, url: str) -> KafkaChannel:
        """`kafka://host:port[,…]/TOPIC?…`."""
        location = kafka_url.parse(url)
        return cls(location.bootstrap, location.topic, location.options)

    def _meet(self, bootstrap: str, given: Collection[str]) -> int:
        """Find the topic; returns its number of partitions."""
        failures = contact.Failures()
        settings: kafka_url.Settings = {**self._settings, "error_cb": failures}
        try:
            admin = AdminClient(settings)
        except (KafkaException, TypeError, ValueError) as error:
            raise contact.bad_option(error) from None
        found = contact.find_topic(admin, bootstrap, self._topic, failures)
        if found is None:
            raise contact.no_topic(bootstrap, self._topic)
        self._settings |= batch_limits(admin, self._topic, given)
        return len(found.partitions)

    def _start(self) -> None:
        self._client = Producer(self._settings)
        self._raw: list[Raw] = []
        self._broken: Problem | None = None
        self._gates: dict[int, Gate] = {}
        self._under_way = 0
        self._for_growth: deque[Outgoing] = deque()

    # sending

    def hand_over(self, record: Outgoing) -> Problem | None:
        """Take a record, after all that was handed over before. A problem means that it was not taken."""
        if self._grown is not None:
            self._for_growth.append(record)
            return None
        number = self._place(record)
        gate = self._gates.get(number)
        if gate is None:
            gate = self._gates[number] = Gate()
        now = time.monotonic()
        if now - gate.used_at > REOPEN_S:
            gate.is_open = False
        gate.used_at = now
        if gate.waiting or gate.opening:
            gate.waiting.append(record)
            return None
        return self._through(gate, record, number)

    def _place(self, record: Outgoing) -> int:
        return partition_for(record.key, self._count) if self._own_placement else ANY_PARTITION

    def _through(self, gate: Gate, record: Outgoing, number: int) -> Problem | None:
        try:
            self._produce(self._client, record, number, self._raw)
        except BufferError:
            gate.waiting.appendleft(record)
        except KafkaException as error:
            return problem_of(error.args[0], alone=True)
        else:
            self._under_way += 1
            gate.opening = not gate.is_open
        return None

    def _produce(self, client: Producer, record: Outgoing, number: int, into: list[Raw]) -> None:
        # The callback does nothing but note: whatever else it did could be lost to an error of librdkafka's.
        note = partial(_note, into, record)
        client.produce(self._topic, record.value, record.key, number, headers=list(record.headers), on_delivery=note)

    def wait(self, timeout_s: float) -> None:
        """Serve librdkafka until there is something to report, or the time is up."""
        try:
            self._client.poll(timeout_s)
        except KafkaException as error:
            self._broken = problem_of(error.args[0], alone=False)
            self._serve_rest()
        if time.monotonic() > self._count_at:
            self._count_at = time.monotonic() + self._count_every_s
            self._ask_count()

    def _serve_rest(self) -> None:
        """After a fatal error: which records it was about comes a moment later."""
        before = -1
        while len(self._raw) > before:
            before = len(self._raw)
            with suppress(KafkaException):
                self._client.poll(0.05)

    def _ask_count(self) -> None:
        with suppress(KafkaException):
            found = self._client.list_topics(self._topic, timeout=ASK_S).topics[self._topic].partitions
            if len(found) > self._count:
                self._grown = len(found)

    # outcomes

    def reports(self) -> Sequence[Report]:
        """What became of records since the last call: those of one key in their order."""
        raw = self._raw[:]
        del self._raw[: len(raw)]  # in place: the callbacks know this list
        self._under_way -= len(raw)
        found: list[Report] = []
        for record, error, message in raw:
            if error is None:
                place = _place_of(message)
                found.append(Report(record, place))
                gate = self._gates[place.partition if self._own_placement else ANY_PARTITION]
                if gate.opening:
                    gate.opening, gate.is_open = False, True
            elif (problem := problem_of(error, alone=False)).fault is not Fault.BROKEN:
                found.append(Report(record, problem))
            elif self._broken is None:
                self._broken = problem
        if self._broken is not None:
            found.append(Report(None, self._broken))
        elif all(isinstance(result, Place) for _, result in found):
            self._let_through(found)
        return found

    def _let_through(self, found: list[Report]) -> None:
        """Send what waited for an acknowledgement. Adds to `found` what cannot be sent."""
        waits = False
        for number, gate in self._gates.items():
            while gate.waiting and not gate.opening:
                before = len(gate.waiting)
                record = gate.waiting.popleft()
                if problem := self._through(gate, record, number):
                    found.append(Report(record, problem))
                    # What waits behind it goes back to its key, which stops.
                    gate.waiting = _without(record.key, gate.waiting)
                    self._for_growth = _without(record.key, self._for_growth)
                elif len(gate.waiting) == before:
                    break  # librdkafka's queue is full
            waits = waits or bool(gate.waiting)
        if self._grown is not None and not waits and self._under_way == 0:
            # Only now: a key that moves leaves nothing behind that could fail.
            self._count, self._grown = self._grown, None
            while self._for_growth:
                record = self._for_growth.popleft()
                if problem := self.hand_over(record):
                    found.append(Report(record, problem))
                    self._for_growth = _without(record.key, self._for_growth)

    def prove(self, record: Outgoing) -> Place | Problem | None:
        """Send one record by itself, and wait for its fate. None: it cannot be told now."""
        if self._prover is None:
            # One record at a time leaves nothing to overtake it, so a failure need not end this client.
            alone = {"enable.gapless.guarantee": False, "linger.ms": 0, "message.timeout.ms": int(PROOF_S * 1000)}
            self._prover = Producer({**self._settings, **alone})
        fate: list[Raw] = []
        until = time.monotonic() + PROOF_S + 1
        try:
            self._produce(self._prover, record, self._place(record), fate)
            while not fate and time.monotonic() < until:
                self._prover.poll(0.1)
        except KafkaException as error:
            problem = problem_of(error.args[0], alone=True)
        else:
            error_of = fate[0][1] if fate else None
            if fate and error_of is None:
                return _place_of(fate[0][2])
            problem = problem_of(error_of, alone=True) if error_of else UNKNOWN
        if problem.fault is not Fault.BROKEN:
            return problem
        self._prover = None
        return None

    # ends

    def reset(self) -> None:
        """Begin with a new client. What the old one still has under way may arrive, but nothing later of it may."""
        _give_up(self._client)
        self._start()
        if self._grown is not None:
            self._count, self._grown = self._grown, None

    def close(self) -> None:
        """Release the connections. What was not reported is given up."""
        _give_up(self._client)
        if self._prover is not None:
            _give_up(self._prover)


def _note(into: list[Raw], record: Outgoing, error: KafkaError | None, message: Message) -> None:
    into.append((record, error, message))


def _place_of(message: Message) -> Place:
    offset = message.offset()
    return Place(message.partition() or 0, -1 if offset is None else offset)


def _without(key: bytes, records: deque[Outgoing]) -> deque[Outgoing]:
    return deque(record for record in records if record.key != key)


def _give_up(client: Producer) -> None:
    with suppress(KafkaException):
        client.purge(blocking=False)
    with suppress(KafkaException):
        client.poll(0)
