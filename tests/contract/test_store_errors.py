"""What goes wrong with object stores: it is told in words that help, without secrets, or overcome."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tillwatch.clock import SystemClock
from tillwatch.errors import ConfigError, ObjectMissing, StoreError
from tillwatch.retry import Retry
from tillwatch.stores import ObjectStore, check_creates, open_store, put_same
from tillwatch.stores.base import Store
from tillwatch.testing.servers import azure as azure_names
from tillwatch.testing.servers import gcs as gcs_names
from tillwatch.testing.servers import s3 as s3_names
from tillwatch.testing.servers.clouds import CloudServer, environment
from tillwatch.testing.servers.gcs import GcsServer
from tillwatch.testing.servers.proxy import Fault, Harm, proxy
from tillwatch.testing.servers.s3 import S3Server

PLANTED = (s3_names.KEY, s3_names.SECRET, azure_names.KEY, gcs_names.TOKEN, "planted")
EVERY: dict[str, Callable[[Store], object]] = {
    "create": lambda store: store.put("object", b"data"),
    "read": lambda store: store.get("object"),
    "look for": lambda store: store.has("object"),
    "list": lambda store: [*store.list()],
    "delete": lambda store: store.delete("object"),
}


@pytest.fixture(params=["s3", "azure", "gcs"])
def server(request: pytest.FixtureRequest) -> CloudServer:
    """Each of the servers in turn."""
    found: CloudServer = request.getfixturevalue(request.param)
    return found


def told(operation: Callable[[Store], object], store: Store) -> str:
    """What the operation is refused with; no secret is in it."""
    with pytest.raises(StoreError) as caught:
        operation(store)
    text = "".join((str(caught.value), repr(caught.value), repr(caught.value.__cause__), repr(store)))
    assert not any(secret in text for secret in PLANTED if secret not in store.uri)
    return str(caught.value)


@pytest.mark.parametrize("verb", EVERY)
def test_wrong_credentials(server: CloudServer, tmp_path: Path, verb: str) -> None:
    """Refused credentials are told with the place, and which rights are needed."""
    uri = server.make()
    with environment(server.wrong(server.environment()), tmp_path):
        text = told(EVERY[verb], open_store(f"{uri}/folder"))
    assert text.startswith(f"cannot {verb} {uri}/folder")
    assert "credentials were not accepted (HTTP 40" in text
    assert "read, create, list and delete" in text


@pytest.mark.parametrize("verb", ["create", "read", "list"])
def test_a_missing_bucket(server: CloudServer, tmp_path: Path, verb: str) -> None:
    """A bucket that is not there is told apart from a missing object."""
    uri = f"{server.make()}x"
    with environment(server.environment(), tmp_path):
        text = told(EVERY[verb], open_store(uri))
    assert text.startswith(f"cannot {verb} {uri}")
    assert "there is no such bucket or container (HTTP 404" in text


@pytest.mark.parametrize("verb", EVERY)
def test_an_endpoint_that_cannot_be_reached(server: CloudServer, tmp_path: Path, verb: str) -> None:
    """Where nothing listens, that is told."""
    with environment(server.environment("http://127.0.0.1:1"), tmp_path):
        assert "the endpoint cannot be reached; check the network" in told(EVERY[verb], open_store(server.make()))


@pytest.mark.parametrize("verb", EVERY)
def test_a_server_that_hangs(server: CloudServer, tmp_path: Path, verb: str) -> None:
    """A request that is not answered ends after the time-out, and that is told."""
    with (
        proxy(server.url, Fault("hang", times=99)) as harmful,
        environment(server.environment(harmful.url), tmp_path),
    ):
        text = told(EVERY[verb], ObjectStore(server.make(), timeout=0.2))
    assert "no answer within 0.2 s" in text


@pytest.mark.parametrize("harm", ["429", "500", "503"])
def test_a_service_that_stays_out_of_order(server: CloudServer, tmp_path: Path, harm: Harm) -> None:
    """After a few tries the status is told; it is for the caller to have patience."""
    with proxy(server.url, Fault(harm, times=99)) as harmful, environment(server.environment(harmful.url), tmp_path):
        text = told(EVERY["list"], open_store(server.make()))
        assert f"busy or out of order (HTTP {harm})" in text
        assert len(harmful.requests) == 3


def test_no_credentials_at_all(s3: S3Server, tmp_path: Path) -> None:
    """Without credentials, and without a role of the machine, it is said that none were found."""
    variables = {"AWS_ENDPOINT_URL": s3.url, "AWS_METADATA_ENDPOINT": "http://127.0.0.1:1"}
    with environment(variables, tmp_path):
        assert "no credentials were found in the environment" in told(EVERY["list"], open_store(s3.make()))


def test_a_store_that_overwrites_is_refused(s3: S3Server, gcs: GcsServer, tmp_path: Path) -> None:
    """The probe refuses a store that ignores the condition of a create, says why, and leaves nothing."""
    for overwriting in (s3, gcs):
        uri = overwriting.make()
        overwriting.keeper.overwrites = True
        try:
            with (
                environment(overwriting.environment(), tmp_path),
                pytest.raises(StoreError, match="lets a second writer replace an object"),
            ):
                check_creates(open_store(uri))
        finally:
            overwriting.keeper.overwrites = False
        assert overwriting.peek(uri) == {}


# Credentials that change


def write_aws(home: Path, key: str, *more: str) -> None:
    """The default profile of AWS."""
    (home / ".aws").mkdir(exist_ok=True)
    lines = ["[default]", f"aws_access_key_id = {key}", f"aws_secret_access_key = {s3_names.SECRET}", *more]
    (home / ".aws" / "credentials").write_text("\n".join(lines))


def without(variables: dict[str, str], *words: str) -> dict[str, str]:
    """The variables whose name has none of the words in it."""
    return {name: value for name, value in variables.items() if not any(word in name for word in words)}


@contextmanager
def letting_in(server: S3Server | GcsServer, *accepted: str) -> Iterator[None]:
    """For a while the server lets in other credentials."""
    before, server.keeper.accepted = server.keeper.accepted, set(accepted)
    try:
        yield
    finally:
        server.keeper.accepted = before


def test_s3_keys_are_rotated_without_restart(s3: S3Server, tmp_path: Path) -> None:
    """A store at work goes on with the keys that are in the profile now, when the old ones are refused."""
    write_aws(tmp_path, s3_names.KEY)
    with environment(without(s3.environment(), "KEY"), tmp_path):
        store = open_store(s3.make())
        store.put("first", b"")
        with letting_in(s3, "Credential=AKIANEXTKEY/"):
            assert "not accepted" in told(EVERY["list"], store)
            write_aws(tmp_path, "AKIANEXTKEY")
            store.put("second", b"")
            assert [*store.list()] == ["first", "second"]


def test_azure_keys_are_read_again(azure: azure_names.AzureServer, tmp_path: Path) -> None:
    """A store that was refused goes on when the file of the Azure CLI has the right key."""
    right = azure.environment()
    wrong = azure.wrong(right)
    (tmp_path / ".azure").mkdir()
    with environment(without(right, "KEY"), tmp_path):
        for found in (wrong, right):
            (tmp_path / ".azure" / "config").write_text(f"[storage]\nkey = {found['AZURE_STORAGE_KEY']}\n")
            if found is wrong:
                store = open_store(azure.make())
                assert "not accepted" in told(EVERY["create"], store)
        store.put("object", b"")
        assert [*store.list()] == ["object"]


def test_gcs_tokens_are_read_again(gcs: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that was refused goes on when the environment has the right token."""
    with environment(gcs.wrong(gcs.environment()), tmp_path):
        store = open_store(gcs.make())
        assert "not accepted" in told(EVERY["create"], store)
        monkeypatch.setenv("GOOGLE_BEARER_TOKEN", gcs_names.TOKEN)
        store.put("object", b"")


