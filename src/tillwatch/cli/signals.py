"""Signals: the first SIGINT or SIGTERM asks to stop, a SIGINT after it ends at once; or SIGTERM closes what is open."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module

from tillwatch.cli.outcome import INTERRUPTED, TERMINATED

_ASKING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """SIGTERM ends the process as it does otherwise, but closes what is open before, as a terminal that is drawn on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _unwind(number: int, frame: object) -> None:
    raise SystemExit(TERMINATED)


@contextmanager
def stop_on_signal(announce: Callable[[str], None]) -> Iterator[threading.Event]:
    """The event that the first signal sets. `announce` is called from a thread of its own.

    Only the main thread gets signals; from another one, as in some notebooks, the event is set by nobody.

    Signals come in through a socket: a handler in the main thread could wait for a lock that the main thread
    holds, and would not run at all while the main thread is inside a long call of a native library.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    # When it is imported Polars puts a handler of its own before the one that is there, by which SIGINT raises
    # KeyboardInterrupt in any thread that is inside Polars: ours has to come after it.
    import_module("polars")
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    listener = threading.Thread(target=_listen, args=(reader, stop, announce), name="tillwatch-signals", daemon=True)
    listener.start()
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, _ignored) for number in _ASKING}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        writer.close()
        listener.join()
        reader.close()


def _ignored(number: int, frame: object) -> None:
    """Does nothing: the number has gone to the socket already."""


def _listen(reader: socket.socket, stop: threading.Event, announce: Callable[[str], None]) -> None:
    asked = False
    while data := reader.recv(1):
        if asked and data[0] == signal.SIGINT:
            _end_at_once()
        elif not asked and data[0] in _ASKING:
            asked = True
            hint = " (Ctrl-C again ends at once)" if data[0] == signal.SIGINT else ""
            announce(f"stopping after the chunk in hand …{hint}")
            stop.set()


def _end_at_once() -> None:
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\x1b[?25h\n")  # the live display hides the cursor
    os._exit(INTERRUPTED)
