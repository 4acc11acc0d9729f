"""For tests: a server of S3 (moto)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tillwatch.testing.servers.moto import Buckets, Keeper, listening, moto_app

KEY, SECRET = "AKIAPLANTEDKEY", "planted/s3/secret"


class S3Server(Buckets):
    """S3, path style, which lets in the access key ids of `keeper.accepted`."""

    def __init__(self, url: str, keeper: Keeper) -> None:
        super().__init__("s3")
        self.url = url
        self.keeper = keeper

    def environment(self, url: str = "") -> dict[str, str]:
        """The variables with which the product finds the server and is let in."""
        return {
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def wrong(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The same environment with an access key that the server does not know."""
        return {**environment, "AWS_ACCESS_KEY_ID": "AKIAWRONGKEY"}


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server that listens while the context lasts."""
    keeper = Keeper(moto_app(), f"Credential={KEY}/")
    with listening(keeper) as url:
        yield S3Server(url, keeper)
