"""Lookups that change, on Spark: what the embedded engine finds, and the same state; also while a run is at work."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from tillwatch.generate import GeneratedFiles
from tillwatch.pipeline import Event, Notice, Pipeline
from tillwatch.testing.crash import Site

EMBEDDED = "engine=embedded"


def own_lookup(site: Site, data: GeneratedFiles) -> Path:
    """The site's lookup as a file of its own, looked at all the time."""
    weights = site.folder / "importance.csv"
    shutil.copy(data.importance, weights)
    text = site.config.read_text()
    site.config.write_text(text.replace(str(data.importance), "{uri: ./importance.csv, refresh: 0.05}"))
    return weights


def change(weights: Path) -> None:
    """Two thirds of the rows are left, in one go."""
    header, *lines = weights.read_text().splitlines(keepends=True)
    new = weights.with_suffix(".new")
    new.write_text(header + "".join(line for n, line in enumerate(lines) if n % 3))
    new.rename(weights)


@pytest.mark.usefixtures("spark")
def test_a_version_is_taken_by_the_next_run(landed: Site, data: GeneratedFiles, tmp_path: Path) -> None:
    """After eight chunks it is other; audit proves both engines; and either goes on after the other."""
    begun = landed.copy(tmp_path / "begun")
    weights = own_lookup(begun, data)
    assert begun.work("--set", EMBEDDED, "--kill-at", "state.commit.after#4", "detect") == -9
    change(weights)
    here, there = begun.copy(tmp_path / "here"), begun.copy(tmp_path / "there")
    Pipeline.open(here.config, [EMBEDDED]).detect(once=True)
    Pipeline.open(there.config).detect(once=True)
    assert (here.problems(), there.problems()) == ([], [])
    assert here.outcome().differences(there.outcome()) == []
    assert [(name, number, first) for name, number, first, *_ in there.outcome().lookups] == [
        ("importance", 1, 0),
        ("importance", 2, 8),
    ]


@pytest.mark.usefixtures("spark")
def test_a_run_takes_a_version(landed: Site, data: GeneratedFiles, tmp_path: Path) -> None:
    """With a batch; what is found is what audit finds by the versions recorded, and the embedded engine goes on."""
    site = landed.copy(tmp_path / "site")
    weights = own_lookup(site, data)
    landing = Path(site.pipeline.settings.landing.uri)
    away = sorted(landing.glob("*.parquet"))[12:]
    (site.folder / "away").mkdir()
    for chunk in away:
        chunk.rename(site.folder / "away" / chunk.name)
    stop, done, told = threading.Event(), threading.Event(), list[str]()

    def hear(event: Event) -> None:
        told.extend([event.text] if isinstance(event, Notice) else [])
        if getattr(event, "last", None) == 11:
            done.set()

    running = threading.Thread(target=lambda: site.pipeline.detect(stop=stop, observer=hear))
    running.start()
    try:
        assert done.wait(120)
        change(weights)
        for chunk in away[:11]:
            (site.folder / "away" / chunk.name).rename(chunk)
            stop.wait(0.0 if any("importance: version 2" in each for each in told) else 1.5)
    finally:
        stop.set()
        running.join()
    (site.folder / "away" / away[-1].name).rename(away[-1])
    Pipeline.open(site.config, [EMBEDDED]).detect(once=True)
    assert site.problems() == []
    (_, second) = site.outcome().lookups
    assert 12 <= second[2] < 23
