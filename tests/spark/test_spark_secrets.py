"""Secrets among the settings of Spark are not seen: not in files, arguments, pages, texts or plans."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tillwatch.check import check
from tillwatch.errors import ConfigError
from tillwatch.pipeline import Pipeline
from tillwatch.spark.detect import Places
from tillwatch.spark.session import session
from tillwatch.spark.shards import groups_of
from tillwatch.spark.source import chunk_source
from tillwatch.testing.crash import Site
from tillwatch.testing.sparks import SECRET

KEY = "spark.hadoop.fs.s3a.secret.key"


@pytest.mark.parametrize(
    "name",
    [
        KEY,
        "spark.hadoop.fs.azure.account.key.ours.dfs.core.windows.net",
        "spark.ssl.keyPassword",
        "spark.authenticate.secret",
        "spark.executorEnv.PGPASSWORD",
    ],
)
def test_a_secret_in_the_file_is_refused(new: Site, name: str) -> None:
    """It is to come from the environment, as others are."""
    new.config.write_text(new.config.read_text().replace("conf: {", f"conf: {{{name}: {SECRET}, "))
    with pytest.raises(ConfigError, match="a secret must not stand in the configuration") as told:
        new.pipeline  # noqa: B018 - it is opened
    assert SECRET not in str(told.value)


def test_settings_that_are_no_secrets_may_stand_in_the_file(new: Site) -> None:
    """A provider of credentials, a mounted secret by its name and a switch are none."""
    said = (
        "spark.hadoop.fs.s3a.aws.credentials.provider: com.amazonaws.auth.InstanceProfileCredentialsProvider, "
        "spark.kubernetes.executor.secrets.till: /etc/till, spark.security.credentials.hive.enabled: false, "
    )
    new.config.write_text(new.config.read_text().replace("conf: {", f"conf: {{{said}"))
    assert len(new.pipeline.settings.spark.conf) == 5


def test_check_hides_them(new: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan shows the settings of Spark, and *** for what may be a secret by its name or its value."""
    monkeypatch.setenv("OUR_SECRET", SECRET)
    said = f"{KEY}: '${{OUR_SECRET}}', spark.executorEnv.HTTPS_PROXY: 'http://till:${{OUR_SECRET}}@proxy', "
    new.config.write_text(new.config.read_text().replace("conf: {", f"conf: {{{said}"))
    text = "\n".join(check(new.pipeline).lines)
    assert f"{KEY} = ***" in text
    assert "HTTPS_PROXY = http://till:***@proxy" in text
    assert "spark.driver.memory = 768m" in text
    assert SECRET not in text


@pytest.mark.slow
@pytest.mark.usefixtures("spark")
def test_no_process_and_no_page_shows_them(site: Site) -> None:
    """Not in the arguments of a process while Spark is at work, not where Spark lists its settings; it has them."""
    with session(site.pipeline.settings.spark) as spark:
        context = spark.sparkContext
        assert context.getConf().get(KEY) == SECRET
        assert [p for p in Path("/proc").glob("[0-9]*/cmdline") if SECRET.encode() in read(p)] == []
        listed = {row.key: row.value for row in spark.sql("SET").collect()}
        assert listed[KEY] == "*********(redacted)"


def read(file: Path) -> bytes:
    """Its content, nothing when the process has just ended."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


@pytest.mark.slow
@pytest.mark.usefixtures("spark")
def test_a_plan_shows_no_place(site: Site) -> None:
    """What the source is told is not among its options, which Spark shows in plans, pages and event logs."""
    setup = site.pipeline.setup
    plan = Places(site.pipeline.settings).plan(setup, groups_of(setup.program, 2), 0, 0, 2)
    with session(site.pipeline.settings.spark) as spark:
        spark.dataSource.register(chunk_source(plan))
        shown = spark.readStream.format("tillwatch").load()._jdf.queryExecution().toString()
    assert "tillwatch" in shown
    assert str(site.folder) not in shown


@pytest.mark.slow
def test_an_error_of_spark_shows_no_password(site: Site) -> None:
    """What Spark says when it cannot be started is told without what is secret in it."""
    command = [sys.executable, "-m", "tillwatch", "detect", "--once", "-c", str(site.config)]
    told = subprocess.run(
        [*command, "--set", "spark.master=spark://till:${OUR_SECRET}@host"],
        env={**os.environ, "OUR_SECRET": SECRET},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 1
    assert "Spark could not be started" in told.stderr
    assert SECRET not in told.stderr + told.stdout


def test_spark_connect_is_refused(site: Site) -> None:
    """Before anything is started, with the reason."""
    with pytest.raises(ConfigError, match=r"Spark Connect \(sc://\) is not supported"):
        Pipeline.open(site.config, ["spark.master=sc://localhost:15002"]).detect(once=True)
