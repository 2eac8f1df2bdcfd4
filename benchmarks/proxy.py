"""A slow network: a process that passes PostgreSQL's protocol on late, and counts how often a client waits for it.

`python -m benchmarks.proxy SOCKET SECONDS` listens on a TCP port of its own, which it writes first, and passes each
connection on to the Unix socket. On SIGTERM it writes what it counted as JSON and ends.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import SimpleQueue

from benchmarks.protocol import Ledger

_CHUNK = 256 * 1024
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What passed, over all connections. A round trip is a request by a client whose earlier ones were all answered.

    Connecting is one. A pipeline is one, however much it holds.
    """

    connections: int = 0
    round_trips: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(slots=True)
class SlowNetwork:
    """Where clients connect; `traffic` is there once the network is closed."""

    host: str
    port: int
    traffic: Traffic = field(default_factory=Traffic)


@contextmanager
def slow_network(server: Path, rtt: float) -> Generator[SlowNetwork]:
    """Start a proxy to a Unix socket whose round trip takes `rtt` seconds; end it at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.proxy", str(server), str(rtt)],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        network = SlowNetwork("127.0.0.1", int(process.stdout.readline()))
        yield network
        process.terminate()
        network.traffic = Traffic(**json.loads(process.communicate(timeout=30)[0]))
    finally:
        process.kill()
        process.wait()


class _Line:
    """One direction of a connection: what arrives leaves `delay` seconds later, in order, as fast as it came."""

    def __init__(self, source: socket.socket, target: socket.socket, delay: float) -> None:
        self._source = source
        self._target = target
        self._delay = delay
        self._queue: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

    def receive(self, on_arrival: Callable[[bytes], None]) -> None:
        """Take in until the source ends."""
        data = b" "
        while data:
            try:
                data = self._source.recv(_CHUNK)
            except OSError:
                data = b""
            due = time.monotonic() + self._delay
            on_arrival(data)
            self._queue.put((due, data))

    def deliver(self, on_delivery: Callable[[bytes], None]) -> None:
        """Hand over until all is; what the target no longer takes is dropped."""
        while True:
            due, data = self._queue.get()
            time.sleep(max(0.0, due - time.monotonic()))
            # Before it is sent: what follows upon it may be here before sendall returns.
            on_delivery(data)
            with suppress(OSError):
                if data:
                    self._target.sendall(data)
                else:
                    self._target.shutdown(socket.SHUT_WR)
            if not data:
                return


def _serve(client: socket.socket, address: str, delay: float, ledger: Ledger) -> None:
    """Pass one connection on until both sides have ended it."""
    with client, socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        there, back = _Line(client, server, delay), _Line(server, client, delay)
        # Threads that sleep, not asyncio: an event loop on epoll wakes at whole milliseconds, twice in each trip.
        threads = (
            threading.Thread(target=there.receive, args=[ledger.ask], daemon=True),
            threading.Thread(target=there.deliver, args=[_ignore], daemon=True),
            threading.Thread(target=back.receive, args=[_ignore], daemon=True),
            threading.Thread(target=back.deliver, args=[ledger.answer], daemon=True),
        )
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _accept(listener: socket.socket, address: str, rtt: float, ledgers: list[Ledger]) -> None:
    while True:
        client, _ = listener.accept()
        ledger = Ledger()
        ledgers.append(ledger)
        threading.Thread(target=_serve, args=[client, address, rtt / 2, ledger], daemon=True).start()


def _count(ledgers: Sequence[Ledger]) -> Traffic:
    return Traffic(
        connections=len(ledgers),
        round_trips=sum(ledger.round_trips for ledger in ledgers),
        bytes_sent=sum(ledger.sent for ledger in ledgers),
        bytes_received=sum(ledger.received for ledger in ledgers),
    )


def _ignore(data: bytes) -> None:
    del data


def main() -> None:
    """Serve until SIGTERM, then write the count."""
    address, rtt = sys.argv[1], float(sys.argv[2])
    # Before any thread begins: they inherit it, and this one waits for the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    ledgers: list[Ledger] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        threading.Thread(target=_accept, args=[listener, address, rtt, ledgers], daemon=True).start()
        print(listener.getsockname()[1], flush=True)
        signal.sigwait({signal.SIGTERM})
        print(json.dumps(asdict(_count(ledgers))), flush=True)


if __name__ == "__main__":
    main()
