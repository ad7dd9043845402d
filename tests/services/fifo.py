"""A second FIFO queue server, written from SQS's rules alone: no emulator's quirk is in it.

A receive gives, of each message group, the longest visible prefix: the messages in the order of sending, up to the
first that somebody has. Receipt handles end with the visibility they were given for; a deletion or extension with one
that has ended is refused. A deduplication id is remembered for five minutes, also when its message is deleted. The
same attempt id gives the same messages again, unless one of them was touched. Time is the caller's.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

REMEMBERED_S = 300.0
MOST = 10
FIRST_SEQUENCE = 18_849_496_460_467_696_128

Answer = dict[str, Any]


class FifoError(Exception):
    """A refusal, by SQS's name for it. `older` is what the query protocol called it."""

    def __init__(self, name: str, text: str, older: str | None = None) -> None:
        self.name = name
        self.older = older or name
        super().__init__(text)


class Message:
    def __init__(self, number: int, entry: Answer, now: float) -> None:
        self.id = f"{number:08x}-0000-4000-8000-000000000000"
        self.sequence = FIRST_SEQUENCE + 256 * number
        self.body: str = entry["MessageBody"]
        self.attributes: Answer = entry.get("MessageAttributes", {})
        self.group: str = entry["MessageGroupId"]
        self.deduplication: str = entry["MessageDeduplicationId"]
        self.sent_at = now
        self.visible_at = now
        self.handle = ""
        self.receives = 0
        self.moved_from = ""

    def shown(self) -> Answer:
        system = {
            "MessageGroupId": self.group,
            "MessageDeduplicationId": self.deduplication,
            "SequenceNumber": str(self.sequence),
            "SentTimestamp": str(int(self.sent_at * 1000)),
            "ApproximateReceiveCount": str(self.receives),
        } | ({"DeadLetterQueueSourceArn": self.moved_from} if self.moved_from else {})
        found = {"MessageId": self.id, "ReceiptHandle": self.handle, "Body": self.body, "Attributes": system}
        return found | ({"MessageAttributes": self.attributes} if self.attributes else {})


class Queue:
    """One queue: the rules, without a server."""

    def __init__(self, name: str, attributes: dict[str, str], now: Callable[[], float]) -> None:
        self.name = name
        self.attributes = {"FifoQueue": "true", "VisibilityTimeout": "30", "MessageRetentionPeriod": "345600"}
        self.attributes |= {"QueueArn": f"arn:aws:sqs:us-east-1:000000000000:{name}"} | attributes
        self.dead_letters: Queue | None = None
        self.messages: list[Message] = []
        self._now = now
        self._numbers = itertools.count(1)
        self._sent: dict[str, tuple[float, Message]] = {}
        self._attempts: dict[str, tuple[float, list[tuple[Message, str]]]] = {}
        self._deleted: set[str] = set()

    def send(self, entry: Answer) -> Answer:
        known = self._sent.get(entry["MessageDeduplicationId"])
        if known is None or self._now() - known[0] >= REMEMBERED_S:
            message = Message(next(self._numbers), entry, self._now())
            self.messages.append(message)
            known = self._sent[message.deduplication] = (self._now(), message)
        digest = hashlib.md5(entry["MessageBody"].encode()).hexdigest()
        return {"MessageId": known[1].id, "SequenceNumber": str(known[1].sequence), "MD5OfMessageBody": digest}

    def receive(self, most: int, visibility_s: float, attempt: str | None) -> list[Message]:
        now = self._now()
        found = self._again(attempt)
        if not found:
            self._bury()
            found, kept = [], set()
            for message in self.messages:
                if len(found) == most:
                    break
                if message.visible_at > now:
                    kept.add(message.group)
                elif message.group not in kept:
                    found.append(message)
            for message in found:
                message.receives += 1
                message.handle = f"{message.id}/{message.receives}"
        for message in found:
            message.visible_at = now + visibility_s
        if attempt is not None and found:
            self._attempts[attempt] = (now, [(message, message.handle) for message in found])
        return found

    def _again(self, attempt: str | None) -> list[Message]:
        at, pairs = self._attempts.get(attempt or "", (0.0, []))
        untouched = all(m in self.messages and m.handle == handle and m.visible_at > self._now() for m, handle in pairs)
        return [m for m, _ in pairs] if untouched and self._now() - at < REMEMBERED_S else []

    def _bury(self) -> None:
        """What was received too often goes to the dead-letter queue, where its id is its deduplication id."""
        if self.dead_letters is None:
            return
        limit = json.loads(self.attributes["RedrivePolicy"])["maxReceiveCount"]
        for message in list(self.messages):
            if message.visible_at <= self._now() and message.receives >= int(limit):
                self.messages.remove(message)
                message.deduplication, message.moved_from = message.id, self.attributes["QueueArn"]
                self.dead_letters.messages.append(message)

    def delete(self, handle: str) -> None:
        if handle not in self._deleted:
            self.messages.remove(self._held(handle))
            self._deleted.add(handle)

    def change(self, handle: str, visibility_s: float) -> None:
        message = self._held(handle)
        message.visible_at = self._now() + visibility_s
        for attempt, (_, pairs) in list(self._attempts.items()):
            if any(touched is message for touched, _ in pairs):
                del self._attempts[attempt]

    def _held(self, handle: str) -> Message:
        for message in self.messages:
            if message.handle == handle and message.visible_at > self._now():
                return message
        raise FifoError("InvalidParameterValue", "The receipt handle has expired")

    def counts(self) -> dict[str, str]:
        hidden = sum(message.visible_at > self._now() for message in self.messages)
        name = "ApproximateNumberOfMessages"
        return {name: str(len(self.messages) - hidden), f"{name}NotVisible": str(hidden), f"{name}Delayed": "0"}


