"""A file in a bucket of Cloud Storage, written and read with Google's client, within a deadline and without retries."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from google.cloud.storage import Client


class BucketError(Exception):
    """`reason` is a word; `refused`: the fault is in our set-up and not in Cloud Storage."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused


class Bucket(Protocol):
    """Writing and reading raise `BucketError`; `seconds` is for the connection and for each wait for bytes."""

    def prepare(self) -> None:
        """Make the client. What goes wrong is told by the first use."""
        ...

    def write(self, name: str, content: bytes, seconds: float) -> None: ...

    def read(self, name: str, seconds: float) -> bytes: ...


class CloudBuckets:
    """The client is made at the first use, in this process."""

    def __init__(self, project: str | None) -> None:
        self._project = project
        self._lock = threading.Lock()
        self._client: Client | None = None

    def __call__(self, bucket: str) -> Bucket:
        return _CloudBucket(self, bucket)

    def client(self) -> Client:
        with self._lock:
            if self._client is None:
                from google.cloud.storage import Client

                # Else a thread of its own asks for each bucket's metadata, for traces that nobody takes here
                os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
                self._client = Client(project=self._project)
            return self._client


class _CloudBucket:
    def __init__(self, buckets: CloudBuckets, name: str) -> None:
        self._buckets = buckets
        self._name = name

    def prepare(self) -> None:
        with suppress(Exception):
            self._buckets.client()

    def write(self, name: str, content: bytes, seconds: float) -> None:
        try:
            self._blob(name).upload_from_string(content, timeout=(seconds, seconds), retry=None)
        except Exception as error:
            raise _told(error) from error

    def read(self, name: str, seconds: float) -> bytes:
        try:
            content: bytes = self._blob(name).download_as_bytes(timeout=(seconds, seconds), retry=None)
        except Exception as error:
            raise _told(error) from error
        return content

    def _blob(self, name: str) -> Any:
        return self._buckets.client().bucket(self._name).blob(name)


def _told(error: Exception) -> BucketError:
    """The error in a word of ours: its own text names the address, and so the bucket."""
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, Unauthorized
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import Timeout

    if isinstance(error, NotFound):
        return BucketError("no_such_bucket", refused=True)
    if isinstance(error, Forbidden | Unauthorized | GoogleAuthError):
        return BucketError("not_allowed", refused=True)
    if isinstance(error, GoogleAPICallError):
        return BucketError("storage_failed")
    return BucketError("timeout" if isinstance(error, Timeout) else "storage_unreachable")
