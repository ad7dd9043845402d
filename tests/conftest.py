"""The real parts as fixtures: each starts when a first test asks for it and runs to the end.

A run in several processes (`make test`) starts them once, in the process that waits for the others.
"""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from _pytest.nodeid import coerce_node_id

from tests.services import ElasticMQ, KafkaCluster, Postgres

LOG = logging.getLogger("inorder")
LEVEL, HANDLERS = LOG.level, tuple(LOG.handlers)
PATH: list[str] = []
"""Where modules are looked for once all tests are found."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has it so for what a script starts in the background, and the commands that tests start would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

MARKER_OF_FIXTURE = {
    "kafka": "kafka",
    "kafka_three": "kafka",
    "postgres": "postgres",
    "postgres_url": "postgres",
    "sqs": "sqs",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Before the processes of a parallel run are made: they use the services that their environment names."""
    services = ExitStack()
    config.add_cleanup(services.close)
    os.environ["INORDER_TEST_KAFKA"] = services.enter_context(KafkaCluster.from_environment()).bootstrap
    os.environ["INORDER_TEST_POSTGRES"] = services.enter_context(Postgres.from_environment()).url
    os.environ["INORDER_TEST_SQS"] = services.enter_context(ElasticMQ.from_environment()).endpoint


def pytest_collection_finish() -> None:
    """From here on, `sys.path` is as tests are to find it."""
    PATH[:] = sys.path


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that asks for a service carries its marker, so that `pytest -m "not kafka"` is always right.

    In a parallel run, tests that use three brokers stay in one process, and so do those of one run of the demo.
    """
    for item in items:
        for name in getattr(item, "fixturenames", ()):
            if name in MARKER_OF_FIXTURE:
                item.add_marker(MARKER_OF_FIXTURE[name])
        if "kafka_three" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("three brokers"))
        group = item.get_closest_marker("xdist_group")
        if group is not None and hasattr(config, "workerinput"):
            # As pytest-xdist 3.8 means to do itself; it sets an attribute that pytest 9.2 has no more.
            item._id = coerce_node_id(f"{item.nodeid}@{group.args[0]}")


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Whoever runs a command in this process, a test or what several tests share, leaves the log, and where modules are
    looked for, as they were at first.
    """
    _restore()
    yield
    _restore()


def _restore() -> None:
    LOG.setLevel(LEVEL)
    LOG.propagate, LOG.handlers = True, list(HANDLERS)
    sys.path[:] = PATH


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaCluster]:
    """One broker, or the cluster INORDER_TEST_KAFKA names."""
    with KafkaCluster.from_environment() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kafka_three() -> Iterator[KafkaCluster]:
    """Three brokers of our own, to kill, stop and pause; a test brings back what it took away."""
    with KafkaCluster(brokers=3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server of our own, or the one INORDER_TEST_POSTGRES names."""
    with Postgres.from_environment() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """The URL of a database of this test alone."""
    return postgres.fresh_database()


@pytest.fixture(scope="session")
def sqs() -> Iterator[ElasticMQ]:
    """An SQS emulator of our own, or the endpoint INORDER_TEST_SQS names."""
    with ElasticMQ.from_environment() as queues:
        yield queues
