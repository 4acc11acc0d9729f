"""Outputs are delivered to beside detection; none holds up another, and nothing is left out or told wrongly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tillwatch.clock import SystemClock
from tillwatch.errors import OutputUnavailable, PublishError, StateError
from tillwatch.publish.deliver import Delivery
from tillwatch.publish.output import Batch
from tillwatch.retry import Retry
from tillwatch.state import State, open_state
from tillwatch.testing.commits import MEANING, SHAPE, STARTED, commit

Opened = Callable[[], AbstractContextManager[State]]


@dataclass
class Recorder:
    """An output that keeps what it gets, after raising `errors`, one for each call; `reached` once it has six."""

    errors: list[Exception] = field(default_factory=list)
    got: list[int] = field(default_factory=list)
    reached: threading.Event = field(default_factory=threading.Event)
    place: str = "memory:"

    def deliver(self, batch: Batch) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.got += [r["seq"] for r in batch.records]
        if self.got[-1] == 6:
            self.reached.set()


@dataclass
class QuickClock(SystemClock):
    """A clock whose time passes as it is waited for, up to a moment each; what was waited for is kept."""

    waits: list[float] = field(default_factory=list)
    passed: float = 0.0

    def __post_init__(self) -> None:
        super().__init__()

    def monotonic(self) -> float:
        return self.passed

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.passed += seconds
        return event.wait(min(seconds, 0.005))


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """A state with seven detections in three files of two; one is in no file yet."""
    with closing(open_state(str(tmp_path / "s.db"))) as state:
        state.start("f", MEANING, STARTED, [SHAPE])
        state.commit(commit(0, [3, 4]), 2)

    return lambda: closing(open_state(str(tmp_path / "s.db")))


@dataclass
class Run:
    """What a delivery is given, and what it says."""

    opened: Opened
    clock: QuickClock = field(default_factory=QuickClock)
    stop: threading.Event = field(default_factory=threading.Event)
    said: list[str] = field(default_factory=list)

    def delivery(self, *, once: bool = True, **outputs: Recorder) -> Delivery:
        """A delivery with a patience of ten seconds, or with patience for ever."""
        retry = Retry(self.clock, self.stop, self.said.append, 10.0 if once else None)
        return Delivery(outputs, self.opened, retry, once=once)

    def left(self, name: str) -> list[int]:
        """The first seq of each file that is not delivered."""
        with self.opened() as state:
            return [plan.first for plan in state.undelivered(name)]


@pytest.fixture
def run(opened: Opened) -> Run:
    """A run over the state."""
    return Run(opened)


def test_every_planned_file_goes_to_every_output(run: Run) -> None:
    """In order, also what is planned while it is open; it is noted, so the next run delivers nothing again."""
    a, b = Recorder(), Recorder()
    with run.delivery(a=a, b=b), run.opened() as state:
        state.plan_rest(2)
    assert a.got == b.got == [1, 2, 3, 4, 5, 6, 7]
    assert (run.left("a"), run.left("b"), run.said) == ([], [], [])
    again = Recorder()
    with run.delivery(a=again):
        pass
    assert again.got == []


def test_a_new_name_begins_with_the_first_detection(run: Run) -> None:
    """What another output got does not count."""
    with run.delivery(a=Recorder()):
        pass
    late = Recorder()
    with run.delivery(late=late):
        pass
    assert late.got == [1, 2, 3, 4, 5, 6]


def test_an_output_that_is_down_holds_up_nobody(run: Run) -> None:
    """While one is down, the work goes on and the other gets everything; once it is back it gets everything too."""
    down, up = Recorder([OutputUnavailable("not now")] * 20), Recorder()
    with run.delivery(once=False, down=down, up=up):
        assert up.reached.wait(10)
        assert down.reached.wait(10)
        run.stop.set()
    assert up.got == down.got == [1, 2, 3, 4, 5, 6]
    assert len(run.said) == 20


def test_retry_after_is_honoured(run: Run) -> None:
    """An output that asks for five seconds is left alone for five seconds."""
    asked = Recorder([OutputUnavailable("busy", 5.0)])
    with run.delivery(a=asked):
        pass
    assert 5.0 in run.clock.waits
    assert run.said == ["busy (trying again in 5.0 s)"]
    assert asked.got == [1, 2, 3, 4, 5, 6]


def test_patience_ends_with_a_clear_problem(run: Run) -> None:
    """A run that works off what is there ends with an error that names the output; the next run goes on."""
    down = Recorder([OutputUnavailable("not now")] * 1000)
    with (
        pytest.raises(
            PublishError, match=r"output a: not now\. What is not delivered yet is delivered by the next run\."
        ),
        run.delivery(a=down, b=Recorder()),
    ):
        pass
    assert (run.left("a"), run.left("b")) == ([1, 3, 5], [])
    back = Recorder()
    with run.delivery(a=back):
        pass
    assert back.got == [1, 2, 3, 4, 5, 6]


def test_all_outputs_that_failed_are_told(run: Run) -> None:
    """A line for each, also when they refuse for good, which is not tried again."""
    outputs = {name: Recorder([PublishError(f"no {name}")]) for name in ("a", "b")}
    with pytest.raises(PublishError, match=r"(?s)(no a.*no b|no b.*no a)"), run.delivery(**outputs):
        pass
    assert run.said == []


def test_a_refusal_in_an_endless_run_is_told_and_asked_again(run: Run) -> None:
    """The output is left alone for a minute, and goes on where it refused when what was wrong is put right."""
    output = Recorder([PublishError("no")])
    with run.delivery(once=False, a=output):
        assert output.reached.wait(10)
        run.stop.set()
    assert run.said == ["output a: no (trying again in 60 s)"]
    assert output.got == [1, 2, 3, 4, 5, 6]


def test_a_run_that_is_stopped_ends(run: Run) -> None:
    """With an output that is down for ever, stopping ends the run at once, and says what is left to the next one."""
    output = Recorder([OutputUnavailable("not now")] * 10**6)
    with run.delivery(once=False, a=output):
        run.stop.set()
    assert run.said[-1] == "output a: not now. What is not delivered yet is delivered by the next run."
    assert run.left("a") == [1, 3, 5]


@pytest.mark.parametrize("once", [True, False])
def test_an_error_of_detect_is_the_one_that_is_told(once: bool, run: Run) -> None:
    """When detect fails, delivery ends too, and says nothing instead."""
    output = Recorder([OutputUnavailable("not now")] * 10**6)
    with pytest.raises(StateError, match="of detect"), run.delivery(once=once, a=output):
        raise StateError("of detect")


def test_a_defect_is_not_swallowed(run: Run) -> None:
    """An error that nobody expected ends the run as it is."""
    with pytest.raises(ZeroDivisionError), run.delivery(a=Recorder([ZeroDivisionError()])):
        pass


def test_a_defect_ends_a_run_that_would_go_on(run: Run) -> None:
    """A run that goes on for ever does not go on without an output that nobody delivers to any more."""
    with pytest.raises(ZeroDivisionError), run.delivery(once=False, a=Recorder([ZeroDivisionError()])):
        assert run.stop.wait(10)


@pytest.mark.parametrize("once", [True, False])
def test_a_state_that_fails_for_a_moment_is_tried_again(once: bool, run: Run) -> None:
    """What was delivered and could not be noted is noted, or delivered again; nothing is left out."""
    failures = iter([StateError("busy"), None, StateError("busy")])
    inner = run.opened

    @contextmanager
    def failing() -> Iterator[State]:
        with inner() as state:
            yield Failing(state)  # type: ignore[misc]

    class Failing:
        def __init__(self, state: State) -> None:
            self._state = state

        def __getattr__(self, name: str) -> object:
            if name == "mark_delivered" and (error := next(failures, None)):
                raise error
            return getattr(self._state, name)

    output = Recorder()
    with Run(failing, run.clock, run.stop, run.said).delivery(once=once, a=output):
        assert output.reached.wait(10)
        run.stop.set() if not once else None
    assert (output.got, run.left("a")) == ([1, 2, 3, 4, 5, 6], [])
