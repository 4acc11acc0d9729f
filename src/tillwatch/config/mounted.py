"""Secrets that programs are given beside the configuration: an environment variable, or a file that is mounted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from tillwatch.errors import PublishError

MAX_BYTES = 64 * 1024


def secret_of(variable: str | None, file: str | None, environ: Mapping[str, str] = os.environ) -> Callable[[], str]:
    """A function that reads the secret, each time anew, so that one that was changed is used without a restart.

    A file's white space at both ends is not part of it. The function raises PublishError when there is none.
    """

    def read() -> str:
        secret = environ.get(variable, "") if variable else _content(Path(file or ""))
        if not secret:
            # What does not look like a name may be the secret itself.
            name = variable if variable and variable.isupper() else "that secret_env names"
            where = f"the environment variable {name}" if variable else f"the file {file}"
            raise PublishError(f"{where} holds no secret; set it to that of the receiver")
        return secret

    return read


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode().strip()
    except OSError as error:
        raise PublishError(f"the secret in {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PublishError(f"the secret in {path} is not text in UTF-8") from None
