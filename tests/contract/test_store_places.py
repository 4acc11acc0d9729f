"""What is found in the environment for a URI of a cloud, and what is missing there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tillwatch.errors import ConfigError, StoreError
from tillwatch.stores import open_store
from tillwatch.stores.cloud import connect
from tillwatch.testing.servers.clouds import environment
from tillwatch.testing.servers.s3 import KEY, SECRET, S3Server

EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def program(folder: Path, name: str, text: str) -> None:
    """A Python program on the PATH of a test."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!{sys.executable}\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("uri", ["s3://bucket", "az://container", "abfss://c@a.dfs.core.windows.net", "gs://bucket"])
def test_the_package_that_is_missing_is_named(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without obstore it is said how to get it."""
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigError, match=r"pip install 'tillwatch\[cloud\]'"):
        open_store(uri)


@pytest.mark.parametrize("kind", ["sso_session = mine", "role_arn = arn:aws:iam::1:role/r\nsource_profile = other"])
def test_single_sign_on_and_roles_ask_the_aws_cli(s3: S3Server, tmp_path: Path, kind: str) -> None:
    """Profiles that need more than keys are left to the AWS CLI; without it that is said."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(f"[profile mine]\nregion = us-east-1\n{kind}\n")
    said = {"AWS_PROFILE": "mine", "AWS_ENDPOINT_URL": s3.url, "PATH": str(tmp_path / "bin")}
    with environment(said, tmp_path):
        with pytest.raises(StoreError, match=r"'mine' uses single sign-on or a role.*AWS CLI 2"):
            open_store("s3://bucket")
        answer = {"AccessKeyId": KEY, "SecretAccessKey": SECRET, "Expiration": "2099-01-01T00:00:00+00:00"}
        asked = ["configure", "export-credentials", "--format", "process", "--profile", "mine"]
        text = f"import sys\nassert sys.argv[1:] == {asked}\nprint({json.dumps(json.dumps(answer))})"
        program(tmp_path / "bin", "aws", text)
        store = open_store(s3.make())
        store.put("object", b"data")
        assert store.get("object") == b"data"


@pytest.mark.parametrize(
    ("variables", "uri", "expected"),
    [
        (
            {},
            "abfss://c@acc.dfs.core.windows.net/p",
            {"container_name": "c", "account_name": "acc"},
        ),
        (
            {"AZURE_STORAGE_ACCOUNT": "other", "AZURE_STORAGE_KEY": "a2V5"},
            "abfss://c@acc.dfs.core.windows.net",
            {"container_name": "c", "account_name": "acc"},
        ),
        (
            {},
            "abfss://c@acc.dfs.core.chinacloudapi.cn",
            {"container_name": "c", "account_name": "acc", "endpoint": "https://acc.blob.core.chinacloudapi.cn"},
        ),
        (
            {},
            "abfss://c@acc.dfs.fabric.microsoft.com",
            {"container_name": "c", "account_name": "acc", "use_fabric_endpoint": "true"},
        ),
        (
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acc;AccountKey=a2V5;EndpointSuffix=core.chinacloudapi.cn"},
            "az://c",
            {
                "container_name": "c",
                "account_name": "acc",
                "account_key": "a2V5",
                "endpoint": "https://acc.blob.core.chinacloudapi.cn",
            },
        ),
        (
            {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"},
            "az://c",
            {
                "container_name": "c",
                "account_name": "devstoreaccount1",
                "account_key": EMULATOR_KEY,
                "endpoint": "http://127.0.0.1:10000/devstoreaccount1",
            },
        ),
        (
            {
                "AZURE_STORAGE_ACCOUNT": "acc",
                "AZURE_STORAGE_CONNECTION_STRING": "AccountName=acc;SharedAccessSignature=sv=1",
            },
            "az://c",
            {"container_name": "c", "account_name": "acc", "sas_key": "sv=1"},
        ),
        (
            {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_KEY": "a2V5", "AZURE_CLIENT_SECRET": "x"},
            "az://c",
            {"container_name": "c", "account_name": "acc"},
        ),
    ],
)
def test_accounts_of_azure(tmp_path: Path, variables: dict[str, str], uri: str, expected: dict[str, str]) -> None:
    """Account, key and endpoint come from the URI first; a key is used for its own account only."""
    with environment({**variables, "PATH": str(tmp_path)}, tmp_path):
        assert connect(uri).store.config == expected


def test_the_login_of_the_azure_cli(tmp_path: Path) -> None:
    """With a login of the Azure CLI, and nothing else, the CLI is asked for a token."""
    program(tmp_path / "bin", "az", "")
    (tmp_path / ".azure").mkdir()
    with environment({"AZURE_STORAGE_ACCOUNT": "acc", "PATH": str(tmp_path / "bin")}, tmp_path):
        assert "use_azure_cli" not in connect("az://c").store.config
        (tmp_path / ".azure" / "azureProfile.json").write_text("{}")
        assert connect("az://c").store.config["use_azure_cli"] == "true"


def test_a_region_of_the_environment_wins(tmp_path: Path) -> None:
    """The region is the profile's unless the environment has one; keys of the environment win as well."""
    (tmp_path / ".aws").mkdir()
    keys = "aws_access_key_id = AKIAPROFILE\naws_secret_access_key = x\n"
    (tmp_path / ".aws" / "config").write_text(f"[default]\nregion = eu-west-1\n{keys}")
    with environment({}, tmp_path):
        found = connect("s3://bucket").store.config
        assert (found["region"], found["access_key_id"]) == ("eu-west-1", "AKIAPROFILE")
    with environment(
        {"AWS_REGION": "us-west-2", "AWS_ACCESS_KEY_ID": "AKIAOTHER", "AWS_SECRET_ACCESS_KEY": "y"}, tmp_path
    ):
        found = connect("s3://bucket").store.config
        assert "region" not in found and "access_key_id" not in found


def test_a_variable_of_the_wrong_kind(tmp_path: Path) -> None:
    """What the client cannot take from the environment is told without its value."""
    for uri, variable in (
        ("s3://bucket", "AWS_SKIP_SIGNATURE"),
        ("abfss://c@acc.dfs.core.windows.net", "AZURE_SKIP_SIGNATURE"),
        ("gs://bucket", "GOOGLE_SKIP_SIGNATURE"),
    ):
        with environment({variable: "planted"}, tmp_path), pytest.raises(StoreError, match="cannot be used") as caught:
            open_store(uri)
        assert "planted" not in str(caught.value)
