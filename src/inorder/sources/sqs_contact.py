"""Contact with SQS: a client, the queue's address and settings, and its refusals in one line each.

Used by the source, the producer and the doctor. It never creates or changes a queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import boto3
import botocore
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

from inorder.errors import InorderError, Unreachable, UsageError
from inorder.sources.sqs_url import MOST_WAIT_S, Location

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

CONNECT_S = 5.0
ANSWER_S = 10.0
"""How long an answer may take, beside what a request waits for messages."""
LOOPBACK = {"127.0.0.1", "localhost", "::1"}

_GONE = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "AWS.SimpleQueueService.QueueDeletedRecently"}
_REFUSED = {
    "AccessDenied",
    "AccessDeniedException",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "ExpiredToken",
    "InvalidSecurity",
    "KMS.AccessDeniedException",
}


class Place(NamedTuple):
    """A queue that was found."""

    url: str
    attributes: dict[str, str]


def connect(location: Location, connections: int) -> SQSClient:
    """A client for so many requests at once. Opens nothing yet."""
    try:
        session = boto3.Session(region_name=location.region)
        given: dict[str, Any] = {}
        emulated = location.endpoint is not None and urlsplit(location.endpoint).hostname in LOOPBACK
        if emulated and getattr(session.get_credentials(), "access_key", None) is None:
            # An emulator on this machine takes any; nothing that is signed with these leaves it.
            given = {"aws_access_key_id": "inorder", "aws_secret_access_key": "inorder"}
        if emulated and getattr(session, "region_name", None) is None:
            given["region_name"] = "us-east-1"
        config = Config(
            connect_timeout=CONNECT_S,
            read_timeout=MOST_WAIT_S + ANSWER_S,
            max_pool_connections=connections,
            retries={"mode": "standard", "max_attempts": 2},
            tcp_keepalive=True,
            # Two things that botocore would do anew for each request take a third of its time.
            parameter_validation=False,
            user_agent=f"inorder Botocore/{botocore.__version__}",
        )
        return session.client("sqs", endpoint_url=location.endpoint, config=config, **given)
    except NoRegionError:
        raise UsageError("the SQS URL names no region, nor does your AWS configuration: add region=") from None
    except (BotoCoreError, ValueError) as error:
        raise UsageError(f"the SQS URL: {one_line(error)}") from None


def find(client: SQSClient, location: Location) -> Place:
    """The queue, with all its settings. `UsageError` if there is none, `Unreachable` if nobody answers."""
    owner = {"QueueOwnerAWSAccountId": location.account} if location.account else {}
    with telling(location):
        url = client.get_queue_url(QueueName=location.queue, **owner)["QueueUrl"]
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return Place(url, {str(name): value for name, value in found.items()})


@contextmanager
def telling(location: Location) -> Iterator[None]:
    """boto3's errors as inorder's own."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise translated(error, location) from None


def translated(error: BotoCoreError | ClientError, location: Location) -> InorderError:
    """What an error of boto3's means to the user."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return UsageError(f"{location.where}: no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret")
    if isinstance(error, ClientError):
        if code_of(error) in _GONE:
            return UsageError(f"{location.where} is not there: create it, or check the URL")
        if code_of(error) in _REFUSED:
            return Unreachable(f"{location.where} turned us away: {one_line(error)}")
    return Unreachable(f"{location.where} does not answer: {one_line(error)}")


def is_final(error: Exception) -> bool:
    """Whether trying again will not help: the queue is gone."""
    return isinstance(error, ClientError) and code_of(error) in _GONE


def is_refusal(error: Exception) -> bool:
    """Whether we lack a right, or are not known."""
    return isinstance(error, NoCredentialsError) or (isinstance(error, ClientError) and code_of(error) in _REFUSED)


def is_lost(error: Exception) -> bool:
    """Whether the request may have been obeyed, and only its answer was lost."""
    return isinstance(error, HTTPClientError)


def code_of(error: ClientError) -> str:
    """SQS's name of an error."""
    return error.response.get("Error", {}).get("Code", "")


def one_line(error: Exception) -> str:
    """An error of boto3's, on one line."""
    return " ".join(str(error).split())
