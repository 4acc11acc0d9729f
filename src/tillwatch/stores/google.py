"""Google Cloud Storage with what Google's own tools find: key file, `gcloud` login, the machine's service account.

obstore does all that; here are the emulator's variable and clear errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tillwatch.errors import StoreError
from tillwatch.stores.endpoints import first_of, speaking_to

if TYPE_CHECKING:
    from obstore.store import ClientConfig, GCSConfig, GCSStore, RetryConfig

_KEY_FILES = ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH")


def connect_google(bucket: str, client: ClientConfig, retries: RetryConfig) -> GCSStore:
    """A client for the bucket. Raises StoreError when what the environment says cannot be used."""
    from obstore.exceptions import BaseError
    from obstore.store import GCSStore

    config: GCSConfig = {}
    where, endpoint = first_of("GOOGLE_BASE_URL")
    emulator = first_of("STORAGE_EMULATOR_HOST")[1]
    if emulator and not endpoint:
        where, endpoint = "STORAGE_EMULATOR_HOST", emulator if "://" in emulator else f"http://{emulator}"
        config = {"base_url": endpoint, "bearer_token": "emulator"}  # obstore asks for a token even for none
    client = speaking_to(endpoint, where, "GOOGLE_ALLOW_HTTP", client)
    try:
        return GCSStore(bucket, config=config, client_options=client, retry_config=retries)
    except BaseError:  # its text may quote values
        file = first_of(*_KEY_FILES)[0]
        raise StoreError(
            f"gs://{bucket}: the credentials cannot be used: "
            + (f"{file} must name" if file else "application default credentials must be")
            + " a readable key file of a service account or the file of 'gcloud auth application-default login'."
        ) from None
