"""A database that is further away: forwards connections, each piece of them so much later, in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

PIECE = 65_536


@contextmanager
def away(url: str, one_way_s: float) -> Iterator[str]:
    """The URL under which the server of `url`, on this machine, is found at this distance while the block runs."""
    parts = urlsplit(url)
    command = [sys.executable, "-m", "bench.distance", str(parts.port), str(one_way_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{port}")))
        finally:
            process.kill()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, one_way_s: float) -> None:
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    now = asyncio.get_running_loop().time

    async def arrive() -> None:
        with suppress(ConnectionError):
            while True:
                due, piece = await pieces.get()
                await asyncio.sleep(max(0.0, due - now()))
                if not piece:
                    break
                target.write(piece)
                await target.drain()
        target.close()

    arriving = asyncio.create_task(arrive())
    while True:
        piece = b""  # also of a connection that is reset
        with suppress(ConnectionError):
            piece = await source.read(PIECE)
        pieces.put_nowait((now() + one_way_s, piece))
        if not piece:
            break
    await arriving


async def _forward(server: int, one_way_s: float) -> None:
    async def meet(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        answers, to_server = await asyncio.open_connection("127.0.0.1", server)
        await asyncio.gather(_pump(client, to_server, one_way_s), _pump(answers, to_client, one_way_s))

    listening = await asyncio.start_server(meet, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


def _loop() -> asyncio.AbstractEventLoop:
    """Where it can be had, one that does not round half a millisecond up to a whole one."""
    if sys.platform != "linux":
        return asyncio.new_event_loop()
    from inorder.worker.turning import FineSelector

    return asyncio.SelectorEventLoop(FineSelector())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(_forward(int(sys.argv[1]), float(sys.argv[2])))
