"""Which alerts there are to be told: events and the time go in, alerts come out. Nothing is read, nothing is sent.

Who judges what, when ingest and detect are two processes:

- ingest: files that failed, the lag.
- detect: chunks that do not come, the share of the quarantine, detections.
- each: what it cannot reach itself; the two may be on two machines.

So each looks at what the other brings, and one that died is told by the other. When the other is not at work, the one
that is judges both, the lag and the chunks that do not come. A run that works off what is there judges neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tillwatch.alerts.alert import Alert, Known, Moment, RuleName, Scope, Stand
from tillwatch.alerts.condition import Conditions
from tillwatch.alerts.digests import FailedFiles, Finds
from tillwatch.alerts.share import Share
from tillwatch.alerts.trouble import Troubles
from tillwatch.alerts.words import lasting, many, percent
from tillwatch.config.alerts import Alerts
from tillwatch.events import Event, FileFinished, FileProblem, Landed, Processed, Recovered, Retried
from tillwatch.state.base import Mechanism

UNSURE_SECONDS = 60.0
"""For so long a place that an earlier run could not reach is not taken to be reachable for want of bad news."""

NOTED: tuple[RuleName, ...] = ("file_failed", "no_new_chunk", "lag", "quarantine_share", "unreachable")
"""The rules with conditions: those that were told are noted in the state."""

_OTHER: Mapping[Scope, Mechanism] = {"ingest": "detect", "detect": "ingest"}
_OTHERS_RULE: Mapping[Scope, RuleName] = {"ingest": "no_new_chunk", "detect": "lag"}


class Judge:
    """The rules of one process. Every call is given the time, and returns what is to be told."""

    def __init__(self, alerts: Alerts, scope: Scope, *, once: bool, now: Moment) -> None:
        self._alerts, self._scope, self._once = alerts, scope, once
        self._files = FailedFiles(float(alerts.digest))
        self._finds = Finds(tuple(alerts.detections), float(alerts.digest))
        self._troubles = Troubles()
        self._share = Share(alerts.quarantine_share.chunks if alerts.quarantine_share else 1)
        self._conditions = {rule: Conditions(float(alerts.settle)) for rule in NOTED}
        self._conditions["file_failed"] = self._files.conditions
        self._stand: Stand | None = None
        self._silent_before = False
        self._landed_at, self._unsure = now, dict[str, float]()
        self._noted_seq: int | None = None

    def hear(self, event: Event | Known | Stand, now: Moment) -> list[Alert]:
        """Takes in what happened."""
        match event:
            case Known():
                self._begin(event, now)
            case Stand():
                self._stands(event, now)
            case Landed(chunk=chunk):
                self._moved(now, landed=chunk + 1)
            case Processed(last=last):
                self._moved(now, processed=last + 1)
                self._share.add(event)
                self._finds.add(event, now)
            case FileProblem() if self._alerts.file_failed:
                self._files.failed(event, now)
            case FileFinished(name=name) if self._alerts.file_failed:
                self._files.mended(name, now)
            case Retried():
                self._unsure.pop(event.place, None)
                self._troubles.failed(event, now)
            case Recovered():
                self._unsure.pop(event.place, None)
                self._troubles.worked(event)
        return self.tick(now)

    def tick(self, now: Moment, *, last: bool = False) -> list[Alert]:
        """What the time alone brings about; at the `last` one, what is being gathered is told too."""
        return [
            *self._judge_lag(now),
            *self._judge_silence(now),
            *self._judge_share(now),
            *self._judge_places(now),
            *self._files.tell(now, last=last),
            *self._finds.tell(now, last=last),
        ]

    def told(self, alert: Alert) -> dict[RuleName, Mapping[str, str]]:
        """An alert has reached somebody. Returns what is to be noted: the conditions that are told, by rule."""
        if alert.rule == "detections":
            self._finds.told(alert)
            return {}
        conditions = self._conditions[alert.rule]
        conditions.told(alert)
        return {alert.rule: dict(conditions.noted)}

    def told_up_to(self) -> int | None:
        """The seq up to which detections are told, when it is another one than at the last call."""
        seq = self._finds.noted
        if seq is None or seq == self._noted_seq or not self._alerts.detections:
            return None
        self._noted_seq = seq
        return seq

    # what happened

    def _begin(self, known: Known, now: Moment) -> None:
        """A mechanism begins, with what is known of earlier runs; the second one of a run only adds to it."""
        if self._stand is None:
            for rule in NOTED:
                self._conditions[rule].adopt(known.stand.open.get(rule, {}))
            self._unsure = dict.fromkeys(self._conditions["unreachable"].open, now.seconds + UNSURE_SECONDS)
            self._stand, self._landed_at = known.stand, now
            self._silent_before = bool(self._conditions["no_new_chunk"].open)
        if known.seq is not None:
            self._finds.begin(known, now)

    def _stands(self, stand: Stand, now: Moment) -> None:
        if self._stand is None:
            return
        if self._scope == "run":
            self._moved(now, stand.landed, stand.processed)
            return
        if stand.landed > self._stand.landed:
            self._landed_at, self._silent_before = now, False
        self._stand = stand
        rule = _OTHERS_RULE.get(self._scope)
        if rule and not self._stands_in:
            self._conditions[rule].adopt(stand.open.get(rule, {}))
            if rule == "no_new_chunk":
                self._silent_before = bool(self._conditions[rule].open)

    def _moved(self, now: Moment, landed: int = 0, processed: int = 0) -> None:
        """Chunks moved in this process. What the other one does is only seen with a stand, so both wait for that."""
        if (stand := self._stand) is not None and self._scope == "run":
            if landed > stand.landed:
                self._landed_at, self._silent_before = now, False
            landed, processed = max(landed, stand.landed), max(processed, stand.processed)
            self._stand = Stand(landed, processed, stand.at_work, stand.open)

    # who judges

    @property
    def _stands_in(self) -> bool:
        """Whether the other mechanism is not at work, so that its rule is judged here too."""
        return self._stand is not None and _OTHER.get(self._scope) not in self._stand.at_work

    def _judges(self, rule: RuleName) -> bool:
        if self._once or self._stand is None:
            return False
        return _OTHERS_RULE.get(self._scope) != rule or self._stands_in

    # rules

    def _judge_lag(self, now: Moment) -> Iterator[Alert]:
        rule, stand = self._alerts.lag, self._stand
        if rule is None or stand is None or not self._judges("lag"):
            return
        behind = max(0, stand.landed - stand.processed)
        if turn := self._conditions["lag"].see("", behind > rule.limit, now.wall, now):
            over = f", over {int(rule.limit):,}" if turn.kind == "began" else ": no longer too far"
            title = f"detection is {many(behind, 'chunk')} behind{over}"
            yield Alert("lag", turn.kind, title, turn.since, now.wall, facts=_of_stand(stand))

    def _judge_silence(self, now: Moment) -> Iterator[Alert]:
        rule, stand = self._alerts.no_new_chunk, self._stand
        if rule is None or stand is None or not self._judges("no_new_chunk"):
            return
        silent = self._silent_before or now.seconds - self._landed_at.seconds >= rule.limit
        if turn := self._conditions["no_new_chunk"].see("", silent, self._landed_at.wall, now):
            title = f"no new chunk for {lasting(rule.limit)}" if turn.kind == "began" else "chunks are landed again"
            yield Alert("no_new_chunk", turn.kind, title, turn.since, now.wall, facts=_of_stand(stand))

    def _judge_share(self, now: Moment) -> Iterator[Alert]:
        rule, share = self._alerts.quarantine_share, self._share
        if rule is None or not share.chunks:
            return
        if turn := self._conditions["quarantine_share"].see("", share.exceeds(rule.limit), now.wall, now):
            over = f", over {rule.limit.normalize():f}%" if turn.kind == "began" else ": no longer too many"
            title = f"{percent(share.quarantined, share.rows)} of the rows are quarantined{over}"
            rows = f"{many(share.quarantined, 'row')} of {share.rows:,} in the last {many(share.chunks, 'chunk')}"
            yield Alert("quarantine_share", turn.kind, title, turn.since, now.wall, facts=(rows,))

    def _judge_places(self, now: Moment) -> Iterator[Alert]:
        if (rule := self._alerts.unreachable) is None:
            return
        conditions, troubles = self._conditions["unreachable"], self._troubles.by_place()
        for place in sorted({*troubles, *conditions.open}):
            trouble = troubles.get(place)
            if trouble is None and now.seconds < self._unsure.get(place, now.seconds):
                continue
            since = trouble.since if trouble else now
            holds = trouble is not None and (place in conditions.open or now.seconds - since.seconds >= rule.limit)
            if turn := conditions.see(place, holds, since.wall, now):
                title = f"{place} cannot be reached" if turn.kind == "began" else f"{place} can be reached again"
                facts = (trouble.text,) if trouble else ()
                yield Alert("unreachable", turn.kind, title, turn.since, now.wall, (place,), facts)


def _of_stand(stand: Stand) -> tuple[str, ...]:
    who = ", ".join(sorted(stand.at_work)) or "neither ingest nor detect"
    return f"{many(stand.landed, 'chunk')} landed, {stand.processed:,} processed", f"at work: {who}"
