"""Several observers as one, none of which can stop the pipeline."""

from __future__ import annotations

import logging
import threading

from tillwatch.config import masked
from tillwatch.events import Event, Notice, Observer, ignore


class Together:
    """Passes each event to every observer, in order.

    An observer that fails does not keep the others from hearing, nor the pipeline from going on: the first error of
    each is told to the others, and to the logger `tillwatch`. What is no `Exception`, such as KeyboardInterrupt, is
    raised.
    """

    def __init__(self, *observers: Observer) -> None:
        self._observers = tuple(observer for observer in observers if observer is not ignore)
        self._told: set[int] = set()
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        for number, observer in enumerate(self._observers):
            try:
                observer(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told, once
                self._tell(number, error)

    def _tell(self, number: int, error: Exception) -> None:
        with self._lock:
            if number in self._told:
                return
            self._told.add(number)
        what = masked(f"{type(error).__name__}: {error}")
        text = f"an observer of this run failed, what it is told of from now on may be lost; the run goes on. {what}"
        logging.getLogger("tillwatch").error(text)
        self(Notice(text))
