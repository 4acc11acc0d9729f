"""`tillwatch compact` with `landing.keep`: what is removed, what holds it back, and what a pipeline can do after it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tillwatch import Pipeline
from tillwatch.audit import Check, audit
from tillwatch.cli.app import app
from tillwatch.errors import LogError
from tillwatch.generate import generate


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that has worked off its source, the first nine chunks of it long ago. To be copied."""
    folder = tmp_path_factory.mktemp("done")
    generate(folder, rows=1500, customers=60, merchants=8, seed=3, faults=0.02)
    (folder / "tillwatch.yaml").write_text(
        "source: {uri: ./transactions.csv, rows: 100}\n"
        "lookups: {importance: ./CustomerImportance.csv}\n"
        "landing: {keep: 30d}\n"
        "patterns: [{PatId2: {transactions: 8, avg_amount: 25}}, {PatId3: {female_customers: 3}}]\n"
    )
    opened(folder).run(once=True)
    change(folder, "UPDATE chunks SET processed_at = '2026-01-02T03:04:05.678+05:30' WHERE number < 9")
    return folder


@pytest.fixture
def site(done: Path, tmp_path: Path) -> Path:
    """A copy to work on."""
    return Path(shutil.copytree(done, tmp_path / "site"))


def opened(folder: Path) -> Pipeline:
    """The pipeline of a folder."""
    return Pipeline.open(folder / "tillwatch.yaml")


def change(folder: Path, sql: str) -> None:
    """Changes the state by hand."""
    with closing(sqlite3.connect(folder / "tillwatch-data" / "state.db")) as db, db:
        assert db.execute(sql).rowcount > 0


def call(folder: Path, *arguments: str) -> Result:
    """A command of this pipeline."""
    return CliRunner().invoke(app, [*arguments, "-c", str(folder / "tillwatch.yaml")])