# Where credentials and endpoints are found


def test_a_profile_says_everything(s3: S3Server, tmp_path: Path) -> None:
    """AWS_PROFILE names a profile, whose keys, region and endpoint are in the files of the AWS CLI."""
    write_aws(tmp_path, "AKIAWRONGKEY", "[mine]", f"aws_access_key_id={s3_names.KEY}", "aws_secret_access_key=x")
    config = f"[profile mine]\nregion = eu-west-1\nservices = here\n[services here]\ns3 =\n  endpoint_url = {s3.url}\n"
    (tmp_path / ".aws" / "config").write_text(config)
    with environment({"AWS_PROFILE": "mine"}, tmp_path):
        store = open_store(s3.make())
        store.put("object", b"")
        assert [*store.list()] == ["object"]
    with environment({"AWS_PROFILE": "other"}, tmp_path), pytest.raises(StoreError, match="no AWS profile 'other'"):
        open_store("s3://bucket")


def test_a_program_gives_the_keys(s3: S3Server, tmp_path: Path) -> None:
    """A credential_process is asked for keys; when it fails that is told, without its output."""
    answer = {"Version": 1, "AccessKeyId": s3_names.KEY, "SecretAccessKey": s3_names.SECRET}
    program = tmp_path / "keys.py"
    program.write_text(f"print({json.dumps(json.dumps(answer))})")
    (tmp_path / ".aws").mkdir()
    config = f"[default]\nregion = us-east-1\ncredential_process = {sys.executable} {program}\n"
    (tmp_path / ".aws" / "config").write_text(config)
    with environment({"AWS_ENDPOINT_URL": s3.url}, tmp_path):
        store = open_store(s3.make())
        store.put("object", b"")
        program.write_text(f"print('{s3_names.SECRET}')")
        assert "the AWS profile 'default' failed" in told(EVERY["list"], open_store(s3.make()))
    (tmp_path / ".aws" / "config").write_text(f"aws_secret_access_key = {s3_names.SECRET}")
    with environment({}, tmp_path):
        assert "cannot read the AWS profiles" in told(lambda _: open_store("s3://bucket"), store)


