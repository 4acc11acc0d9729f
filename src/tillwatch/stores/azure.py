"""Azure Blob Storage with what Azure's own tools find: environment, the Azure CLI's file and login, identities.

obstore reads its own names of variables and asks for identities (workload, managed, client secret). Here are
the names that the Azure CLI and SDKs use, connection strings, and the file of the Azure CLI.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from configparser import Error as IniError
from configparser import RawConfigParser
from pathlib import Path
from typing import TYPE_CHECKING

from tillwatch.errors import StoreError
from tillwatch.stores.endpoints import first_of, speaking_to

if TYPE_CHECKING:
    from obstore.store import AzureConfig, AzureStore, ClientConfig, RetryConfig

_TOLD = {
    "account": "AZURE_STORAGE_ACCOUNT",
    "key": "AZURE_STORAGE_KEY",
    "sas_token": "AZURE_STORAGE_SAS_TOKEN",
    "connection_string": "AZURE_STORAGE_CONNECTION_STRING",
}
# With one of these obstore knows by itself how to identify.
_IDENTITY = (
    *("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY", "AZURE_STORAGE_TOKEN"),
    *("AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_SECRET", "AZURE_STORAGE_CLIENT_SECRET"),
    *("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CREDENTIAL_TYPE", "AZURE_SKIP_SIGNATURE", "AZURE_USE_AZURE_CLI"),
    *("AZURE_MSI_ENDPOINT", "AZURE_IDENTITY_ENDPOINT", "IDENTITY_ENDPOINT"),
)
_PUBLIC = "core.windows.net"
_EMULATOR = {
    "AccountName": "devstoreaccount1",
    # Not a secret: the well-known key of every emulator, from Microsoft's documentation.
    "AccountKey": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "BlobEndpoint": "http://127.0.0.1:10000/devstoreaccount1",
}


def connect_azure(container: str, client: ClientConfig, retries: RetryConfig) -> AzureStore:
    """A client for the container, `container@account…` for that of another account than the environment's.

    Raises StoreError when no account is known, or what the environment or the CLI's file say cannot be used.
    """
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore

    container, _, host = container.partition("@")
    told = _told()
    config = _config(container, host, told)
    where, endpoint = first_of("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
    if not endpoint and (endpoint := config.get("endpoint", "")):
        where = "the address of the account"
    elif endpoint:
        config.pop("endpoint", None)
    try:
        return AzureStore(
            config=config,
            client_options=speaking_to(endpoint, where, "AZURE_ALLOW_HTTP", client),
            retry_config=retries,
        )
    except BaseError:  # its text may quote values
        raise StoreError(
            f"az://{container}: the environment cannot be used: a variable that starts with AZURE_, or a key in "
            "the file of the Azure CLI, has a value of the wrong kind."
        ) from None


def _told() -> Mapping[str, str]:
    """What the names of the Azure CLI say, with the connection string taken apart: account, key, sas, endpoint."""
    told = _cli_file() | {key: value for key, name in _TOLD.items() if (value := os.environ.get(name, ""))}
    parts = dict(part.strip().partition("=")[::2] for part in told.get("connection_string", "").split(";"))
    if parts.get("UseDevelopmentStorage", "").lower() == "true":
        parts = _EMULATOR
    suffix, account = parts.get("EndpointSuffix", ""), parts.get("AccountName", "")
    if suffix and suffix != _PUBLIC and "BlobEndpoint" not in parts:
        parts["BlobEndpoint"] = f"{parts.get('DefaultEndpointsProtocol', 'https')}://{account}.blob.{suffix}"
    return {
        "account": told.get("account") or account,
        "key": told.get("key") or parts.get("AccountKey", ""),
        "sas": told.get("sas_token") or parts.get("SharedAccessSignature", ""),
        "endpoint": parts.get("BlobEndpoint", ""),
    }


def _cli_file() -> dict[str, str]:
    path = Path(os.environ.get("AZURE_CONFIG_DIR") or "~/.azure").expanduser() / "config"
    ini = RawConfigParser(strict=False)
    try:
        ini.read_string(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, IniError) as error:  # the text of an IniError quotes lines of the file
        reason = error.strerror if isinstance(error, OSError) else "it is not a file of settings"
        raise StoreError(f"cannot read the settings of the Azure CLI in {path}: {reason}.") from None
    return dict(ini["storage"]) if ini.has_section("storage") else {}


def _config(container: str, host: str, told: Mapping[str, str]) -> AzureConfig:
    config: AzureConfig = {"container_name": container}
    account, _, domain = host.partition(".")
    account = account or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME") or told["account"]
    if not account:
        raise StoreError(
            f"az://{container}: no storage account is known. Set AZURE_STORAGE_ACCOUNT, or write "
            f"abfss://{container}@ACCOUNT.dfs.core.windows.net."
        )
    config["account_name"] = account
    if domain.endswith("fabric.microsoft.com"):
        config["use_fabric_endpoint"] = True
    elif domain and domain.partition(".")[2] != _PUBLIC:
        config["endpoint"] = f"https://{account}.blob.{domain.partition('.')[2]}"
    elif told["endpoint"] and account == told["account"]:
        config["endpoint"] = told["endpoint"]
    if not first_of(*_IDENTITY)[1]:
        config.update(_identity(told if account == told["account"] else {}))
    return config


def _identity(told: Mapping[str, str]) -> AzureConfig:
    if key := told.get("key"):
        return {"account_key": key}
    if sas := told.get("sas"):
        return {"sas_key": sas}
    folder = Path(os.environ.get("AZURE_CONFIG_DIR") or "~/.azure").expanduser()
    if (folder / "azureProfile.json").exists() and shutil.which("az"):
        return {"use_azure_cli": True}
    return {}  # obstore then asks the managed identity of the machine
