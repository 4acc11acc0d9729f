"""Who gets in to PostgreSQL, how that is proved, and what each role may do."""

from __future__ import annotations

import datetime
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tillwatch.errors import StateError
from tillwatch.state import open_state
from tillwatch.state.base import FileRecord, TableRows
from tillwatch.state.tables import TableShape
from tillwatch.testing.commits import MEANING, SHAPE, STARTED, commit, everything, info
from tillwatch.testing.servers.postgres import OWNER, PASSWORD, PostgresServer, postgres_server
from tillwatch.testing.servers.postgres_relay import relay
from tillwatch.testing.state_again import MERCHANTS
from tillwatch.testing.state_postgres import begin, opened, through, told, undisturbed

PAIRS = TableShape(
    "customer_merchant",
    ("customer", "merchant"),
    ("transactions", "sum_amount"),
    (),
    {"transactions": '"transactions"', "avg_amount": 'CAST("sum_amount" AS REAL) / ("transactions" * 10000)'},
)
ROW: dict[str, list[Any]] = {
    "id": [0],
    "customer": ["C"],
    "merchant": ["M"],
    "transactions": [1],
    "sum_amount": [2],
    "importance": [None],
}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    with postgres_server() as running:
        yield running


@pytest.fixture
def place(server: PostgresServer) -> str:
    """An empty place."""
    return server.new_place()


# Who is not let in


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user": "nobody"}, "PGPASSWORD, or a line in the password file"),
        ({"database": "nope"}, 'database "nope" does not exist; create it'),
        ({"sslmode": "require"}, "check sslmode and sslrootcert"),
        ({"options": "-c%20nonsense%3D1"}, "nonsense"),
        ({"service": "nope"}, "service file"),
    ],
)
def test_a_server_that_lets_nobody_in_is_told(change: dict[str, str], words: str, server: PostgresServer) -> None:
    """What is wrong, and what to do about it."""
    assert words in told(StateError, lambda: open_state(server.uri(**change)))


def test_a_server_that_is_not_there_is_told() -> None:
    """Nobody listens, no such host."""
    for host in ("127.0.0.1:1", "nowhere.invalid"):
        assert "check host and port" in told(StateError, lambda host=host: open_state(f"postgresql://{host}/x"))


@pytest.mark.parametrize(
    "uri",
    [
        f"postgresql://u:{PASSWORD}@127.0.0.1:1/x?nope=1",
        f"postgresql://u:{PASSWORD}@127.0.0.1:1/x",
        f"postgresql://u:{PASSWORD}/{PASSWORD}@127.0.0.1:1/x",
        f"postgresql://u:{PASSWORD}@{PASSWORD}@127.0.0.1:1/x",
        f"postgresql://127.0.0.1:1/x?password={PASSWORD}",
        f"postgresql://127.0.0.1:1/x?schema=9&sslpassword={PASSWORD}",
    ],
)
def test_a_password_in_a_uri_is_never_shown(uri: str) -> None:
    """Whatever is wrong with the rest of it."""
    told(StateError, lambda: open_state(uri))


# Credentials


