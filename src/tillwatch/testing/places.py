"""For tests: pipelines whose data is elsewhere, run as programs, and looked at behind the back of the product."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from threading import Event
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tillwatch.pipeline import Pipeline
from tillwatch.testing.servers.azure import AzureServer, azure_server
from tillwatch.testing.servers.clouds import CloudServer
from tillwatch.testing.servers.drive import DriveServer, drive_server
from tillwatch.testing.servers.gcs import GcsServer, gcs_server
from tillwatch.testing.servers.postgres import PASSWORD, PostgresServer, postgres_server
from tillwatch.testing.servers.s3 import S3Server, s3_server

SECONDS = 240.0
"""How long a program may take: one that hangs is to be found, a slow machine is not."""

LOOKS = 0.02
"""Seconds between two looks whether something has happened."""

COLUMNS = ("YStartTime", "detectionTime", "patternId", "ActionType", "customerName", "MerchantId")
_FOUND = ("chunk", *COLUMNS[2:])
_CLOUDS = ("AWS_", "AZURE_", "GOOGLE_", "PG", "STORAGE_EMULATOR_HOST")


@dataclass(frozen=True, slots=True)
class Servers:
    """One server of each kind, all listening."""

    drive: DriveServer
    s3: S3Server
    azure: AzureServer
    gcs: GcsServer
    postgres: PostgresServer

    def variables(self, folder: Path) -> dict[str, str]:
        """The environment in which a program reaches all of them, and no other cloud. Writes files into `folder`."""
        known = {name: value for name, value in os.environ.items() if not name.startswith(_CLOUDS)}
        home = {"HOME": str(folder), "AZURE_CONFIG_DIR": str(folder / ".azure"), "PGPASSWORD": PASSWORD}
        clouds = self.s3.environment() | self.azure.environment() | self.gcs.environment()
        return known | home | clouds | self.drive.environment(folder)

    def cloud(self, uri: str) -> CloudServer:
        """The server of an object store that a URI is on."""
        servers: Mapping[str, CloudServer] = {"s3": self.s3, "az": self.azure, "gs": self.gcs}
        return servers[uri.partition("://")[0]]

    def peek(self, uri: str) -> dict[str, bytes]:
        """All objects below a place, by name: of a bucket, with a prefix or none, or of a folder of this machine."""
        if "://" not in uri:
            root = Path(uri)
            return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
        scheme, _, rest = uri.partition("://")
        bucket, _, prefix = rest.partition("/")
        start = f"{prefix}/" if prefix else ""
        there = self.cloud(uri).peek(f"{scheme}://{bucket}")
        return {name.removeprefix(start): data for name, data in sorted(there.items()) if name.startswith(start)}


@contextmanager
def all_servers() -> Iterator[Servers]:
    """Every server, ended at the end."""
    with ExitStack() as stack:
        started = (drive_server(), s3_server(), azure_server(), gcs_server(), postgres_server())
        yield Servers(*(stack.enter_context(server) for server in started))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Data:
    """Transactions with their lookup, how to look at them, and what is to be found in them.

    `settings` are lines of the configuration; `expected` is chunk,patternId,ActionType,customerName,MerchantId of
    every detection, in order.
    """

    transactions: Path
    importance: Path
    rows: int
    chunks: int
    settings: str
    expected: Sequence[str]


def found_by(pipeline: Pipeline) -> list[str]:
    """What a pipeline has found, as Data expects it."""
    return [",".join(map(str, row)) for row in pipeline.detections().select(_FOUND).iter_rows()]


@dataclass(slots=True)
class Job:
    """A pipeline in a folder of its own: transactions and lookup on Drive, the rest at `places`.

    `said` is all that its programs have printed so far.
    """

    servers: Servers
    folder: Path
    data: Data
    places: dict[str, str]
    environment: dict[str, str]
    said: list[str] = field(default_factory=list)
    started: list[Working] = field(default_factory=list)

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.folder / "tillwatch.yaml"

    def call(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command, with some variables of the environment changed, when it has ended."""
        done = subprocess.run(
            [sys.executable, "-m", "tillwatch", *arguments],
            env=self.environment | variables,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        self.said += [done.stdout, done.stderr]
        return done

    def do(self, *arguments: str, **variables: str) -> str:
        """What a command prints on stdout; that it ends well is asserted."""
        done = self.call(*arguments, **variables)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done.stdout

    def die(self, point: str, *work: str) -> None:
        """Works as `tillwatch.testing.crash` does, until it kills itself at a point."""
        words = ("--config", str(self.config), "--kill-at", point, "--save-chunks", "6", *work)
        command = [sys.executable, "-m", "tillwatch.testing.crash", *words]
        done = subprocess.run(command, env=self.environment, cwd=self.folder, capture_output=True, timeout=SECONDS)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-3000:]

    def start(self, *arguments: str, **variables: str) -> Working:
        """A program at work."""
        self.started.append(Working(self.folder, len(self.started), arguments, self.environment | variables))
        return self.started[-1]

    def end(self) -> None:
        """Kills what is still at work."""
        for program in self.started:
            program.kill()

    def status(self) -> dict[str, Any]:
        """What `tillwatch status` says."""
        found: dict[str, Any] = json.loads(self.do("status", "--format", "json"))
        return found

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """What the database says, past the product, nothing while the tables are not there. `{s}` is the schema."""
        import psycopg

        schema = parse_qs(urlsplit(self.places["state"]).query)["schema"][0]
        try:
            return self.servers.postgres.run(query.format(s=schema))
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return []

    def processed(self) -> int:
        """How many chunks are processed."""
        ((count,),) = self.ask("SELECT count(*) FROM {s}.chunks WHERE processed_at IS NOT NULL") or [(0,)]
        return int(count)

    def is_done(self) -> bool:
        """Whether every chunk is processed and every detection published."""
        if self.processed() < self.data.chunks:
            return False
        query = "SELECT coalesce(sum(last_seq - first_seq + 1), 0) FROM {s}.outbox WHERE published_at IS NOT NULL"
        return bool(self.ask(query)[0][0] == len(self.data.expected))

    def problems(self) -> list[str]:
        """What is wrong: found by audit, or seen by a look at what is there that uses nothing of the product."""
        found = self.call("detections", "--format", "jsonl").stdout.splitlines()
        records = [json.loads(line) for line in found]
        audited = self.call("audit").stdout.splitlines()
        wrong = audited if audited[-1:] != ["audit: ok"] else []
        if [",".join(str(r[name]) for name in _FOUND) for r in records] != list(self.data.expected):
            wrong.append(f"{len(records)} detections, which are not the {len(self.data.expected)} expected")
        landed = [name for name in self.servers.peek(self.places["landing"]) if name.endswith((".parquet", ".csv"))]
        if len(landed) != self.data.chunks:
            wrong.append(f"{len(landed)} landed objects, expected {self.data.chunks}")
        return wrong + ([] if "detections" not in self.places else self._wrong_files(records))

    def _wrong_files(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Every detection is in one file, in order, with the time at which Mechanism Y first started."""
        begun = self.status()["started_at"]
        expected = [(begun, r["detectionTime"], *(r[name] for name in _FOUND[1:]), r["file"]) for r in records]
        published = [(*row, name) for name, rows in self.published().items() for row in rows]
        return [] if published == expected else [f"{len(published)} published rows are not the {len(expected)} found"]

    def published(self) -> dict[str, list[list[str]]]:
        """The rows of every detection file."""
        there = self.servers.peek(self.places["detections"])
        tables = {name: list(csv.reader(io.StringIO(data.decode(), newline=""))) for name, data in there.items()}
        assert all(rows[0] == list(COLUMNS) for rows in tables.values())
        return {name: rows[1:] for name, rows in tables.items()}

    def everything(self) -> bytes:
        """All that is anywhere of this pipeline: printed, in files, in objects, in the tables of its state."""
        parts = [text.encode() for text in self.said]
        parts += [p.read_bytes() for p in self.folder.rglob("*") if p.is_file()]
        for uri in self.places.values():
            if not uri.startswith("postgresql://"):
                parts += self.servers.peek(uri).values()
        tables = self.ask("SELECT relname FROM pg_class WHERE relnamespace = '{s}'::regnamespace AND relkind = 'r'")
        for (name,) in tables:
            parts += [str(row).encode() for row in self.ask(f"TABLE {{s}}.{name}")]
        assert "postgresql" not in self.places["state"] or len(tables) > 5
        return b"\0".join(parts)


class Working:
    """A program at work in a folder. What it prints goes to a file there."""

    def __init__(self, folder: Path, number: int, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._log = folder / f"program-{number}.log"
        command = [sys.executable, "-m", "tillwatch", *arguments]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)

    @property
    def said(self) -> str:
        """All that it has printed so far."""
        return self._log.read_text("utf-8")

    def until(self, condition: Callable[[], bool]) -> None:
        """Returns when the condition has come true; that the program is at work until then is asserted."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert self._process.poll() is None, f"ended early: {self.said[-3000:]}"
            assert time.monotonic() < deadline, f"nothing happens: {self.said[-3000:]}"
            Event().wait(LOOKS)

    def kill(self) -> None:
        """Ends it by SIGKILL."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Asks it to end by SIGTERM; that it ends well is asserted."""
        self._process.send_signal(signal.SIGTERM)
        self.wait()

    def wait(self) -> None:
        """Returns when it has ended; that it ends well is asserted."""
        code = self._process.wait(SECONDS)
        assert code == 0, f"exit code {code}: {self.said[-3000:]}"


def new_job(
    servers: Servers, folder: Path, data: Data, places: Mapping[str, str], more: str = "", **options: str
) -> Job:
    """A pipeline that has not run yet, its files in `folder`. `places` has the kind of each place by its name.

    Kinds are `s3`, `az`, `gs`, `here` and `postgresql`; each place is a new one. Without `detections` no files are
    published. `more` is added to the configuration, with `$name` for a place; `options` are added to the settings of
    `landing` and `detections`.
    """
    folder.mkdir(parents=True)
    root = servers.drive.folder()
    servers.drive.put("transactions.csv", data.transactions.read_bytes(), root)
    lookup = servers.drive.put("CustomerImportance.csv", data.importance.read_bytes())
    uris = {name: _new_place(servers, folder, name, kind) for name, kind in places.items()}
    published = f"uri: '{uris['detections']}'" if "detections" in uris else "format: none"
    lines = [
        f"source: {{uri: 'gdrive://{root}', rows: {data.rows}, every: 0.01s}}",
        f"lookups: {{importance: 'gdrive://{lookup}'}}",
        *(f"{name}: '{uris[name]}'" for name in ("quarantine", "state", "reports") if name in uris),
        f"landing: {{uri: '{uris['landing']}', {options.get('landing', '')}}}",
        f"detections: {{{published}, linger: 0.05, {options.get('detections', '')}}}",
        data.settings,
        Template(more).substitute(uris),
    ]
    job = Job(servers, folder, data, uris, servers.variables(folder.parent))
    job.config.write_text("\n".join(lines) + "\n", "utf-8")
    return job


def _new_place(servers: Servers, folder: Path, name: str, kind: str) -> str:
    if kind == "here":
        return str(folder / name)
    if kind == "postgresql":
        return servers.postgres.new_place()
    bucket = servers.cloud(f"{kind}://").make()
    return f"{bucket}/{name}/live" if kind == "s3" else bucket  # with a prefix and without
