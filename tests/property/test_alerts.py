"""Whatever happens in whatever order: alerts come in pairs, nothing is told twice, no channel gets too many."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from tillwatch.alerts.alert import Alert, Known, Moment, RuleName, Stand
from tillwatch.alerts.judge import NOTED, Judge
from tillwatch.alerts.message import Message, summary
from tillwatch.alerts.outgoing import DELAYS, HOUR, Outgoing
from tillwatch.alerts.share import Share
from tillwatch.config.alerts import Alerts, Rule
from tillwatch.events import Event, FileFinished, FileProblem, Landed, Processed, Recovered, Retried
from tillwatch.model import Detection

ALERTS = Alerts(
    file_failed=Rule(),
    no_new_chunk=Rule(Decimal(40)),
    lag=Rule(Decimal(3)),
    quarantine_share=Rule(Decimal(5), chunks=3),
    unreachable=Rule(Decimal(20)),
    detections={"P": Rule()},
    settle=Decimal(10),
    digest=Decimal(15),
)
BOTH = frozenset({"ingest", "detect"})
PLACES, FILES = ("state", "landing"), ("a", "b", "c")

waits = st.tuples(st.just("wait"), st.integers(1, 30))
chunks = st.tuples(st.sampled_from(["land", "process"]), st.integers(0, 12))
places = st.tuples(st.sampled_from(["fail", "work"]), st.sampled_from(PLACES))
files = st.tuples(st.sampled_from(["break", "mend"]), st.sampled_from(FILES))
restarts = st.tuples(st.just("restart"), st.just(0))
steps = st.lists(st.one_of(waits, waits, chunks, chunks, places, files, restarts), max_size=80)


class World:
    """A pipeline as a judge hears of it; a restart makes a new judge, which knows what is noted."""

    def __init__(self) -> None:
        self.seconds, self.landed, self.processed, self.seq, self.found = 0, 0, 0, 1, 0
        self.notes: dict[RuleName, dict[str, str]] = {}
        self.told: list[Alert] = []
        self.seq_noted = 1
        self.restart()

    def restart(self) -> None:
        """A new process. What was being gathered by the old one is told by neither; what was told is noted."""
        self.judge = Judge(ALERTS, "run", once=False, now=self.now)
        stand = Stand(self.landed, self.processed, BOTH, {rule: dict(self.notes.get(rule, {})) for rule in NOTED})
        self.hear(Known(stand, self.seq))

    @property
    def now(self) -> Moment:
        """The time."""
        return Moment(float(self.seconds), str(self.seconds))

    def hear(self, event: Event | Known) -> None:
        """Something happens."""
        self.take(self.judge.hear(event, self.now))

    def take(self, alerts: list[Alert]) -> None:
        """Alerts are told at once, and noted as told."""
        for alert in alerts:
            self.told.append(alert)
            for rule, conditions in self.judge.told(alert).items():
                self.notes[rule] = dict(conditions)

    def do(self, what: str, how: int | str) -> None:
        """One step."""
        match what, how:
            case "wait", int(seconds):
                self.seconds += seconds
                self.take(self.judge.tick(self.now))
            case "land", int():
                self.landed += 1
                self.hear(Landed(self.landed - 1, 100))
            case "process", int(bad):
                if self.processed < self.landed:
                    self.process(bad)
            case "fail", str(place):
                self.hear(Retried("no", place=place))
            case "work", str(place):
                self.hear(Recovered(place, 1, 1.0))
            case "break", str(name):
                self.hear(FileProblem(f"{name} is broken", name=name))
            case "mend", str(name):
                self.hear(FileFinished(name, 1))
            case "restart", _:
                self.restart()

    def process(self, bad: int) -> None:
        """A chunk, in which as many rows are bad as detections are found."""
        found = tuple(Detection(self.processed, "P", "ACT", {"customer": f"C{n}"}, {}) for n in range(bad))
        self.processed, self.seq, self.found = self.processed + 1, self.seq + bad, self.found + bad
        self.hear(Processed(self.processed - 1, self.processed - 1, 100 - bad, bad, {}, found=found))


@settings(max_examples=150, deadline=None)
@given(steps)
def test_each_condition_begins_and_ends_in_turn(happens: list[tuple[str, int | str]]) -> None:
    """No alert without its end before the next one, no end without its alert; also across restarts."""
    world = World()
    for step in happens:
        world.do(*step)
    last: dict[tuple[str, str], str] = {}
    for alert in world.told:
        for subject in alert.subjects if alert.rule != "detections" else ():
            expected = "ended" if last.get((alert.rule, subject)) == "began" else "began"
            assert alert.kind == expected, (alert, world.told)
            last[alert.rule, subject] = alert.kind


@settings(max_examples=100, deadline=None)
@given(steps)
def test_when_all_is_well_everything_ends(happens: list[tuple[str, int | str]]) -> None:
    """Once files are read, places answer, chunks come and are good, nothing stays open, nor is it noted as open."""
    world = World()
    for step in happens:
        world.do(*step)
    for name in FILES:
        world.do("mend", name)
    for place in PLACES:
        world.do("work", place)
    for _ in range(12):
        while world.processed < world.landed:
            world.do("process", 0)
        world.do("land", 0)
        world.do("process", 0)
        world.do("wait", 15)
    kinds = Counter((a.rule, a.kind, s) for a in world.told for s in a.subjects if a.rule != "detections")
    assert all(kinds[rule, "ended", subject] == count for (rule, kind, subject), count in kinds.items())
    assert not any(world.notes.values())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(waits, chunks), max_size=60))
def test_every_detection_is_counted_in_one_digest(happens: list[tuple[str, int | str]]) -> None:
    """Whenever digests are told, they add up to what was found."""
    world = World()
    for step in happens:
        world.do(*step)
    world.take(world.judge.tick(world.now, last=True))
    digests = [alert for alert in world.told if alert.rule == "detections"]
    assert sum(int(alert.title.split()[0].replace(",", "")) for alert in digests) == world.found
    assert all(len(alert.facts) <= 6 for alert in digests)
    assert world.judge.told_up_to() == world.seq


@given(st.integers(1, 6), st.lists(st.tuples(st.integers(1, 4), st.integers(0, 50)), min_size=1, max_size=30))
def test_the_share_is_that_of_the_last_chunks(chunks: int, commits: list[tuple[int, int]]) -> None:
    """It is over the fewest last commits that have so many chunks."""
    share = Share(chunks)
    for size, bad in commits:
        share.add(Processed(0, size - 1, 50 - bad, bad, {}))
    count = next((n for n in range(1, len(commits)) if sum(size for size, _ in commits[-n:]) >= chunks), len(commits))
    assert (share.rows, share.quarantined) == (50 * count, sum(bad for _, bad in commits[-count:]))


ALERT = Alert("lag", "began", "behind", "", "")
moves = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(1, 40)),
        st.tuples(st.just("wait"), st.integers(1, 3000)),
        st.tuples(st.just("down"), st.integers(1, 4)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 5), moves)
def test_no_channel_gets_more_than_it_may_and_nothing_is_lost(per_hour: int, happens: list[tuple[str, int]]) -> None:
    """In any hour at most so many are sent; each message is sent, summed up, dropped and counted, or waits."""
    outgoing = Outgoing(per_hour, lambda titles: summary("x", titles))
    now, offered, down = 0.0, 0, 0
    sent: list[tuple[float, int]] = []

    def work() -> None:
        nonlocal down
        while (item := outgoing.next(now)) is not None:
            if down:
                down -= 1
                outgoing.failed(now)
            else:
                sent.append((now, item.count))
                outgoing.sent(now)

    for what, count in happens:
        if what == "offer":
            for _ in range(count):
                offered += 1
                outgoing.offer(Message(f"m{offered}", "", "told"), ALERT)
        elif what == "wait":
            now += count
        else:
            down = count
        work()
        pause = outgoing.pause(now)
        assert (pause is None) == (len(outgoing) == 0)
        assert pause is None or pause > 0
    for index, (at, _) in enumerate(sent):
        assert sum(at <= later < at + HOUR for later, _ in sent[index:]) <= per_hour
        assert sum(count for _, count in sent) + len(outgoing) + outgoing.dropped == offered


def test_a_message_is_given_up_after_an_hour_or_so() -> None:
    """It is tried again after longer and longer, then counted as dropped; the next one has its turn."""
    outgoing, now, tries = Outgoing(20, lambda titles: summary("x", titles)), 0.0, 0
    outgoing.offer(Message("one", "", "began"), ALERT)
    outgoing.offer(Message("two", "", "ended"), ALERT)
    while True:
        item = outgoing.next(now)
        assert item is not None and item.message.title == "one"
        tries += 1
        if outgoing.failed(now):
            break
        assert outgoing.next(now) is None
        now += outgoing.pause(now) or 0
    assert (tries, outgoing.dropped, now) == (len(DELAYS) + 1, 1, sum(DELAYS))
    following = outgoing.next(now)
    assert following is not None and following.message.title == "two"
