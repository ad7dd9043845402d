"""`python -m tests.services` downloads what the services run on: no test's time limit has to cover that."""

from tests.services import elasticmq, kafka
from tests.services.maven import classpath

for coordinates in (kafka.COORDINATES, elasticmq.COORDINATES):
    classpath(coordinates)