def test_a_connection_string(azure: azure_names.AzureServer, tmp_path: Path) -> None:
    """Account, key and endpoint may come as the connection string of Azure's tools."""
    said = azure.environment()
    text = f"AccountName={said['AZURE_STORAGE_ACCOUNT']};AccountKey={said['AZURE_STORAGE_KEY']};"
    with environment({"AZURE_STORAGE_CONNECTION_STRING": f"{text}BlobEndpoint={azure.url}/plantedaccount"}, tmp_path):
        open_store(azure.make()).put("object", b"")
    with environment({}, tmp_path), pytest.raises(StoreError, match="no storage account is known"):
        open_store("az://container")


def test_the_emulator_of_google(gcs: GcsServer, tmp_path: Path) -> None:
    """STORAGE_EMULATOR_HOST is where requests without credentials go."""
    with environment({"STORAGE_EMULATOR_HOST": gcs.url.removeprefix("http://")}, tmp_path), letting_in(gcs, ""):
        open_store(gcs.make()).put("object", b"")


def test_a_key_file_of_google_that_is_none(tmp_path: Path) -> None:
    """A key file that is none is told, and not quoted."""
    (tmp_path / "key.json").write_text('{"type": "service_account", "private_key": "planted"}')
    with environment({"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")}, tmp_path):
        with pytest.raises(StoreError, match="must name a readable key file") as caught:
            open_store("gs://bucket")
        assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "variable", "permission"),
    [
        ("s3://bucket", "AWS_ENDPOINT_URL_S3", "AWS_ALLOW_HTTP"),
        ("az://container", "AZURE_STORAGE_ENDPOINT", "AZURE_ALLOW_HTTP"),
        ("gs://bucket", "GOOGLE_BASE_URL", "GOOGLE_ALLOW_HTTP"),
    ],
)
def test_an_endpoint_without_tls(tmp_path: Path, uri: str, variable: str, permission: str) -> None:
    """Plain HTTP to another machine needs a permission of its own; what is no URL is refused."""
    account = {"AZURE_STORAGE_ACCOUNT": "account"}
    refused = pytest.raises(StoreError, match=f"{variable} is an endpoint without TLS.*{permission}=true")
    with environment({**account, variable: "http://storage.example"}, tmp_path), refused:
        open_store(uri)
    with environment({**account, variable: "http://storage.example", permission: "true"}, tmp_path):
        open_store(uri)
    with environment({**account, variable: "user:planted@storage"}, tmp_path):
        with pytest.raises(StoreError, match=f"{variable} is no endpoint") as caught:
            open_store(uri)
        assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://",
        "s3:///prefix",
        "s3://key:planted@bucket/prefix",
        "s3://bucket/a//b",
        "s3://bucket/../b",
        "az://container/prefix?sig=planted",
        "az://container/prefix#planted",
        "abfss://container/prefix",
        "abfss://user:planted@account.dfs.core.windows.net/prefix",
        "gs://planted@bucket",
    ],
)
def test_a_uri_that_is_wrong(uri: str) -> None:
    """A URI that is not of its form, or holds credentials, is refused without repeating it."""
    with pytest.raises(ConfigError, match=r"expected (s3|az|abfss|gs)://") as caught:
        open_store(uri)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "/", "..", "../x", "a/../../x", ".", "./a", "a//b", "a/", "a\0b"])
def test_names_that_leave_the_prefix_are_refused(s3: S3Server, tmp_path: Path, name: str) -> None:
    """A name that is absolute, climbs or has empty parts is refused before anything is asked."""
    with environment(s3.environment("http://127.0.0.1:1"), tmp_path):
        store = open_store("s3://bucket/prefix")
        for operation in (store.get, store.has, store.delete):
            with pytest.raises(StoreError, match="no name for an object"):
                operation(name)


# Harm on the way, with the patience that the product has


@pytest.mark.parametrize("seed", [1, 2])
def test_patience_overcomes_harm(server: CloudServer, tmp_path: Path, seed: int) -> None:
    """With a fault in every third request, each object is created once and read back whole, and the list is right."""
    uri, reported = server.make(), list[str]()
    stop = threading.Event()
    retry = Retry(SystemClock(), stop, reported.append, patience=60)
    objects = {f"{number:03}": b"%d " % number * 2000 for number in range(25)}
    with (
        proxy(server.url, seed=seed, rate=0.34) as harmful,
        environment(server.environment(harmful.url), tmp_path),
    ):
        store = open_store(f"{uri}/prefix")
        for name, data in objects.items():
            retry(lambda name=name, data=data: put_same(store, name, data))  # type: ignore[misc]
        assert retry(lambda: [*store.list()]) == [*objects]
        assert all(retry(lambda name=name: store.get(name)) == data for name, data in objects.items())  # type: ignore[misc]
        with pytest.raises(ObjectMissing):
            retry(lambda: store.get("missing"))
        assert harmful.harmed > 10
    assert server.peek(uri) == {f"prefix/{name}": data for name, data in objects.items()}
    assert not any(secret in line for line in reported for secret in PLANTED)
