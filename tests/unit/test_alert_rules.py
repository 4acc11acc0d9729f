"""Rules of alerts, judged: each begins once and ends once, whatever comes in between; nothing is sent here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillwatch.alerts.alert import Alert, Found, Known, Moment, Scope, Stand
from tillwatch.alerts.judge import UNSURE_SECONDS, Judge
from tillwatch.config import load
from tillwatch.config.alerts import Alerts
from tillwatch.events import Event, FileFinished, FileProblem, Landed, Processed, Recovered, Retried
from tillwatch.model import Detection

RULES = """\
source: x.csv
alerts:
  channels: {ops: "json://127.0.0.1/x"}
  file_failed: true
  no_new_chunk: 10min
  lag: 50
  quarantine_share: {over: 5%, chunks: 4}
  unreachable: 1min
  detections: [PatId1, PatId2]
"""
BOTH = frozenset({"ingest", "detect"})


@pytest.fixture
def alerts(tmp_path: Path) -> Alerts:
    """All rules."""
    path = tmp_path / "tillwatch.yaml"
    path.write_text(RULES, "utf-8")
    return load(path).alerts


class Judged:
    """A judge whose time is moved by hand; `told` are the alerts so far, each as soon as it is made."""

    def __init__(self, alerts: Alerts, scope: Scope = "run", *, once: bool = False, known: Known | None = None) -> None:
        self.seconds, self.alerts = 0.0, list[Alert]()
        self.judge = Judge(alerts, scope, once=once, now=self.now)
        self.hear(known or Known(Stand(0, 0, BOTH), seq=1))

    @property
    def now(self) -> Moment:
        """The time, in seconds and as the clock on the wall says it."""
        return Moment(self.seconds, f"t{self.seconds:g}")

    def hear(self, *events: Event | Known | Stand) -> None:
        """Something happens now."""
        for event in events:
            self._take(self.judge.hear(event, self.now))

    def after(self, seconds: float, *events: Event | Known | Stand) -> None:
        """Something, or only a tick, happens after so long."""
        self.seconds += seconds
        self._take(self.judge.tick(self.now))
        self.hear(*events)

    def finish(self) -> None:
        """The run ends."""
        self._take(self.judge.tick(self.now, last=True))

    def _take(self, alerts: list[Alert]) -> None:
        self.alerts += alerts
        for alert in alerts:
            self.judge.told(alert)

    @property
    def told(self) -> list[tuple[str, str, str]]:
        """Rule, kind and since when."""
        return [(alert.rule, alert.kind, alert.since) for alert in self.alerts]


def processed(chunk: int, bad: int = 0, *found: Detection) -> Processed:
    """A chunk of 100 rows was committed."""
    return Processed(chunk, chunk, 100 - bad, bad, {}, found=found)


def detection(pattern: str, customer: str, chunk: int = 0) -> Detection:
    """A detection of a customer."""
    return Detection(chunk, pattern, "ACT", {"customer": customer}, {})


def test_lag_begins_once_and_ends_once(alerts: Alerts) -> None:
    """More than 50 chunks behind, for however long, is one alert; it is over a minute after it was so last."""
    judged = Judged(alerts)
    judged.after(1, Landed(49, 10))
    assert judged.told == []
    judged.after(1, Landed(50, 10), Landed(51, 10))
    judged.after(100, Landed(90, 10))
    assert judged.told == [("lag", "began", "t2")]
    judged.after(1, processed(80))
    judged.after(59, Landed(131, 10))  # too many again, before it was over
    judged.after(1, processed(131))
    judged.after(59)
    assert len(judged.told) == 1
    judged.after(1)
    assert judged.told == [("lag", "began", "t2"), ("lag", "ended", "t2")]
    assert judged.alerts[0].title == "detection is 51 chunks behind, over 50"


def test_silence_is_told_since_the_last_chunk(alerts: Alerts) -> None:
    """Ten minutes after the last chunk; the next one ends it, when more come or a minute has passed."""
    judged = Judged(alerts)
    judged.after(100, Landed(0, 10), processed(0))
    judged.after(599)
    assert judged.told == []
    judged.after(1)
    judged.after(1000)
    assert judged.told == [("no_new_chunk", "began", "t100")]
    judged.after(1, Landed(1, 10))
    judged.after(60)
    judged.after(100)
    assert judged.told == [("no_new_chunk", "began", "t100"), ("no_new_chunk", "ended", "t100")]


def test_the_share_of_the_quarantine_is_of_the_last_chunks(alerts: Alerts) -> None:
    """Over 5% of four chunks; exactly 5% is not over it. Older chunks do not count."""
    judged = Judged(alerts)
    judged.hear(*(processed(n, 5) for n in range(10)))
    assert judged.told == []
    judged.hear(processed(10, 6))
    assert judged.alerts[0].title == "5.25% of the rows are quarantined, over 5%"
    assert judged.alerts[0].facts == ("21 rows of 400 in the last 4 chunks",)
    judged.after(1, *(processed(n) for n in range(11, 15)))
    judged.after(60)
    assert judged.told == [("quarantine_share", "began", "t0"), ("quarantine_share", "ended", "t0")]


def test_a_place_is_unreachable_after_a_time(alerts: Alerts) -> None:
    """One that answers within a minute is not told; later it is, once, until it has answered for a minute."""
    judged = Judged(alerts)
    judged.hear(Retried("no route", place="landing"))
    judged.after(59, Retried("no route", place="landing"), Recovered("landing", 2, 59.0))
    judged.after(10)
    judged.hear(Retried("no route", place="landing"))
    judged.after(30, Retried("still no route", place="landing"))
    judged.after(30, Retried("still no route", place="landing"))
    judged.after(300)
    assert judged.told == [("unreachable", "began", "t69")]
    assert (judged.alerts[0].subjects, judged.alerts[0].facts) == (("landing",), ("still no route",))
    judged.hear(Recovered("landing", 9, 300.0))
    judged.after(59, Retried("again", place="landing"))
    judged.after(1, Recovered("landing", 1, 1.0))
    judged.after(59)
    assert len(judged.told) == 1
    judged.after(1)
    assert judged.told[1:] == [("unreachable", "ended", "t69")]


def test_a_place_that_one_mechanism_reaches_and_the_other_does_not_is_unreachable(alerts: Alerts) -> None:
    """In one process both use the state: that ingest reaches it says nothing of detect."""
    judged = Judged(alerts)
    judged.hear(Retried("down", place="state", mechanism="ingest"), Retried("down", place="state", mechanism="detect"))
    judged.after(5, Recovered("state", 1, 5.0, "ingest"))
    judged.after(55)
    assert judged.told == [("unreachable", "began", "t0")]


def test_failed_files_are_gathered_and_told_once(alerts: Alerts) -> None:
    """Those of a minute in one message, the first few by name; told again by a restart or not, each once."""
    judged = Judged(alerts)
    for n in range(7):
        judged.after(1, FileProblem(f"f{n} is broken", name=f"f{n}", status="broken"))
    judged.hear(FileProblem("f0 is broken", name="f0", status="broken"))
    judged.hear(FileProblem("empty has no rows", name="empty", status="done"))
    judged.after(60)
    (alert,) = judged.alerts
    assert (alert.title, alert.kind, alert.since) == ("7 source files failed", "began", "t1")
    assert alert.facts == (*(f"f{n} is broken" for n in range(5)), "and 2 more")
    judged.hear(FileProblem("f0 is broken", name="f0", status="broken"))
    judged.after(100)
    judged.hear(FileFinished("f0", 10), FileFinished("good", 10))
    judged.after(60)
    assert [(a.kind, a.subjects) for a in judged.alerts[1:]] == [("ended", ("f0",))]
    assert judged.alerts[1].title == "1 source file that had failed was read after all"


def test_a_file_that_is_mended_at_once_is_not_told(alerts: Alerts) -> None:
    """When it failed and was read within one digest, nobody needs to know."""
    judged = Judged(alerts)
    judged.hear(FileProblem("a is refused", name="a", status="refused"), FileFinished("a", 10))
    judged.after(100)
    assert judged.told == []


def test_detections_are_told_in_digests(alerts: Alerts) -> None:
    """How many of each pattern that is asked for, and the first few with their numbers."""
    judged = Judged(alerts, known=Known(Stand(0, 0, BOTH), seq=8))
    judged.hear(processed(0, 0, *(detection("PatId2", f"C{n}") for n in range(7)), detection("PatId3", "C9")))
    judged.after(30, processed(1, 0, detection("PatId1", "C1", 1), detection("PatId2", "C8", 1)))
    assert judged.told == []
    judged.after(30)
    assert [(a.title, a.subjects, a.seq) for a in judged.alerts] == [
        ("1 detection of PatId1", ("PatId1",), 18),
        ("8 detections of PatId2", ("PatId2",), 18),
    ]
    assert judged.alerts[0].facts == ("16: customer C1, chunk 1",)
    assert judged.alerts[1].facts[0] == "8: customer C0, chunk 0"
    assert judged.alerts[1].facts[-1] == "and 3 more"
    judged.after(100, Landed(5, 10), processed(5))
    assert len(judged.alerts) == 2


def test_the_end_of_a_run_tells_what_was_being_gathered(alerts: Alerts) -> None:
    """Nobody waits for a digest that is not full."""
    judged = Judged(alerts)
    judged.hear(processed(0, 0, detection("PatId1", "C1")), FileProblem("a is broken", name="a", status="broken"))
    judged.finish()
    assert [rule for rule, *_ in judged.told] == ["file_failed", "detections"]


def test_a_restart_knows_what_was_told(alerts: Alerts) -> None:
    """Conditions that were told and last are not told again, and their end is."""
    open_then = {
        "lag": {"": "noon"},
        "unreachable": {"landing": "noon", "quarantine": "noon"},
        "file_failed": {"a": "noon"},
        "quarantine_share": {"": "noon"},
        "no_new_chunk": {"": "noon"},
    }
    judged = Judged(alerts, known=Known(Stand(90, 10, BOTH, open_then), seq=1))  # type: ignore[arg-type]
    judged.hear(Known(Stand(90, 10, BOTH), seq=1))  # the second mechanism
    judged.hear(Retried("down", place="landing"), FileProblem("a is broken", name="a", status="broken"))
    judged.hear(processed(10, 50))
    judged.after(59)
    assert judged.told == []
    judged.after(1)
    judged.after(UNSURE_SECONDS)
    assert judged.told == [("unreachable", "ended", "noon")]
    assert judged.alerts[0].subjects == ("quarantine",)
    judged.hear(Landed(90, 10))
    judged.hear(Recovered("landing", 3, 9.0), FileFinished("a", 5), *(processed(n) for n in range(11, 91)))
    judged.after(60)
    assert {(rule, kind) for rule, kind, _ in judged.told[1:]} == {
        ("no_new_chunk", "ended"),
        ("unreachable", "ended"),
        ("file_failed", "ended"),
        ("quarantine_share", "ended"),
        ("lag", "ended"),
    }


def test_detections_that_an_earlier_run_left_untold_are_told(alerts: Alerts) -> None:
    """With those found now, in one digest; only of patterns that are asked for."""
    untold = {"PatId1": Found(2, ("3: customer C3, chunk 0", "4: customer C4, chunk 0")), "PatId3": Found(1, ("x",))}
    judged = Judged(alerts, known=Known(Stand(0, 0, BOTH), 5, untold))
    judged.hear(processed(0, 0, detection("PatId1", "C5")))
    judged.after(60)
    (alert,) = judged.alerts
    assert alert.title == "3 detections of PatId1"
    assert alert.facts[-1] == "5: customer C5, chunk 0"


def test_detections_are_noted_as_told_when_somebody_has_them(alerts: Alerts) -> None:
    """Until each alert of a digest got somewhere, the state does not say that they are told."""
    judge = Judge(alerts, "detect", once=False, now=Moment(0, ""))
    judge.hear(Known(Stand(0, 0, BOTH), seq=1), Moment(0, ""))
    assert (judge.told_up_to(), judge.told_up_to()) == (1, None)
    judge.hear(processed(0, 0, detection("PatId1", "C1"), detection("PatId2", "C1")), Moment(1, ""))
    assert judge.told_up_to() is None
    one, two = judge.tick(Moment(61, ""))
    judge.told(one)
    assert judge.told_up_to() is None
    judge.told(two)
    assert judge.told_up_to() == 3


@pytest.mark.parametrize(
    ("scope", "at_work", "expected"),
    [
        ("run", BOTH, {"lag", "no_new_chunk"}),
        ("ingest", BOTH, {"lag"}),
        ("detect", BOTH, {"no_new_chunk"}),
        ("ingest", {"ingest"}, {"lag", "no_new_chunk"}),
        ("detect", {"detect"}, {"lag", "no_new_chunk"}),
    ],
)
def test_who_judges_what(alerts: Alerts, scope: Scope, at_work: set[str], expected: set[str]) -> None:
    """Of two processes each judges what the other brings; one that is alone judges both."""
    judged = Judged(alerts, scope, known=Known(Stand(60, 0, BOTH), seq=1))
    judged.after(599, Stand(60, 0, frozenset(at_work)))  # type: ignore[arg-type]
    judged.after(1, Stand(60, 0, frozenset(at_work)))  # type: ignore[arg-type]
    assert {rule for rule, *_ in judged.told} == expected


@pytest.mark.parametrize("scope", ["run", "detect"])
def test_silence_is_over_with_the_next_chunk_wherever_it_is_judged(alerts: Alerts, scope: Scope) -> None:
    """Also when it was told by an earlier run, and not before a chunk came."""
    told = {"no_new_chunk": {"": "noon"}}
    judged = Judged(alerts, scope, known=Known(Stand(5, 5, BOTH, told), seq=1))  # type: ignore[arg-type]
    judged.after(300, Stand(5, 5, BOTH, told))  # type: ignore[arg-type]
    assert judged.told == []
    judged.after(1, Stand(6, 5, BOTH, told))  # type: ignore[arg-type]
    judged.after(60, Stand(6, 6, BOTH, told))  # type: ignore[arg-type]
    assert judged.told == [("no_new_chunk", "ended", "noon")]
    judged.after(600, Stand(6, 6, BOTH))
    assert judged.told[1:] == [("no_new_chunk", "began", "t301")]


def test_who_takes_over_goes_on_with_what_was_told(alerts: Alerts) -> None:
    """Detect tells the lag when ingest dies; when that comes back, it does not tell it again, and tells its end."""
    told = {"lag": {"": "noon"}}
    detect = Judged(alerts, "detect", known=Known(Stand(60, 0, BOTH, told), seq=1))  # type: ignore[arg-type]
    detect.after(1, Stand(60, 0, frozenset({"detect"}), told))  # type: ignore[arg-type]
    assert detect.told == []
    detect.after(1, Stand(60, 60, frozenset({"detect"}), told))  # type: ignore[arg-type]
    detect.after(60)
    assert detect.told == [("lag", "ended", "noon")]
    detect.after(1, Stand(160, 60, BOTH))
    assert len(detect.told) == 1


def test_a_run_that_works_off_what_is_there_has_no_lag_and_no_silence(alerts: Alerts) -> None:
    """All else is told."""
    judged = Judged(alerts, once=True)
    judged.after(1000, Landed(99, 10), processed(0, 50))
    assert [rule for rule, *_ in judged.told] == ["quarantine_share"]


def test_nothing_is_told_that_no_rule_is_for() -> None:
    """Without rules nothing is."""
    judged = Judged(Alerts())
    judged.hear(Landed(99, 10), processed(0, 100, detection("PatId1", "C")), Retried("x", place="state"))
    judged.hear(FileProblem("a is broken", name="a", status="broken"))
    judged.after(10_000)
    judged.finish()
    assert judged.told == []
