"""`check` and `status` on places: what each is for, and what can be known of it without asking a cloud."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tillwatch.check import Report, check
from tillwatch.cli.app import app
from tillwatch.pipeline import Pipeline
from tillwatch.status import OutputStatus, status

CONFIG = """\
source: ./in.csv
patterns: [Seen.yaml]
landing: ./landing
quarantine: ./quarantine
state: ./state.db
detections: {uri: ./out, rows: 2}
"""
PATTERN = "id: Seen\naction: LOOK\nper: customer\nwhen: transactions >= 1\n"
HOOK = "  hook: {format: webhook, uri: 'https://bank.example/hooks/told-to-nobody', secret_env: HOOK_SECRET}\n"

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Writes a pipeline of five detections, with lines replaced and added; nothing listens where S3 would be."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("HOOK_SECRET", "planted-secret")
    (tmp_path / "in.csv").write_text("customer,merchant,amount\n" + "".join(f"C{n},M,1\n" for n in range(5)), "utf-8")
    (tmp_path / "Seen.yaml").write_text(PATTERN, "utf-8")

    def made(more: str = "", **lines: str) -> Path:
        kept = [line for line in CONFIG.splitlines() if line.partition(":")[0] not in lines]
        text = "\n".join([*kept, *(f"{key}: {value}" for key, value in lines.items()), more])
        (tmp_path / "tillwatch.yaml").write_text(text, "utf-8")
        return tmp_path / "tillwatch.yaml"

    return made


def checked(config: Path) -> Report:
    """What `check` finds."""
    return check(Pipeline.open(config))


def test_every_place_has_a_line(make: Make, tmp_path: Path) -> None:
    """Layout, outputs and reports are in the plan; of an address only the host is shown."""
    more = "outputs:\n  lines: {format: jsonl, uri: ./lines}\n" + HOOK + "reports: ./reports\n"
    report = checked(make(more, landing="{uri: ./landing, layout: dated}"))
    assert report.problems == ()
    assert [line for line in report.lines if line.split()[0] in ("landing", "output", "reports")] == [
        f"landing     {tmp_path}/landing, parquet, layout dated",
        f"output      lines: jsonl, {tmp_path}/lines",
        "output      hook: webhook, https://bank.example",
        f"reports     {tmp_path}/reports",
    ]


def test_a_cloud_is_not_asked(make: Make) -> None:
    """Where nothing listens there is no problem yet, but it is said which places were not asked."""
    more = "outputs:\n  lake: {format: parquet, uri: 's3://bucket/lake'}\n"
    report = checked(make(more, landing="s3://bucket/landing", detections="s3://bucket/out"))
    assert report.problems == ()
    assert "            not asked now, but tried first thing in a run: landing, detections" in report.lines
    assert "            not asked now, but when a run writes there: outputs.lake" in report.lines


def test_no_files_of_their_own(make: Make) -> None:
    """With format none the place of detections is not shown, and no matter what is there."""
    make().with_name("out").write_text("a file")
    config = make("outputs:\n  lines: {format: jsonl, uri: ./lines}\n", detections="{format: none, uri: ./elsewhere}")
    report = checked(config)
    assert report.problems == ()
    assert any(line.startswith("detections  no files of their own: 50 per file") for line in report.lines)


@pytest.mark.parametrize(
    ("lines", "more", "problem"),
    [
        ({"landing": "s3://bucket/a", "detections": "s3://bucket/a/"}, "", "detections: s3://bucket/a is the place of"),
        (
            {},
            "outputs:\n  lines: {format: jsonl, uri: ./landing}\n",
            "outputs.lines: {0}/landing is the place of landing",
        ),
        ({}, "reports: ./quarantine\n", "reports: {0}/quarantine is the place of quarantine too"),
        ({}, "outputs:\n  table: {format: delta, uri: ./Seen.yaml}\n", "outputs.table: {0}/Seen.yaml is a file"),
        (
            {},
            "outputs:\n  table: {format: delta, uri: ./landing}\n",
            "outputs.table: {0}/landing is the place of landing",
        ),
        ({}, "reports: ./landing/reports\n", "reports: {0}/landing/reports is in the place of landing; give each"),
        ({"landing": "./out/in"}, "", "landing: {0}/out/in is in the place of detections; give each its own"),
        ({"landing": "s3://b/all/new", "quarantine": "s3://b/all"}, "", "landing: s3://b/all/new is in the place of"),
        ({}, "outputs:\n" + HOOK.replace("HOOK_SECRET", "NO_SUCH"), "outputs.hook: the environment variable NO_SUCH"),
        (
            {},
            "outputs:\n" + HOOK.replace("HOOK_SECRET", "whsec_hunter2"),
            "outputs.hook: the environment variable that secret_env names holds no secret",
        ),
        ({"state": "postgresql://127.0.0.1:1/x"}, "", "state postgresql://127.0.0.1:1/x: connection failed"),
    ],
    ids=[
        "one bucket",
        "output in landing",
        "reports in quarantine",
        "Delta on a file",
        "Delta in landing",
        "reports below landing",
        "landing below detections",
        "below in a bucket",
        "no secret",
        "secret for a name",
        "no database",
    ],
)
def test_places_that_cannot_work(lines: dict[str, str], more: str, problem: str, make: Make, tmp_path: Path) -> None:
    """Told before a run: a place for two uses, a file where a folder is needed, a secret or a database not there."""
    (found,) = checked(make(more, **lines)).problems
    assert found.startswith(problem.format(tmp_path))


def test_a_source_is_not_read_from_what_a_run_writes(make: Make, tmp_path: Path) -> None:
    """A place in the folder of the source is refused by `check` and by a run, before anything; a hidden one is not."""
    config = make(source="./")
    told = [
        f"{name}: {tmp_path}/{name} is in the place of source; give each its own" for name in ("landing", "quarantine")
    ]
    told.append(f"detections: {tmp_path}/out is in the place of source; give each its own")
    told.append(f"backtests: {tmp_path}/tillwatch-data/backtests is in the place of source; give each its own")
    assert list(checked(config).problems) == told
    done = CliRunner().invoke(app, ["run", "--once", "-c", str(config)])
    assert (done.exit_code, done.stderr.splitlines()) == (2, [f"tillwatch: {told[0]}", *told[1:]])
    assert not (tmp_path / "state.db").exists()
    hidden = {"landing": ".till/landing", "quarantine": ".till/quarantine", "detections": ".till/out"}
    hidden["backtests"] = ".till/backtests"
    assert checked(make(source="./", **hidden)).ok


@pytest.mark.parametrize(
    ("command", "code"),
    [("check", 2), ("run --once", 1), ("ingest --once", 1), ("detect --once", 1), ("compact", 1), ("quality", 1)],
)
def test_another_layout_is_told(command: str, code: int, make: Make) -> None:
    """Once chunks are landed, everything that looks for them says which layout they have."""
    config = make()
    Pipeline.open(config).run(once=True)
    other = ["-c", str(config), "--set", "landing.layout=dated"]
    done = CliRunner().invoke(app, [*command.split(), *other])
    assert done.exit_code == code
    assert "has chunks in the layout 'flat', and the configuration says 'dated'. Set landing.layout to" in done.stderr


def test_status_tells_of_outputs_and_places(make: Make, tmp_path: Path) -> None:
    """What each output lacks: all three files when it is new, none after the next run."""
    Pipeline.open(make()).run(once=True)
    config = make("outputs:\n  lines: {format: jsonl, uri: ./lines}\nreports: ./reports\n")
    now = status(Pipeline.open(config))
    assert now.outputs == {"lines": OutputStatus("jsonl", str(tmp_path / "lines"), 3)}
    assert (now.files_published, now.files_waiting, now.layout) == (3, 0, "flat")
    names = {"landing": "landing", "quarantine": "quarantine", "state": "state.db", "detections": "out"}
    assert now.places == {k: str(tmp_path / v) for k, v in names.items()} | {"reports": str(tmp_path / "reports")}
    Pipeline.open(config).run(once=True)
    assert status(Pipeline.open(config)).outputs["lines"].undelivered == 0


def test_status_shows_outputs_to_people_and_programs(make: Make, tmp_path: Path) -> None:
    """A line for each output, and the same in JSON."""
    Pipeline.open(make()).run(once=True)
    config = make("outputs:\n  lines: {format: jsonl, uri: ./lines}\n")
    text = CliRunner().invoke(app, ["status", "-c", str(config)]).stdout
    assert f"output      lines: jsonl, {tmp_path}/lines, 3 files to be delivered" in text
    Pipeline.open(config).run(once=True)
    assert "/lines, all delivered\n" in CliRunner().invoke(app, ["status", "-c", str(config)]).stdout
    found = json.loads(CliRunner().invoke(app, ["status", "-c", str(config), "--format", "json"]).stdout)
    assert found["outputs"] == {"lines": {"format": "jsonl", "place": f"{tmp_path}/lines", "undelivered": 0}}


def test_without_files_none_waits(make: Make) -> None:
    """Files that are planned for outputs only are not said to be waiting."""
    config = make("outputs:\n  lines: {format: jsonl, uri: ./lines}\n", detections="{format: none, rows: 2}")
    Pipeline.open(config).run(once=True)
    now = status(Pipeline.open(config))
    assert (now.files_published, now.files_waiting, now.unplanned) == (0, 0, 0)
    assert "detections" not in now.places
