"""Replay tokens: a schedule and the payloads of its events, as one word that can be pasted."""

from __future__ import annotations

import base64
import binascii
import zlib

import msgspec

from inorder.codecs.json import JsonCodec
from inorder.declaration import Declaration
from inorder.errors import UsageError
from inorder.proof.payloads import event_of
from inorder.proof.scope import Act, Fate, Kind, Place, Schedule
from inorder.proof.system import Message

_FATES = {fate: fate.name.lower() for fate in Fate}


class _Content(msgspec.Struct, frozen=True, array_like=True):
    acts: list[tuple[str, str | None, int, str]]
    values: list[str]


def token_of(schedule: Schedule, case: dict[Place, Message]) -> str:
    """The word for this schedule over these events."""
    acts = [(act.kind.value, *(act.place or (None, 0)), _FATES[act.fate]) for act in schedule]
    content = _Content(acts, [message.value.decode() for message in case.values()])
    packed = zlib.compress(msgspec.json.encode(content), 9)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def of_token(token: str, declared: Declaration) -> tuple[Schedule, dict[Place, Message]]:
    """The schedule and the events that a token stands for. Raises `UsageError` when it stands for none."""
    try:
        packed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        content = msgspec.json.decode(zlib.decompress(packed), type=_Content)
        fates = {name: fate for fate, name in _FATES.items()}
        acts = tuple(
            Act(Kind(kind), None if key is None else (key, version), fates[fate])
            for kind, key, version, fate in content.acts
        )
    except (binascii.Error, zlib.error, msgspec.DecodeError, ValueError, KeyError, UnicodeDecodeError):
        raise UsageError("this is no replay token: copy the whole word that inorder prove has printed") from None
    case: dict[Place, Message] = {}
    codec = JsonCodec(declared)
    for value in content.values:
        message = event_of(codec, value.encode())
        if message is None:
            raise UsageError("the events of this replay token cannot be read by the consumer as it is declared now")
        case[message.key, message.version] = message
    return acts, case
