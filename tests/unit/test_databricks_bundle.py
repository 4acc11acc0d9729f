"""The asset bundle of Databricks: its jobs call what is in the wheel, with what that takes, and hold no secret."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from tillwatch.check import check
from tillwatch.cli.job import STATE, VOLUME, job, main
from tillwatch.config.secrets import holds_secret, is_secret_key
from tillwatch.errors import RunError
from tillwatch.generate import generate
from tillwatch.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "databricks"
FILES = {path.name: yaml.safe_load(path.read_text("utf-8")) for path in sorted(FOLDER.rglob("*.yml"))}
BUNDLE = FILES["databricks.yml"]
RESOURCES: dict[str, dict[str, Any]] = {}
for content in FILES.values():
    for kind, named in content.get("resources", {}).items():
        RESOURCES.setdefault(kind, {}).update(named)
JOBS: Mapping[str, Any] = RESOURCES["jobs"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SECRET = re.compile(r"\{\{secrets/\$\{var\.secret_scope\}/[a-z-]+\}\}")

each_job = pytest.mark.parametrize("name", JOBS)


def texts(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text, with the key that it is the value of."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from texts(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from texts(item, key)
    elif isinstance(value, str):
        yield key, value


def test_both_mechanisms_run_continuously_and_every_minute() -> None:
    """There are four jobs: each mechanism for ever, and each mechanism once a minute."""
    called = {
        (job["tasks"][0]["python_wheel_task"]["parameters"][0], "continuous" in job, "schedule" in job)
        for job in JOBS.values()
    }
    assert called == {(what, endless, not endless) for what in ("ingest", "detect") for endless in (True, False)}


@each_job
def test_a_job_never_runs_twice_at_a_time(name: str) -> None:
    """One run at most; what is endless has no schedule, what is scheduled ends, and does not queue."""
    job = JOBS[name]
    assert job["max_concurrent_runs"] == 1
    (task,) = job["tasks"]
    once = task["python_wheel_task"]["parameters"][-1]
    assert once == ("--once=false" if "continuous" in job else "--once=true")
    assert "continuous" in job or (job["queue"] == {"enabled": False} and job["schedule"]["pause_status"] == "PAUSED")


@each_job
def test_what_a_job_calls_is_in_the_wheel(name: str) -> None:
    """The entry point is one of the package, and takes the parameters; each of them is one of the job."""
    job_parameters = {p["name"] for p in JOBS[name]["parameters"]}
    for task in JOBS[name]["tasks"]:
        wheel = task["python_wheel_task"]
        assert wheel["package_name"] == PROJECT["name"]
        (found,) = entry_points(group="console_scripts", name=wheel["entry_point"])
        assert found.load() is main
        job.make_context("job", list(wheel["parameters"])).close()
        used = set(re.findall(r"\{\{job\.parameters\.(\w+)\}\}", " ".join(wheel["parameters"])))
        assert used == job_parameters
        assert task["libraries"] == "${var.libraries}"


@each_job
def test_every_parameter_of_a_job_is_an_option(name: str) -> None:
    """Databricks hands job parameters to wheel tasks by their names, too: the entry point must know all of them."""
    options = {option for parameter in job.params for option in parameter.opts}
    assert {f"--{p['name']}" for p in JOBS[name]["parameters"]} <= options


def test_what_is_referred_to_is_there() -> None:
    """Variables and resources that are used are declared, and those declared are used."""
    used = {match for _, text in texts(FILES) for match in re.findall(r"\$\{var\.(\w+)\}", text)}
    assert used == set(BUNDLE["variables"])
    for kind, named in {m for _, t in texts(FILES) for m in re.findall(r"\$\{resources\.(\w+)\.(\w+)\.\w+\}", t)}:
        assert named in RESOURCES[kind]


def test_no_secret_is_written_down() -> None:
    """What is secret comes from a scope, and every other text holds none."""
    environment = BUNDLE["variables"]["environment"]["default"]
    assert {name for name in environment if is_secret_key(name)} == {"DATABRICKS_CLIENT_SECRET", "PGPASSWORD"}
    for key, text in texts(FILES):
        assert not is_secret_key(key) or SECRET.fullmatch(text), key
        assert not holds_secret(text), key


def test_clusters_are_dedicated_and_know_the_environment() -> None:
    """Standard access mode knows Spark by Spark Connect only, which the engine cannot use."""
    clusters = [c["new_cluster"] for j in JOBS.values() for c in j.get("job_clusters", ())]
    clusters += RESOURCES["clusters"].values()
    assert len(clusters) == 3
    for cluster in clusters:
        assert cluster["data_security_mode"] == "SINGLE_USER"
        assert cluster["spark_env_vars"] == "${var.environment}"


def test_libraries_are_those_of_the_extras() -> None:
    """A wheel is installed without its extras there: what they need is listed beside it, in the same versions."""
    libraries = BUNDLE["variables"]["libraries"]["default"]
    extras = PROJECT["optional-dependencies"]
    wanted = {*extras["databricks"], *extras["postgres"], *extras["delta"]}
    wanted |= {need for need in extras["spark"] if need.startswith("pyarrow")}
    assert {library["pypi"]["package"] for library in libraries if "pypi" in library} == wanted
    assert [library["whl"] for library in libraries if "whl" in library] == ["../dist/*.whl"]


def test_its_configuration_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` finds nothing wrong with the bundle's pipeline, where the volume is mounted elsewhere."""
    monkeypatch.setenv(VOLUME, "/Volumes/main/tillwatch/live")
    monkeypatch.setenv(STATE, str(tmp_path / "state.db"))
    monkeypatch.setenv("DATABRICKS_HOST", "https://workspace.example")
    data = generate(tmp_path, rows=100, seed=1)
    overrides = [f"source={data.transactions}", f"lookups.importance={data.importance}"]
    report = check(Pipeline.open(FOLDER / "tillwatch.yaml", overrides))
    assert report.problems == ()
    assert "landing     dbfs:/Volumes/main/tillwatch/live/landing, parquet" in report.lines


def test_a_failed_run_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A task fails by an error, not by an exit code, and what was wrong is told as on the command line."""
    arguments = ["tillwatch-job", "ingest", f"--config={tmp_path / 'none.yaml'}", "--catalog=c", "--schema=s"]
    monkeypatch.setattr("sys.argv", [*arguments, "--volume=v", "--state=x", "--once=true"])
    for name in (VOLUME, STATE):
        monkeypatch.setenv(name, "")
    with pytest.raises(RunError, match="tillwatch ingest ended with exit code 2"):
        main()
    assert "there is no such file" in capsys.readouterr().err


def test_wrong_parameters_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parameter that is not known is an error as well."""
    monkeypatch.setattr("sys.argv", ["tillwatch-job", "--nonsense"])
    with pytest.raises(click.UsageError, match="--nonsense"):
        main()


@pytest.mark.parametrize("path", sorted((FOLDER / "notebooks").iterdir()), ids=lambda path: path.name)
def test_notebooks_are_in_the_source_format(path: Path) -> None:
    """Databricks takes a file for a notebook by its first line, and its widgets are the parameters of the jobs."""
    text = path.read_text("utf-8")
    assert text.startswith("# Databricks notebook source\n")
    compile(text, str(path), "exec")
    widgets = set(re.findall(r'dbutils\.widgets\.text\("(\w+)"', text))
    assert widgets == {p["name"] for p in JOBS["ingest"]["parameters"]}
