"""How fast one key can be: its events one after the other, from Kafka and from SQS, over connections of some length.

A key's events must not overtake each other, so no number of workers helps. What limits it is the handler, and on SQS
two requests for each ten messages: a group gives out nothing more until what it gave out is deleted.
"""

from __future__ import annotations

import random
import statistics
import time
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

import inorder
from inorder.lab.consuming import Group, Guarded, Member, Notes, Tapped
from inorder.lab.experiments import result
from inorder.lab.link import SlowLink
from inorder.lab.places import EmbeddedPlace, Place, Put, folder_of_a_run, kafka_place, sqs_place
from inorder.lab.results import Dots, Line, Plot, Request, Result, Table, Verdict
from inorder.lab.runlog import now

NAME = "ceiling"
DELAYS_MS = (0, 10, 40)
"""What a connection adds to each round trip."""
WORK_S = 0.001
BATCH = 10
"""Messages of one receive, and of one deletion: SQS's own limit."""
KEY = "hot"
SLOWER = 0.75
TOLERANCE = 0.5
"""How far what is measured may be from what the formula says, as a share of it: the machine has other things to do."""


class Entry(msgspec.Struct, frozen=True):
    """One event of the one key."""

    key: str
    version: int
    note: int


def run(request: Request) -> Result:
    """See `EXPERIMENTS`."""
    count = 60 if request.small else 240
    chance = random.Random(f"{request.seed}:{NAME}")
    stream = [Entry(KEY, version, chance.randrange(1_000_000)) for version in range(1, count + 1)]
    kafka, sqs = {}, {}
    with folder_of_a_run() as folder:
        handler_s = 1 / _rate(EmbeddedPlace(_new(folder, "large"), 1), None, folder / "large", stream, count)
        batch_s = BATCH / _rate(EmbeddedPlace(_new(folder, "ten"), 1), None, folder / "ten", stream, BATCH)
        round_trip_s = {}
        for delay in DELAYS_MS:
            place_of = _new(folder, f"kafka-{delay}")
            kafka[delay] = _over_kafka(request, delay / 1000, place_of, stream)
            place_of = _new(folder, f"sqs-{delay}")
            sqs[delay], round_trip_s[delay] = _over_sqs(request, delay / 1000, place_of, stream)
    formula = {delay: BATCH / (sum(round_trip_s[delay]) + batch_s) for delay in DELAYS_MS}
    return _result(request, kafka, sqs, formula, round_trip_s, handler_s, batch_s)


