"""What comes with tillwatch for Prometheus and Grafana: rules and panels ask for metrics and labels that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tillwatch import events
from tillwatch.errors import StateError
from tillwatch.events import Event
from tillwatch.observe import metrics
from tillwatch.observe.metrics import Metrics
from tillwatch.pipeline import Pipeline

HERE = Path(__file__).parents[2] / "observability"
PROMTOOL = shutil.which("promtool")
HAPPENINGS: tuple[Event, ...] = (
    events.RunBegan("a" * 32, "ingest"),
    events.Landed(0, 10, 100, 0.1),
    events.Processed(0, 0, 8, 2, {"P": 1}, 0, {"late": 2}),
    events.Published("f", "detections", 1, 1, (0,)),
    events.Delivered("bank", "f", 1, 1),
    events.Retried("x", "landing"),
)
NAME = re.compile(r"\btillwatch_[a-z_]+")
SELECTOR = re.compile(r"\b(tillwatch_[a-z_]+)\{([^}]*)\}")
TARGET = {"job", "instance", "le"}
"""Labels that Prometheus adds itself."""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of every metric that a run gives."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "t.csv").write_text("step,customer,age,gender,zipcodeOri,merchant,zipMerchant,category,amount,fraud\n")
    (folder / "tillwatch.yaml").write_text("source: ./t.csv\npatterns: [PatId2]\n")
    pipeline = Pipeline.open(folder / "tillwatch.yaml")
    with pipeline.opened():
        pass
    counted = Metrics(lambda: pipeline.opened(readonly=True), ["P"])
    for event in HAPPENINGS:
        counted(event)
    from prometheus_client import generate_latest

    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(counted.registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def rules() -> list[dict[str, Any]]:
    """All rules."""
    groups = yaml.safe_load((HERE / "alerts.yaml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    found: dict[str, Any] = json.loads((HERE / "grafana.json").read_text("utf-8"))
    return found


def asked() -> Iterator[tuple[str, str]]:
    """Every expression, and where it is."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]


def test_what_is_asked_for_is_given(given: dict[str, set[str]]) -> None:
    """Every metric in a rule or a panel is one that a run gives, with the labels that are selected or summed by."""
    for where, expression in asked():
        names = NAME.findall(expression)
        assert names and set(names) <= given.keys(), where
        labels = TARGET | set().union(*(given[name] for name in names))
        for name, selected in SELECTOR.findall(expression):
            wanted = set(re.findall(r"(\w+)\s*[=!]~?", selected))
            assert wanted <= given[name] | TARGET, f"{where}: {name}"
        for group in re.findall(r"\bby\s*\(([^)]*)\)", expression):
            assert {label.strip() for label in group.split(",")} <= labels, where


def test_every_metric_is_declared(given: dict[str, set[str]]) -> None:
    """What a run gives has a name and a help text in one place."""
    plain = {re.sub(r"_(bucket|count|sum|created)$", "", name).removeprefix("tillwatch_") for name in given}
    assert {name.removesuffix("_total") for name in plain} == {name.removesuffix("_total") for name in metrics.NAMES}


def test_every_rule_says_what_is_the_matter() -> None:
    """A name of its own, a severity, what is wrong, what to do, and a test that it fires and that it does not."""
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert all(rule["annotations"][key].strip() for key in ("summary", "description"))
    tests = yaml.safe_load((HERE / "alerts_test.yaml").read_text("utf-8"))["tests"]
    fired = {t["alertname"] for test in tests for t in test["alert_rule_test"] if t["exp_alerts"]}
    assert fired == set(names)


def test_the_dashboard_is_one() -> None:
    """Panels have ids of their own, do not overlap, are within the 24 columns, and ask the chosen source."""
    found = dashboard()
    panels = found["panels"]
    assert found["schemaVersion"] >= 39 and found["title"] == "tillwatch"
    assert len({p["id"] for p in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert '$job"' in target["expr"], panel["title"]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not on the PATH")
def test_promtool_takes_the_rules_and_their_tests() -> None:
    """Prometheus's own tool finds no mistake, and every rule fires when it should."""
    assert PROMTOOL is not None
    for call in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run([PROMTOOL, *call], cwd=HERE, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not on the PATH")
def test_promtool_takes_the_metrics() -> None:
    """Names and types are as Prometheus recommends them."""
    assert PROMTOOL is not None
    from contextlib import contextmanager

    from prometheus_client import generate_latest

    @contextmanager
    def none() -> Iterator[Any]:
        raise StateError("none")
        yield

    counted = Metrics(none, ["P"])
    for event in HAPPENINGS:
        counted(event)
    text = b"\n".join(
        line for line in generate_latest(counted.registry).splitlines() if b"_created" not in line
    )  # which are Python's, not ours
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text + b"\n", capture_output=True, timeout=60)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
