"""For tests: a server of Google Cloud Storage's XML API, which is that of S3 but for a header and the credentials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tillwatch.testing.servers.moto import WSGI, Buckets, Keeper, listening, moto_app

TOKEN = "ya29.planted-gcs-token"
_FOR_MOTO = "AWS4-HMAC-SHA256 Credential=AKIAMOTO/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


class GcsServer(Buckets):
    """GCS, which lets in the bearer tokens of `keeper.accepted`."""

    def __init__(self, url: str, keeper: Keeper) -> None:
        super().__init__("gs")
        self.url = url
        self.keeper = keeper

    def environment(self, url: str = "") -> dict[str, str]:
        """The variables with which the product finds the server and is let in."""
        return {"GOOGLE_BASE_URL": url or self.url, "GOOGLE_BEARER_TOKEN": TOKEN}

    def wrong(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The same environment with a token that the server does not know."""
        return {**environment, "GOOGLE_BEARER_TOKEN": "ya29.wrong"}


@contextmanager
def gcs_server() -> Iterator[GcsServer]:
    """A server that listens while the context lasts."""
    keeper = Keeper(_as_s3(moto_app()), f"Bearer {TOKEN}")
    with listening(keeper) as url:
        yield GcsServer(url, keeper)


def _as_s3(app: WSGI) -> WSGI:
    def answer(env: dict[str, Any], start: Any) -> Iterable[bytes]:
        generation = env.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None)
        if generation == "0":
            env["HTTP_IF_NONE_MATCH"] = "*"
        env["HTTP_AUTHORIZATION"] = _FOR_MOTO
        return app(env, start)

    return answer