def compacted(folder: Path, *arguments: str) -> list[str]:
    """What `compact` prints, line by line; four chunks go into an object."""
    result = call(folder, "compact", "--leave", "2", "--merge", "4", *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def landed(folder: Path) -> dict[str, bytes]:
    """All that is in the landing zone."""
    place = folder / "tillwatch-data" / "landing"
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def checks(folder: Path) -> dict[str, Check]:
    """What audit finds."""
    return {check.name: check for check in audit(opened(folder))}


STAY = "chunks from 9 on stay: not known to be processed 30 days ago or earlier"


def test_a_dry_run_says_what_is_then_done(site: Path) -> None:
    """A dry run writes nothing and says what the next run does; of what is too old, whole merged objects go."""
    before = landed(site)
    assert compacted(site, "--dry-run") == [
        "would merge 12 chunks into 3 objects",
        "would remove 8 chunks: 0 to 7",
        STAY,
    ]
    assert landed(site) == before
    assert compacted(site) == ["merged 12 chunks into 3 objects", "removed 8 chunks: 0 to 7", STAY]
    names = ["000000000008-000000000011.parquet", *(f"{n:012}.parquet" for n in (12, 13, 14))]
    names += [name for name in before if name.startswith("_lookups/")]
    records = ["_removed/000000000000-000000000003.json", "_removed/000000000004-000000000007.json"]
    assert sorted(landed(site)) == sorted(names + records)
    assert compacted(site, "--dry-run")[:2] == ["would merge 0 chunks into 0 objects", "would remove 0 chunks"]
    assert compacted(site)[:2] == ["merged 0 chunks into 0 objects", "removed 0 chunks"]


def test_without_keep_nothing_is_ever_removed(site: Path) -> None:
    """However old chunks are, they are only merged."""
    assert compacted(site, "--set", "landing.keep=null") == ["merged 12 chunks into 3 objects"]
    assert [opened(site).landing.read(n).info.number for n in range(15)] == [*range(15)]
    assert opened(site).landing.removed().chunks == 0


@pytest.mark.parametrize(
    ("sql", "settings", "why"),
    [
        ("UPDATE outbox SET published_at = NULL WHERE first_seq = 1", [], "not all detections are published"),
        ("UPDATE meta SET value = '2' WHERE key = 'tables'", [], "the tables of the state are not saved beyond"),
        (
            "UPDATE chunks SET processed_at = '2999-01-01T00:00:00.000+00:00' WHERE number = 1",
            [],
            "not known to be processed 30 days ago or earlier",
        ),
        ("DELETE FROM outbox", [], "not all detections are planned for a file"),
        (None, ["--set", "outputs.late={format: jsonl, uri: ./late}"], "output late does not have all detections"),
    ],
)
def test_what_is_still_needed_stays(sql: str | None, settings: list[str], why: str, site: Path) -> None:
    """Nothing is removed from the first chunk on that is not worked off to its end, and it is said why."""
    if sql:
        change(site, sql)
    lines = compacted(site, *settings)
    assert lines[1] == "removed 0 chunks"
    assert lines[2].startswith("chunks from ") and lines[2].endswith(f"stay: {why}")
    assert opened(site).landing.read(0).info.number == 0


def test_detections_that_are_not_published_here_hold_nothing_back(site: Path) -> None:
    """Where the configuration wants no files, outputs alone count."""
    change(site, "UPDATE outbox SET published_at = NULL")
    change(site, "INSERT INTO deliveries SELECT 'late', first_seq, '2026-01-02T03:04:05.678+05:30' FROM outbox")
    settings = ["detections.format=none", "outputs.late={format: jsonl, uri: ./late}"]
    assert compacted(site, *(word for text in settings for word in ("--set", text)))[1] == "removed 8 chunks: 0 to 7"


def test_a_configuration_that_needs_a_new_state_removes_nothing(site: Path) -> None:
    """With other patterns than those of the state, all chunks are needed to make a new one."""
    before = landed(site)
    result = call(site, "compact", "--leave", "2", "--merge", "4", "--set", "patterns=[PatId3]")
    assert (result.exit_code, landed(site)) == (1, before)
    assert "made by" in result.stderr


def test_audit_says_what_can_no_longer_be_proved(site: Path) -> None:
    """The rest is proved as before, exit code 0; each check that is limited says so in its line."""
    compacted(site)
    result = call(site, "audit")
    lines = result.stdout.splitlines()
    assert (result.exit_code, lines[-1]) == (0, "audit: ok")
    marks = {line[5:].partition(":")[0]: line[:4].strip() for line in lines[:-1]}
    limited = dict.fromkeys(("digests", "rows", "detections", "state"), "part")
    assert marks == {"chunks": "ok", "seq": "ok", "files": "ok", "lookups": "ok", **limited}
    at = opened(site).landing.removed().at
    assert [line.partition("; not proved: ")[2] for line in lines if line.startswith("part")] == [
        f"the rows of chunks 0 to 7, removed at {at}",
        "which of the 800 rows of chunks 0 to 7 were valid",
        *["that the log gives them, without chunks 0 to 7"] * 2,
    ]


@pytest.mark.parametrize(
    ("harm", "name", "problem"),
    [
        ("DELETE FROM quarantine WHERE chunk = 1", "rows", "the state says"),
        ("UPDATE chunks SET digest = 'other' WHERE number = 1", "digests", "chunk 1, now removed, had digest"),
        ("UPDATE chunks SET counted = counted - 1 WHERE number = 1", "rows", "chunk 1, now removed, had 100 rows"),
        ("_removed/000000000000-000000000003.json", "chunks", "chunk 0 is not in the landing zone"),
        ("quarantine", "rows", "the quarantine has no 000000000000.json"),
        ("000000000013.parquet", "chunks", "chunk 13 is not in the landing zone"),
    ],
)
def test_audit_still_finds_what_is_wrong(harm: str, name: str, problem: str, site: Path) -> None:
    """In what is kept, and in what is known of what was removed."""
    compacted(site)
    if " " in harm:
        change(site, harm)
    elif harm == "quarantine":
        min((site / "tillwatch-data" / "quarantine").iterdir()).unlink()
    else:
        (site / "tillwatch-data" / "landing" / harm).unlink()
    found = checks(site)[name]
    assert any(problem in text for text in found.problems), found


def test_the_pipeline_goes_on_after_it(site: Path) -> None:
    """Nothing is landed again, new files are, detections go on in the same state, and reports are of what is kept."""
    compacted(site)
    opened(site).run(once=True)
    assert [*opened(site).landing.numbers()] == [*range(15)]
    before = opened(site).detections()
    more = site / "more"
    generate(more, rows=700, customers=60, merchants=8, seed=4)
    folder = site / "files"
    folder.mkdir()
    shutil.move(site / "transactions.csv", folder / "transactions.csv")
    shutil.copy(more / "transactions.csv", folder / "transactions2.csv")
    pipeline = Pipeline.open(site / "tillwatch.yaml", [f"source.uri={folder}"])
    pipeline.run(once=True)
    assert [*pipeline.landing.numbers()] == [*range(22)]
    assert pipeline.detections()[: len(before)].drop("holds").equals(before.drop("holds"))
    assert len(pipeline.detections()) > len(before)
    assert [problem for check in checks(site).values() for problem in check.problems] == []
    report = json.loads(call(site, "quality").stdout)
    assert (report["first_chunk"], report["last_chunk"], report["total"]["rows"]) == (8, 21, 1400)


def test_a_ledger_that_is_lost_is_made_again_and_a_state_is_not(site: Path) -> None:
    """Ingest knows from the records where it stands; detect cannot begin anew, and says at once what is missing."""
    compacted(site)
    shutil.rmtree(site / "tillwatch-data" / "detections")
    for path in (site / "tillwatch-data").glob("state.db*"):
        path.unlink()
    opened(site).ingest(once=True)
    assert [*opened(site).landing.numbers()] == [*range(15)]
    with opened(site).opened() as state:
        assert sum(chunk.rows for chunk in state.chunks()) == 1500
        assert [record.status for record in state.files()] == ["done"]
    with pytest.raises(LogError, match=r"chunks 0 to 7 of .* were removed by retention, chunk 0 at 20"):
        opened(site).run(once=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("landing: {keep: 30}", "found 30, expected a number of days from 1d to 99999d, such as 30d, or null for ever"),
        ("landing: {keep: 0d}", "found '0d', expected a number of days"),
        ("landing: {keep: 30d, layout: folder}", "keep needs landing.layout flat or dated"),
    ],
)
def test_a_wrong_keep_is_told(settings: str, said: str, tmp_path: Path) -> None:
    """Before anything runs, with its place."""
    (tmp_path / "tillwatch.yaml").write_text(f"source: x.csv\n{settings}\n")
    result = call(tmp_path, "compact")
    assert result.exit_code == 2
    assert "tillwatch.yaml:2:" in result.stderr and said in result.stderr
