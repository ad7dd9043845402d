"""A record as a producer of another language may send it: with a header whose name is no text. Python's sends none."""

from __future__ import annotations

import ctypes
from pathlib import Path

import confluent_kafka
import pytest

_TOPIC, _PARTITION, _VALUE, _FLAGS, _HEADER = 1, 3, 4, 7, 9
_COPY = 2
_LIMIT_MS = 15_000


class _Bytes(ctypes.Structure):
    _fields_ = (("at", ctypes.c_char_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_char_p), ("size", ctypes.c_ssize_t))


class _Either(ctypes.Union):
    _fields_ = (
        ("text", ctypes.c_char_p),
        ("number", ctypes.c_int),
        ("bytes", _Bytes),
        ("header", _Header),
        ("room", ctypes.c_char * 64),
    )


class _Part(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int), ("value", _Either))


def produce(bootstrap: str, topic: str, value: bytes, header: bytes) -> None:
    """One record into partition 0, through librdkafka itself."""
    files = list(Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka*"))
    if not files:
        pytest.skip("librdkafka is not where Linux wheels have it")
    library = ctypes.CDLL(str(files[0]))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_produceva"):
        getattr(library, name).restype = ctypes.c_void_p
    why = ctypes.create_string_buffer(512)
    settings = ctypes.c_void_p(library.rd_kafka_conf_new())
    for option, given in ((b"bootstrap.servers", bootstrap.encode()), (b"log_level", b"0")):
        assert library.rd_kafka_conf_set(settings, option, given, why, len(why)) == 0, why.value
    producer = ctypes.c_void_p(library.rd_kafka_new(0, settings, why, len(why)))
    assert producer.value, why.value
    parts = (_Part * 5)(
        _Part(_TOPIC, _Either(text=topic.encode())),
        _Part(_PARTITION, _Either(number=0)),
        _Part(_FLAGS, _Either(number=_COPY)),
        _Part(_VALUE, _Either(bytes=_Bytes(value, len(value)))),
        _Part(_HEADER, _Either(header=_Header(header, b"v", 1))),
    )
    assert library.rd_kafka_produceva(producer, parts, ctypes.c_size_t(len(parts))) is None
    assert library.rd_kafka_flush(producer, _LIMIT_MS) == 0
    library.rd_kafka_destroy(producer)
