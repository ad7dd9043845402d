"""The real parts that tests and benches run against: a Kafka cluster, a PostgreSQL server, an SQS emulator.

Each is a context manager that starts its own processes on free ports of 127.0.0.1, in a temporary directory,
and leaves nothing behind, however the program that started it ends. Scripts use it as well as tests:

    with KafkaCluster(brokers=3) as kafka:
        kafka.create_topic("entries", partitions=6)
"""

from tests.services.elasticmq import ElasticMQ
from tests.services.kafka import KafkaCluster
from tests.services.postgres import Postgres
from tests.services.processes import ServiceError

__all__ = ["ElasticMQ", "KafkaCluster", "Postgres", "ServiceError"]
