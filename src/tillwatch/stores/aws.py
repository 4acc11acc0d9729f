"""S3 with what AWS's own tools find: environment, profile files, their helper programs, roles of the machine.

obstore reads the environment and asks for the roles (web identity, containers, instances). Here are the files.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from configparser import Error as IniError
from configparser import RawConfigParser
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tillwatch.errors import StoreError
from tillwatch.stores.endpoints import first_of, speaking_to

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential, S3Store

_NEEDS_AWS_CLI = ("role_arn", "sso_session", "sso_start_url", "login_session")
_HELPER_SECONDS = 60


def connect_s3(bucket: str, client: ClientConfig, retries: RetryConfig) -> S3Store:
    """A client for the bucket. Raises StoreError when what the environment or its files say cannot be used."""
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    name, profile = _profile()
    where, endpoint = first_of("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    config: S3Config = {"disable_bulk_delete": True}  # the bulk request is missing in many compatible stores
    if not endpoint and (endpoint := profile.get("endpoint_url", "")):
        where, config["endpoint"] = f"endpoint_url of the AWS profile '{name}'", endpoint
    if not first_of("AWS_REGION", "AWS_DEFAULT_REGION")[1] and "region" in profile:
        config["region"] = profile["region"]
    client = speaking_to(endpoint, where, "AWS_ALLOW_HTTP", client)
    provider = None
    if not os.environ.get("AWS_ACCESS_KEY_ID"):
        provider = _helper(name, profile)
        config.update(_keys(profile) if provider is None else {})
    try:
        return S3Store(bucket, config=config, client_options=client, retry_config=retries, credential_provider=provider)
    except BaseError:  # its text may quote values
        raise StoreError(
            f"s3://{bucket}: the environment cannot be used: in a variable that starts with AWS_, or in the AWS "
            "profile, a value is missing or of the wrong kind."
        ) from None


def _profile() -> tuple[str, Mapping[str, str]]:
    """Name and values of the chosen profile, from both files; credentials win over config."""
    chosen = os.environ.get("AWS_PROFILE", "")
    name = chosen or "default"
    config = _read("AWS_CONFIG_FILE", "~/.aws/config")
    credentials = _read("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    sections = [(config, "default" if name == "default" else f"profile {name}"), (credentials, name)]
    found = [dict(ini[section]) for ini, section in sections if ini.has_section(section)]
    if chosen and not found:
        raise StoreError(
            f"there is no AWS profile '{name}', which AWS_PROFILE names, in ~/.aws/config or "
            "~/.aws/credentials (or where AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE say)."
        )
    profile = {key: value for values in found for key, value in values.items()}
    services = f"services {profile.get('services', '')}"
    if config.has_option(services, "s3"):
        own = re.search(r"^\s*endpoint_url\s*=\s*(\S+)", config[services]["s3"], re.MULTILINE)
        profile |= {"endpoint_url": own[1]} if own else {}
    return name, profile


def _read(variable: str, default: str) -> RawConfigParser:
    path = Path(os.environ.get(variable) or default).expanduser()
    ini = RawConfigParser(strict=False, default_section="\0")
    try:
        ini.read_string(path.read_text("utf-8"))
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError, IniError) as error:  # the text of an IniError quotes lines of the file
        reason = error.strerror if isinstance(error, OSError) else "it is not a file of profiles"
        raise StoreError(f"cannot read the AWS profiles of {path}: {reason}.") from None
    return ini


def _keys(profile: Mapping[str, str]) -> S3Config:
    if not profile.get("aws_access_key_id"):
        return {}
    keys: S3Config = {
        "access_key_id": profile["aws_access_key_id"],
        "secret_access_key": profile.get("aws_secret_access_key", ""),
    }
    if token := profile.get("aws_session_token"):
        keys["session_token"] = token
    return keys


def _helper(name: str, profile: Mapping[str, str]) -> Callable[[], S3Credential] | None:
    """What asks a program for credentials: that of the profile, or AWS's own for single sign-on and roles."""
    if any(profile.get(key) for key in _NEEDS_AWS_CLI):
        aws = shutil.which("aws")
        if aws is None:
            raise StoreError(
                f"the AWS profile '{name}' uses single sign-on or a role, for which the program 'aws' (AWS CLI 2) "
                "is asked, and it is not on the PATH. Install it, or give keys or a credential_process."
            )
        return lambda: _asked([aws, "configure", "export-credentials", "--format", "process", "--profile", name], name)
    if command := profile.get("credential_process"):
        return lambda: _asked(shlex.split(command), name)
    return None


def _asked(command: Sequence[str], name: str) -> S3Credential:
    # What the program prints is never shown: it holds the keys.
    try:
        answer = subprocess.run(command, capture_output=True, timeout=_HELPER_SECONDS, check=True).stdout
        found = json.loads(answer)
        expires = found.get("Expiration")
        return {
            "access_key_id": found["AccessKeyId"],
            "secret_access_key": found["SecretAccessKey"],
            "token": found.get("SessionToken"),
            "expires_at": datetime.fromisoformat(expires) if expires else None,
        }
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, AttributeError) as error:
        raise StoreError(
            f"the program that gives the credentials of the AWS profile '{name}' failed "
            f"({type(error).__name__}). Run it by hand to see why; with single sign-on: aws sso login."
        ) from None