class FifoServer:
    """`with FifoServer() as sqs:`. Queues over SQS's JSON protocol. `refuse` decides on faults: it is given the action
    and the request, or an entry of a batch, and raises or returns what to raise after the request was obeyed."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.queues: dict[str, Queue] = {}
        self.calls: list[tuple[str, Answer]] = []
        self.refuse: Callable[[str, Answer], Exception | None] = lambda action, request: None
        self._now = now
        self.changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def create_fifo(self, name: str, visibility_s: int = 30, *, dlq: str | None = None, max_receives: int = 3) -> Queue:
        attributes = {"VisibilityTimeout": str(visibility_s)}
        if dlq is not None:
            policy = {"deadLetterTargetArn": self.queues[dlq].attributes["QueueArn"], "maxReceiveCount": max_receives}
            attributes["RedrivePolicy"] = json.dumps(policy)
        queue = self.queues[name] = Queue(name, attributes, self._now)
        queue.dead_letters = self.queues.get(dlq or "")
        return queue

    def answer(self, action: str, request: Answer) -> Answer:
        with self.changed:
            self.calls.append((action, request))
            after = self.refuse(action, request)
            found = self._obey(action, request)
            self.changed.notify_all()
        if after is not None:
            raise after
        return found

    def _obey(self, action: str, request: Answer) -> Answer:
        if action == "GetQueueUrl":
            return {"QueueUrl": f"{self.endpoint}/000000000000/{self._queue(request['QueueName']).name}"}
        queue = self._queue(request["QueueUrl"].rpartition("/")[2])
        match action:
            case "GetQueueAttributes":
                found, names = queue.attributes | queue.counts(), request["AttributeNames"]
                return {"Attributes": {name: text for name, text in found.items() if name in names or "All" in names}}
            case "SendMessage":
                return queue.send(request)
            case "ReceiveMessage":
                return self._receive(queue, request)
            case "SendMessageBatch":
                return self._each(action, request, queue.send)
            case "DeleteMessageBatch":
                return self._each(action, request, lambda entry: queue.delete(entry["ReceiptHandle"]))
            case "ChangeMessageVisibilityBatch":
                return self._each(
                    action, request, lambda entry: queue.change(entry["ReceiptHandle"], entry["VisibilityTimeout"])
                )
        raise FifoError("InvalidAction", action)

    def _queue(self, name: str) -> Queue:
        if name not in self.queues:
            older = "AWS.SimpleQueueService.NonExistentQueue"
            raise FifoError("QueueDoesNotExist", "The specified queue does not exist.", older)
        return self.queues[name]

    def _receive(self, queue: Queue, request: Answer) -> Answer:
        visibility_s = request.get("VisibilityTimeout", int(queue.attributes["VisibilityTimeout"]))
        attempt, until = request.get("ReceiveRequestAttemptId"), time.monotonic() + request.get("WaitTimeSeconds", 0)
        most = min(MOST, request.get("MaxNumberOfMessages", 1))
        while not (found := queue.receive(most, visibility_s, attempt)) and time.monotonic() < until:
            self.changed.wait(min(0.05, until - time.monotonic()))
        return {"Messages": [message.shown() for message in found]} if found else {}

    def _each(self, action: str, request: Answer, obey: Callable[[Answer], Answer | None]) -> Answer:
        done: Answer = {"Successful": [], "Failed": []}
        for entry in request["Entries"]:
            try:
                after = self.refuse(f"{action} entry", entry)
                done["Successful"].append({"Id": entry["Id"]} | (obey(entry) or {}))
                if after is not None:
                    raise after
            except FifoError as error:
                failed = {"Id": entry["Id"], "Code": error.name, "Message": str(error)}
                done["Failed"].append(failed | {"SenderFault": error.name != "InternalError"})
        return done


def _handler(server: FifoServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                self._say(200, server.answer(self.headers["X-Amz-Target"].partition(".")[2], request))
            except FifoError as error:
                fault = {"__type": f"com.amazonaws.sqs#{error.name}", "message": str(error)}
                self._say(400, fault, f"{error.older};Sender")
            except ConnectionError:
                self.close_connection = True  # obeyed, and the answer is lost

        def _say(self, code: int, answer: Answer, error: str = "") -> None:
            text = json.dumps(answer).encode()
            self.send_response(code)
            if error:
                self.send_header("x-amzn-query-error", error)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
