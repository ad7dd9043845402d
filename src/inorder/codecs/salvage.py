"""The key of a record that no event can be read from, where that much can be read. Never raises.

A person who looks for what failed at night asks by key. Nothing is decided on what is found here.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from inorder.codecs.payload import json_names
from inorder.core.event import Record
from inorder.declaration import Declaration


class Salvage:
    """Reads keys for one declared consumer."""

    def __init__(self, declared: Declaration) -> None:
        self._field = declared.key
        self._names = _names_in_json(declared.payload, declared.key) if isinstance(declared.key, str) else ()

    def key(self, record: Record) -> Any:
        """What stands where the key should be; None where nothing does, or two do."""
        try:
            if callable(self._field):
                return self._field(record)
            pairs = json.loads(record.value or b"", object_pairs_hook=tuple)
            found = [value for name, value in pairs if name in self._names]
        except Exception:
            return None
        return found[0] if len(found) == 1 else None


def _names_in_json(payload: Any, field: str) -> tuple[str, ...]:
    """The names that a field may have in JSON, which may be others than in Python."""
    if isinstance(payload, type) and issubclass(payload, msgspec.Struct):
        return tuple(one.encode_name for one in msgspec.structs.fields(payload) if one.name == field)
    return json_names(payload, field) or (field,)
