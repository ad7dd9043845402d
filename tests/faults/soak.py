"""`make soak`: random faults on three brokers for ten minutes, with workers reading all the while.

Ends with one line, `lost 0, double 0, out of order 0, stuck 0`, and exit code 0; 1 when a count is not 0.
The seed says which faults come when and what they strike; how they fall in with the work differs from run to run.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.siege import BROKERS, FROZEN_S, NotInTime, Siege
from tests.faults.verdict import Verdict
from tests.services import KafkaCluster, ServiceError

LOOK_EVERY_S = 60.0
"""How often everything is brought to rest and looked at."""

Fault = Callable[[Siege, random.Random], AbstractContextManager[object]]


def main(minutes: float, seed: int) -> int:
    """Run it. Returns the exit code."""
    print(f"seed {seed}, {minutes:g} minutes; again with: make soak ARGS='--seed {seed} --minutes {minutes:g}'")
    rng = random.Random(seed)
    folder = TemporaryDirectory(prefix="inorder-soak-")
    with folder, KafkaCluster(brokers=BROKERS) as kafka, Siege(kafka, Path(folder.name), seed) as siege:
        try:
            verdict = strike(siege, rng, minutes * 60)
        except NotInTime as late:
            print(f"{late}")
            found = siege.verdict()
            verdict = found._replace(stuck=max(found.stuck, 1))
        print(f"{sum(siege.load.acknowledged.values())} entries of {len(siege.load.accounts)} accounts acknowledged")
    print(verdict)
    return int(any(verdict))


def strike(siege: Siege, rng: random.Random, seconds: float) -> Verdict:
    """One fault after the other. The last verdict is over all that happened."""
    began = looked_at = time.monotonic()
    worst: dict[str, float] = {}
    verdict = Verdict()
    while not any(verdict) and time.monotonic() - began < seconds:
        name = rng.choice(sorted(FAULTS))
        print(f"{time.monotonic() - began:6.0f} s  {name}: ", end="", flush=True)
        with FAULTS[name](siege, rng):
            took = siege.resumes(name)
            time.sleep(rng.uniform(0, FROZEN_S))
        siege.resumes(f"the end of: {name}")
        worst[name] = max(worst.get(name, 0.0), took)
        print(f"every account went on after {took:.1f} s", flush=True)
        if time.monotonic() - looked_at > LOOK_EVERY_S:
            verdict = look(siege)
            looked_at = time.monotonic()
    for name, longest in sorted(worst.items()):
        print(f"longest, {name}: {longest:.1f} s")
    return verdict if any(verdict) else look(siege)


def look(siege: Siege) -> Verdict:
    """What came of everything so far."""
    verdict = siege.verdict()
    print(f"          {sum(siege.load.acknowledged.values())} acknowledged so far: {verdict}", flush=True)
    siege.load.go_on()
    return verdict


def kill_a_broker(siege: Siege, rng: random.Random) -> AbstractContextManager[object]:
    return siege.killed(rng.randrange(BROKERS))


def pause_a_broker(siege: Siege, rng: random.Random) -> AbstractContextManager[object]:
    return siege.paused(rng.randrange(BROKERS))


def roll_a_broker(siege: Siege, rng: random.Random) -> AbstractContextManager[object]:
    siege.roll(rng.randrange(BROKERS))
    return nullcontext()


def cut_a_worker_off(siege: Siege, rng: random.Random) -> AbstractContextManager[object]:
    return siege.severed()


def kill_a_worker(siege: Siege, rng: random.Random) -> AbstractContextManager[object]:
    siege.worker_killed(rng.randrange(len(siege.workers)))
    return nullcontext()


def freeze_a_worker(siege: Siege, rng: random.Random) -> AbstractContextManager[object]:
    """It goes on before the others are asked: frozen in a transaction, it keeps SQLite's one lock for as long."""
    with siege.worker_frozen(rng.randrange(len(siege.workers))):
        time.sleep(2 * FROZEN_S)
    return nullcontext()


@contextmanager
def kill_a_broker_and_a_worker(siege: Siege, rng: random.Random) -> Iterator[None]:
    with siege.killed(rng.randrange(BROKERS)):
        siege.worker_killed(rng.randrange(len(siege.workers)))
        yield


FAULTS: dict[str, Fault] = {
    fault.__name__.replace("_", " "): fault
    for fault in (
        kill_a_broker,
        pause_a_broker,
        roll_a_broker,
        cut_a_worker_off,
        kill_a_worker,
        freeze_a_worker,
        kill_a_broker_and_a_worker,
    )
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="make soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    try:
        sys.exit(main(given.minutes, given.seed))
    except ServiceError as error:
        sys.exit(f"the cluster does not start: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
