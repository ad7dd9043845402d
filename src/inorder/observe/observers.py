"""Which observer a worker gets: nobody, one that counts, or one that tells OpenTelemetry as well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from inorder.declaration import Declaration
from inorder.errors import UsageError
from inorder.worker.settings import Settings

if TYPE_CHECKING:
    from inorder.observe.watching import Watching

_SYSTEMS = {"sqs": "aws_sqs", "": "file"}
"""What OpenTelemetry calls a broker, where it is not the scheme of its URL."""


@contextmanager
def observed(declared: Declaration, settings: Settings, counts: bool, tells: bool) -> Iterator[Watching | None]:
    """The observer of a worker of this consumer; None: nobody."""
    if tells:
        from inorder.observe.otel import Telling
        from inorder.observe.otlp import exporting

        scheme = urlsplit(settings.source).scheme if "://" in settings.source else ""
        system = _SYSTEMS.get(scheme, scheme)
        with exporting(declared.name, settings.worker) as (tracers, meters):
            yield Telling(declared.order, declared.name, system, tracers, meters)
    elif counts:
        from inorder.observe.watching import Watching

        yield Watching(declared.order)
    else:
        yield None


def check(tells: bool) -> None:
    """Raises `UsageError` where `observed` could not."""
    if not tells:
        return
    try:
        import inorder.observe.otel
        import inorder.observe.otlp  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed: pip install 'inorder[otel]'") from None