def _new(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def _over_kafka(request: Request, delay_s: float, folder: Path, stream: list[Entry]) -> float:
    place = kafka_place(request.kafka, 1)
    bootstrap = (request.kafka or "").removeprefix("kafka://").rstrip("/")
    link = SlowLink(bootstrap, delay_s, kafka=True) if delay_s else nullcontext()
    with link as slow:
        url = place.url()
        return _rate(place, url.replace(bootstrap, slow.at) if slow else url, folder, stream, len(stream))


def _over_sqs(request: Request, delay_s: float, folder: Path, stream: list[Entry]) -> tuple[float, tuple[float, float]]:
    """Events a second, and how long a receive and a deletion of ten take over the same connection."""
    from inorder.lab.sqs_place import round_trips

    endpoint = request.sqs or ""
    address = urlsplit(endpoint)
    link: AbstractContextManager[SlowLink | None] = SlowLink(address.netloc, delay_s) if delay_s else nullcontext()
    with link as slow:
        through = f"http://{slow.at}" if slow else endpoint
        place = sqs_place(request.sqs, through)
        trips = round_trips(endpoint, through)
        return _rate(place, place.url(), folder, stream, BATCH), trips


def _rate(place: Place, url: str | None, folder: Path, stream: list[Entry], poll_events: int) -> float:
    """Events a second of one worker. All of them are there when it begins.

    Of the times that ten events take, the lower quartile counts: the slower ones are those in which the machine had
    something else to do.
    """
    times: list[float] = []

    def make(source: Tapped, worker: str) -> Member:
        @inorder.fold(
            key="key", version="version", name=NAME, limits=inorder.Limits(poll_events=poll_events, gap_s=600)
        )
        def last(before: int | None, entry: Entry) -> int:
            time.sleep(WORK_S)
            times.append(now())
            return entry.version

        return Guarded(last, f"sqlite:///{folder / 'store.db'}", source, worker, Notes())

    try:
        place.put([Put(KEY, msgspec.json.encode(entry)) for entry in stream])
        with Group(NAME, place, 1, Notes(), make, url) as group:
            group.until("every event has taken effect", lambda: len(times) >= len(stream))
    finally:
        place.close()
    tens = [later - earlier for earlier, later in pairwise(times[::BATCH])]
    return BATCH / statistics.quantiles(tens, n=4)[0]


def _result(
    request: Request,
    kafka: dict[int, float],
    sqs: dict[int, float],
    formula: dict[int, float],
    round_trip_s: dict[int, tuple[float, float]],
    handler_s: float,
    batch_s: float,
) -> Result:
    table = Table(
        title="Events a second of one key",
        columns=[
            "round trip, ms more",
            "Kafka",
            "1/p",
            "SQS",
            "b/(L_recv + P(b) + L_del)",
            "L_recv, ms",
            "L_del, ms",
        ],
        rows=[
            [
                str(delay),
                round(kafka[delay]),
                round(1 / handler_s),
                round(sqs[delay]),
                round(formula[delay]),
                round(1000 * round_trip_s[delay][0], 1),
                round(1000 * round_trip_s[delay][1], 1),
            ]
            for delay in DELAYS_MS
        ],
        note=f"p, the time for one event, is {1000 * handler_s:.1f} ms; P(b), for the {BATCH} events of one receive "
        f"with their transaction, is {1000 * batch_s:.1f} ms, both measured on the embedded broker. L_recv and L_del "
        "are what a receive and a deletion of ten messages take over the same connection. Of all times, the lower "
        "quartile is taken.",
    )
    near, far = DELAYS_MS[0], DELAYS_MS[-1]
    off = max(abs(sqs[delay] / formula[delay] - 1) for delay in DELAYS_MS)
    verdicts = [
        Verdict(
            claim="on SQS, the length of the connection decides how fast one key can be",
            holds=sqs[far] < SLOWER * sqs[near],
            shown=f"{sqs[near]:.0f} events/s become {sqs[far]:.0f}",
        ),
        Verdict(
            claim="on Kafka it does not: records are fetched ahead, and offsets committed beside",
            holds=kafka[far] > kafka[near] / 2,
            shown=f"{kafka[near]:.0f} events/s, and {kafka[far]:.0f}",
        ),
        Verdict(
            claim=f"the formula is right to within {100 * TOLERANCE:.0f} %",
            holds=off < TOLERANCE,
            shown=f"off by at most {100 * off:.0f} %",
        ),
    ]
    setting = (
        f"One worker, one key, a fold that takes {1000 * WORK_S:.0f} ms; a proxy makes the connections slower. The SQS "
        "is an emulator on this machine."
    )
    return result(
        NAME, request, setting, [table], [_plot(kafka, sqs, formula, handler_s)], verdicts, " --kafka … --sqs …"
    )


def _plot(kafka: dict[int, float], sqs: dict[int, float], formula: dict[int, float], handler_s: float) -> Plot:
    def points(found: dict[int, float]) -> list[tuple[float, float]]:
        return [(float(delay), round(rate, 1)) for delay, rate in found.items()]

    flat = dict.fromkeys(DELAYS_MS, 1 / handler_s)
    return Plot(
        name="throughput",
        title="One key: events a second, by the length of the connection",
        x="milliseconds that a round trip takes more",
        y="events/s",
        logarithmic=True,
        marks=[
            Line(label="Kafka: 1/p", tone="two", points=points(flat), dashed=True),
            Dots(label="Kafka, measured", tone="two", points=points(kafka)),
            Line(label="SQS: b/(L_recv + P(b) + L_del)", tone="inorder", points=points(formula), dashed=True),
            Dots(label="SQS, measured", tone="inorder", points=points(sqs)),
        ],
    )