def test_a_wrong_password_is_told(server: PostgresServer, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where the right one belongs."""
    monkeypatch.setenv("PGPASSWORD", "wrong")
    words = told(StateError, lambda: open_state(place))
    assert f'password authentication failed for user "{OWNER}"' in words and "PGPASSFILE" in words


def test_credentials_are_read_again_with_every_connection(
    server: PostgresServer, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password that was changed in the server and in the password file needs no restart."""
    monkeypatch.delenv("PGPASSWORD")
    file = tmp_path / "pgpass"

    def write(password: str) -> None:
        file.write_text(f"*:*:*:rotated:{password}\n")
        file.chmod(0o600)

    server.run("CREATE ROLE rotated LOGIN SUPERUSER PASSWORD 'first'")
    write("first")
    with opened(f"{place.replace(OWNER, 'rotated')}&passfile={file}") as (state,):
        begin(state).commit(commit(0, [2, 1]), 2)
        server.run("ALTER ROLE rotated PASSWORD 'second'")
        server.run("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'rotated'")
        assert "password" in told(StateError, lambda: state.commit(commit(2, [3]), 2))
        write("second")
        assert state.commit(commit(2, [3]), 2) == 7


def test_tls_is_verified_where_it_is_asked_for(server: PostgresServer, place: str, tmp_path: Path) -> None:
    """With verify-full the certificate must be of the given authority and of the host's name; what is wrong is told."""
    good, other = certificate(tmp_path / "good", "localhost"), certificate(tmp_path / "other", "localhost")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(good)
    with relay(server.port, tls) as running:
        by_name = through(running, place, server).replace("127.0.0.1", "localhost")
        with opened(f"{by_name}&sslmode=verify-full&sslrootcert={good}") as (state,):
            begin(state).commit(commit(0, [2, 1]), 2)
            state.commit(commit(2, [3]), 2)
            assert everything(state) == undisturbed(server)
        for wrong in (f"{by_name}&sslmode=verify-full&sslrootcert={other}", by_name.replace("localhost", "127.0.0.1")):
            uri = wrong if wrong.startswith(by_name) else f"{wrong}&sslmode=verify-full&sslrootcert={good}"
            assert "check sslmode and sslrootcert" in told(StateError, lambda uri=uri: open_state(uri))


def certificate(path: Path, host: str) -> Path:
    """A certificate that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    text = key.private_bytes(serialization.Encoding.PEM, *form)
    path.write_bytes(text + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


# Roles


def roles() -> str:
    """The statements of the documentation that make them."""
    page = (Path(__file__).parents[2] / "docs" / "postgresql.md").read_text("utf-8")
    (block,) = re.findall(r"^```pgsql\n(CREATE ROLE.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.fixture
def cards(server: PostgresServer) -> Iterator[Callable[[str], str]]:
    """The roles and the schema of the documentation; gives the place as one of the roles sees it."""
    server.run(roles())
    for role in ("till_owner", "till_writer", "till_reader"):
        server.run(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    yield lambda role: server.uri(user=role, schema="cards")
    server.run("DROP SCHEMA cards CASCADE; DROP OWNED BY till_owner, till_writer, till_reader")
    server.run("DROP ROLE till_owner, till_writer, till_reader")


def test_a_writer_that_can_create_nothing_runs_on_a_migrated_schema(cards: Callable[[str], str]) -> None:
    """Before the owner has made the tables it is told so; afterwards it does all that a run does."""
    with pytest.raises(StateError, match=r"the role lacks a privilege.*the owner runs 'tillwatch state migrate'"):
        open_state(cards("till_writer"))
    with opened(cards("till_owner")) as (state,):
        state.make_tables([SHAPE])
    with opened(cards("till_writer")) as (state,):
        begin(state)
        with state.lease("ingest"), state.lease("detect"):
            state.record_landed([info(0)], "now")
            state.record_file(FileRecord(info(0).file, "reading"))
            state.commit(commit(0, [3]), 2)
            state.plan_rest(2)
            state.mark_published(state.files_planned()[:1], "now")
            state.mark_delivered("out", state.files_planned()[0], "now")
            for _ in range(12):  # more often than a statement is run before it is prepared
                state.save_tables([TableRows(SHAPE.name, ROW)], 1)
        other = TableShape("other", (), ("transactions",), (), {})
        assert "lacks a privilege" in told(StateError, lambda: state.make_tables([other]))
        assert [list(v) for v in state.load_table(SHAPE).columns.values()] == list(ROW.values())


def test_a_reader_reads_and_writes_nothing(cards: Callable[[str], str]) -> None:
    """It sees everything, also who is at work, and the views; whatever would write is refused."""
    with opened(cards("till_owner")) as (owner,):
        begin(owner).commit(commit(0, [3]), 2)
        with opened(cards("till_reader"), readonly=True) as (reader,):
            assert everything(reader) == everything(owner)
            assert list(reader.contents("ledger", ("number", "status"), ("number",))) == [(0, "consumed")]
            assert list(reader.contents("customer_merchant_stats", ("customer",), ("customer",))) == []
            assert not reader.at_work("detect")
            with owner.lease("detect"):
                assert reader.at_work("detect")
        with opened(cards("till_reader")) as (reader,):
            assert "lacks a privilege" in told(StateError, lambda: reader.commit(commit(1, [1]), 2))


def test_what_the_documentation_asks_can_be_asked(cards: Callable[[str], str]) -> None:
    """Every query of the page runs, as the reader, while a pipeline is at work."""
    page = (Path(__file__).parents[2] / "docs" / "postgresql.md").read_text("utf-8")
    blocks = re.findall(r"^```pgsql\n((?!CREATE ROLE).*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    with opened(cards("till_owner")) as (owner,):
        owner.start("fingerprint", MEANING, STARTED, [PAIRS, MERCHANTS])
        owner.commit(commit(0, [3]), 2)
        plain = cards("till_reader").partition("?")[0]
        with owner.lease("detect"), psycopg.connect(plain, password=PASSWORD, autocommit=True) as reader:
            for statement in "".join(blocks).split(";\n"):
                if statement.strip():
                    reader.execute(statement)
