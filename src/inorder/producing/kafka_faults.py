"""What Kafka's errors say about records that were under way. Never hides one: each keeps its name."""

from __future__ import annotations

from confluent_kafka import KafkaError

from inorder.producing.channel import Fault, Problem

_OF_RECORDS = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.INVALID_RECORD,
    KafkaError.POLICY_VIOLATION,
}
_OF_RIGHTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._AUTHENTICATION,
}


def problem_of(error: KafkaError, alone: bool) -> Problem:
    """The problem that an error is. `alone`: the record it is about was sent by itself.

    Whatever is neither the record's fault nor a matter of rights is the connection's, which is then made anew.
    """
    code = error.code()
    if code in _OF_RIGHTS:
        fault = Fault.REFUSED
    elif code in _OF_RECORDS and not error.fatal():
        fault = Fault.RECORD if alone else Fault.SUSPECT
    else:
        fault = Fault.BROKEN
    return Problem(fault, error.name(), " ".join(error.str().split()))
