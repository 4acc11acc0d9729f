"""What fails for now is tried again: with growing delays, reported, until it works or patience ends."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tillwatch.errors import (
    LeaseHeld,
    LogError,
    ObjectConflict,
    ObjectExists,
    ObjectMissing,
    PublishError,
    SourceUnavailable,
    StateConflict,
    StateError,
    StoreError,
)
from tillwatch.retry import FIRST_DELAY, LONGEST_ASKED, LONGEST_DELAY, Retry


@dataclass
class FakeClock:
    """A clock that moves only when somebody waits; `at_wait` happens meanwhile."""

    time: float = 100.0
    waits: list[float] = field(default_factory=list)
    at_wait: Callable[[], object] = lambda: None

    def now(self) -> str:
        return str(self.time)

    def monotonic(self) -> float:
        return self.time

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.at_wait()
        self.time += 0 if event.is_set() else seconds
        return event.is_set()


@dataclass
class Failing:
    """An action that fails so many times, then returns its number of calls."""

    times: float
    error: Exception = field(default_factory=lambda: StoreError("no answer"))
    calls: int = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return self.calls


class Whole(random.Random):
    """No jitter: the longest wait there can be."""

    def uniform(self, a: float, b: float) -> float:
        return b


def retry(
    clock: FakeClock, patience: float | None = None, jitter: random.Random | None = None
) -> tuple[Retry, list[str]]:
    """A retry on the clock, and what it reports."""
    told: list[str] = []
    return Retry(clock, threading.Event(), told.append, patience, jitter or Whole()), told


def test_what_works_is_done_once() -> None:
    """Without a failure there is no wait and no report."""
    clock, action = FakeClock(), Failing(0)
    tries, told = retry(clock)
    assert (tries(action), clock.waits, told) == (1, [], [])


@pytest.mark.parametrize("error", [StoreError("no answer"), StateError("no answer")])
def test_it_is_tried_again_with_growing_delays(error: Exception) -> None:
    """Each delay is twice the one before, up to the longest; each failure is reported with the delay."""
    clock, action = FakeClock(), Failing(12, error)
    tries, told = retry(clock)
    assert tries(action) == 13
    doubled = [FIRST_DELAY * 2**n for n in range(12)]
    assert clock.waits == [min(d, LONGEST_DELAY) for d in doubled]
    assert told == [f"no answer (trying again in {d:.1f} s)" for d in clock.waits]


def test_delays_are_spread() -> None:
    """With jitter each wait is from half of the delay to the whole, and not always the same."""
    shares = []
    for seed in range(20):
        clock = FakeClock()
        tries, _ = retry(clock, jitter=random.Random(seed))
        tries(Failing(5))
        shares += [wait / (FIRST_DELAY * 2**n) for n, wait in enumerate(clock.waits)]
    assert all(0.5 <= share <= 1 for share in shares)
    assert min(shares) < 0.6 and max(shares) > 0.9


@pytest.mark.parametrize("patience", [0.0, 0.1, 1.0, 10.0])
def test_patience_ends(patience: float) -> None:
    """No wait begins that would go beyond the patience; then the last error is raised, not reported."""
    clock, action = FakeClock(), Failing(float("inf"))
    tries, told = retry(clock, patience)
    with pytest.raises(StoreError, match="no answer"):
        tries(action)
    assert sum(clock.waits) <= patience
    assert patience < sum(clock.waits) + FIRST_DELAY * 2 ** len(clock.waits)
    assert (action.calls, len(told)) == (len(clock.waits) + 1, len(clock.waits))


def test_who_asks_to_be_left_alone_for_ages_is_asked_again() -> None:
    """An hour is the longest that is waited for, whatever a service says, in good faith or not."""
    clock = FakeClock()
    Retry(clock, threading.Event(), [].append)(Failing(1, SourceUnavailable("busy", 1e300)))
    assert clock.waits == [LONGEST_ASKED]


def test_patience_is_for_each_action_anew() -> None:
    """A later action has the whole patience again."""
    clock = FakeClock()
    tries, _ = retry(clock, patience=1.0)
    for _ in range(3):
        assert tries(Failing(2)) == 3


def test_without_a_limit_patience_does_not_end() -> None:
    """Days of failures are waited through."""
    clock = FakeClock()
    tries, _ = retry(clock)
    assert tries(Failing(5000)) == 5001
    assert clock.time - 100 > 86_400


def test_a_stop_before_the_failure_raises_it() -> None:
    """When the stop is set already there is no wait."""
    clock, action = FakeClock(), Failing(5)
    tries, told = retry(clock)
    tries.stop.set()
    with pytest.raises(StoreError, match="no answer"):
        tries(action)
    assert (action.calls, clock.waits, told) == (1, [], [])


@pytest.mark.parametrize(("failures", "worked"), [(1, True), (2, False)])
def test_a_stop_while_waiting_leaves_one_last_try(failures: int, worked: bool) -> None:
    """The wait is cut short; the last try's result is returned, or its error raised."""
    clock, action = FakeClock(), Failing(failures)
    tries, _ = retry(clock)
    clock.at_wait = tries.stop.set
    if worked:
        assert tries(action) == 2
    else:
        with pytest.raises(StoreError, match="no answer"):
            tries(action)
    assert (action.calls, len(clock.waits), clock.time) == (2, 1, 100.0)


@pytest.mark.parametrize(
    "error",
    [
        ObjectExists("x"),
        ObjectMissing("x"),
        ObjectConflict("x"),
        StateConflict("x"),
        PublishError("x"),
        LogError("x"),
        LeaseHeld("x"),
        OSError("x"),
        ValueError("x"),
        KeyboardInterrupt(),
    ],
)
def test_what_time_does_not_heal_is_not_tried_again(error: BaseException) -> None:
    """Conflicts, missing objects, a damaged log and mistakes of ours are raised at once."""
    clock, action = FakeClock(), Failing(1, error)  # type: ignore[arg-type]
    tries, told = retry(clock)
    with pytest.raises(type(error)):
        tries(action)
    assert (action.calls, clock.waits, told) == (1, [], [])
