"""What is remembered of alerts in the state: which conditions are told and not over, which detections are told."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tillwatch.alerts.alert import Found, Known, RuleName, Scope, Stand
from tillwatch.alerts.digests import SHOWN
from tillwatch.alerts.judge import NOTED
from tillwatch.alerts.words import of_detection
from tillwatch.state.base import Mechanism, State

DETECTIONS = "alerts.detections"
"""The fact of the state that says up to which seq detections are told."""

UNTOLD = 10_000
"""So many detections of earlier runs are looked at, to be told after all."""


def note_of(rule: RuleName, scope: Scope) -> str:
    """The fact of the state that holds the open conditions of a rule; what is reachable is so from one process."""
    return f"alerts.{rule}.{scope}" if rule == "unreachable" else f"alerts.{rule}"


def stand(state: State, scope: Scope) -> Stand:
    """How things stand."""
    processed = state.cursor().chunk
    mechanisms: tuple[Mechanism, ...] = ("ingest", "detect")
    at_work = frozenset(mechanism for mechanism in mechanisms if state.at_work(mechanism))
    known: dict[RuleName, Mapping[str, str]] = {}
    for rule in NOTED:
        known[rule] = json.loads(state.get_meta(note_of(rule, scope)) or "{}")
    return Stand(max(state.landed(), processed), processed, at_work, known)


def known(state: State, scope: Scope, mechanism: Mechanism, patterns: frozenset[str]) -> Known:
    """What the state knows when a mechanism begins; detections of these patterns are told."""
    if mechanism == "ingest" or not patterns:
        return Known(stand(state, scope))
    seq = state.cursor().seq
    first = int(state.get_meta(DETECTIONS) or seq)
    untold: dict[str, Found] = {}
    for stored in state.detections(first, min(seq, first + UNTOLD) - 1):
        pattern = stored.detection.pattern
        if pattern in patterns:
            untold[pattern] = untold.get(pattern, Found()).and_then(of_detection(stored.seq, stored.detection), SHOWN)
    return Known(stand(state, scope), seq, untold)


def noted(rule: RuleName, scope: Scope, conditions: Mapping[str, str]) -> dict[str, str]:
    """The fact to be kept of the conditions of a rule."""
    return {note_of(rule, scope): json.dumps(conditions, ensure_ascii=False)}
