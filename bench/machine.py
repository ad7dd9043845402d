"""What the numbers were measured on, as far as it matters."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import time
from pathlib import Path

import confluent_kafka
import psycopg

from bench.limits import CORES
from inorder.core import planner
from tests.services import kafka as kafka_service

SYNCS = 30
PAGE = b"x" * 4096
BYTES_A_GIB = 2**30


def describe(postgres_url: str, scratch: Path) -> dict[str, str]:
    """Names and values, to be kept with the results."""
    with psycopg.connect(postgres_url) as server:
        found = server.execute("show server_version").fetchone()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / BYTES_A_GIB
    return {
        "cores": str(CORES),
        "memory": f"{memory:.0f} GiB",
        "sync": f"{_sync_ms(scratch):.1f} ms",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "inorder": "as Python" if str(planner.__file__).endswith(".py") else "compiled",
        "kafka": f"{kafka_service.VERSION}, one broker",
        "librdkafka": confluent_kafka.libversion()[0],
        "postgresql": found[0].split()[0] if found else "",
        "sqlite": sqlite3.sqlite_version,
    }


def _sync_ms(scratch: Path) -> float:
    """How long the disk takes to keep a page for certain: the median."""
    path, times = scratch / "sync", []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(PAGE)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(1000 * (time.perf_counter() - began))
    path.unlink()
    return statistics.median(times)
