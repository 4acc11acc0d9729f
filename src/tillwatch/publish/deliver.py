"""Delivery to further outputs, beside detection: each output has a thread and a connection to the state of its own.

What was delivered is noted in the state, so a restart goes on after it; what was delivered and not yet noted is
delivered again, which changes nothing there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from tillwatch.errors import PublishError, RunError
from tillwatch.events import Delivered
from tillwatch.publish.output import Output, batch_of
from tillwatch.retry import Retry
from tillwatch.state.base import State

POLL_SECONDS = 0.25
REFUSED_SECONDS = 60.0
"""How long an output that refuses is left alone, in a run that goes on for ever."""

GRACE_SECONDS = 5.0
"""How long a run that was stopped goes on delivering what is planned."""


class Delivery:
    """Delivers every planned file to every output while it is open. The caller holds the lease of detect.

    No output waits for another, and nothing waits for an output until the end. There, a run that works off what is
    there (`once`) waits for as long as `retry` has patience with each try, and raises PublishError for what could not
    be delivered; one that was stopped tries each output once more, and says what is left to the next run.
    """

    def __init__(
        self,
        outputs: Mapping[str, Output],
        opened: Callable[[], AbstractContextManager[State]],
        retry: Retry,
        *,
        once: bool,
        on_delivered: Callable[[Delivered], None] = lambda _: None,
    ) -> None:
        self._outputs, self._opened = outputs, opened
        self._clock, self._stop, self._report, self._once = retry.clock, retry.stop, retry.report, once
        self._no_more, self._over = threading.Event(), threading.Event()
        self._retry, self._on_delivered = replace(retry, stop=self._over), on_delivered
        self._refused: dict[str, tuple[int, float]] = {}  # how often in a row, and since when; by output
        self._until = float("inf")
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for name, output in self._outputs.items():
            thread = threading.Thread(target=self._work, args=(name, output), name=f"tillwatch-{name}")
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._once or error is not None:
            self._end()
        self._no_more.set()
        for thread in self._threads:
            while thread.is_alive():
                thread.join(0.1)
                if self._stop.is_set():
                    self._end()
        if error is None:
            self._raise()

    def _end(self) -> None:
        if not self._over.is_set():
            self._until = self._clock.monotonic() + GRACE_SECONDS
            self._over.set()

    def _raise(self) -> None:
        defects = [e for e in self._errors if not isinstance(e, RunError)]
        if defects:
            raise defects[0]
        if self._errors:
            raise PublishError("\n".join(str(e) for e in self._errors))

    def _work(self, name: str, output: Output) -> None:
        try:
            while not self._delivered(name, output):
                self._clock.wait(self._over, REFUSED_SECONDS)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._errors.append(error)
            if not self._once:  # else nobody would hear of it before a run ends that goes on for ever
                self._stop.set()

    def _delivered(self, name: str, output: Output) -> bool:
        """Delivers until no more will come; says False when the output refuses and is to be asked again later."""
        retry = replace(self._retry, place=f"outputs.{name}")
        try:
            with ExitStack() as stack:
                state = retry(lambda: stack.enter_context(self._opened()))
                self._deliver(name, output, state, retry)
        except RunError as error:
            text = f"output {name}: {error}"
            left = f"{text.rstrip(' .')}. What is not delivered yet is delivered by the next run."
            if self._once and not self._stop.is_set():
                raise PublishError(left) from error
            if self._over.is_set():
                self._report(left)
                return True
            count, since = self._refused.get(name, (0, self._clock.monotonic()))
            self._refused[name] = count + 1, since
            again = f"{text} (trying again in {REFUSED_SECONDS:.0f} s)"
            retry.failed(again, retry.place, error, REFUSED_SECONDS, count + 1)
            return False
        return True

    def _deliver(self, name: str, output: Output, state: State, retry: Retry) -> None:
        while True:
            last_look = self._no_more.is_set()  # asked before looking, so that nothing slips between
            for plan in retry(lambda: state.undelivered(name)):
                if self._clock.monotonic() > self._until:
                    return
                began = self._clock.monotonic()
                batch = retry(lambda p=plan: batch_of(p, state))  # type: ignore[misc]
                retry(lambda b=batch: output.deliver(b))  # type: ignore[misc]
                retry(lambda p=plan: state.mark_delivered(name, p, self._clock.now()))  # type: ignore[misc]
                seconds = self._clock.monotonic() - began
                if name in self._refused:
                    count, since = self._refused.pop(name)
                    retry.worked({retry.place: count}, since)
                self._on_delivered(Delivered(name, plan.name, plan.first, plan.last, seconds))
            if last_look:
                return
            self._clock.wait(self._no_more, POLL_SECONDS)
