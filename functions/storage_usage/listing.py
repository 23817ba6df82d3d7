"""Lists the objects of a bucket with Google's client, within deadlines, and says in a word what went wrong."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from shared.domain.storage import Object
from shared.metrics.storage_usage import PAGE, ListingError

if TYPE_CHECKING:
    from google.cloud.storage import Client

FIELDS = "items(name,size),nextPageToken"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0  # for a page whole: the client's own timeout only bounds each read from the socket
RETRY_SECONDS = 30.0  # no new attempt at a page is begun after these
MAX_NAME = 1024  # bytes
MAX_ANSWER = 4_000_000  # bytes; 400 of the longest names, escaped, are 2.5 MB
_SIZE = re.compile(r"[0-9]{1,18}")


class CloudListing:
    """The client is made at the first use, in this process. `monotonic` gives seconds."""

    def __init__(
        self,
        project: str | None,
        monotonic: Callable[[], float],
        *,
        answer_seconds: float = ANSWER_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._project = project
        self._monotonic = monotonic
        self._answer_seconds = answer_seconds
        self._retry_seconds = retry_seconds
        self._lock = threading.Lock()
        self._client: Client | None = None

    def pages(self, bucket: str, after: str) -> Iterator[Sequence[Object]]:
        """Pages of at most 400 objects from `after` on. Raises `ListingError`."""
        try:
            found = self._connected().list_blobs(
                bucket,
                start_offset=after or None,
                page_size=PAGE,
                fields=FIELDS,
                timeout=(CONNECT_SECONDS, self._answer_seconds),
                retry=self._retry(),
            )
            tokens: set[str] = set()
            for page in found.pages:
                token = found.next_page_token
                if token is not None and (not isinstance(token, str) or token in tokens):
                    raise ListingError("unreadable answer")
                tokens.add(token or "")
                yield [_object(item) for item in page.raw_page.get("items", ())]
        except ListingError:
            raise
        except Exception as error:
            raise _told(error) from error

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None:
                from google.cloud.storage import Client

                # Else a thread of its own asks for each bucket's metadata, for traces that nobody takes here
                os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
                client = Client(project=self._project)
                _bound_answers(client, self._answer_seconds, self._monotonic)
                self._client = client
            return self._client

    def _retry(self) -> Any:
        from google.api_core.retry import Retry

        return Retry(_may_pass, initial=0.2, maximum=5.0, multiplier=2.0, timeout=self._retry_seconds)


def _object(item: Any) -> Object:
    """The API gives the size as a text. Raises `ListingError`."""
    name, size = (item.get("name"), item.get("size")) if isinstance(item, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(size, str) or not _SIZE.fullmatch(size) or not _is_name(name):
        raise ListingError("unreadable answer")
    return name, int(size)


def _is_name(text: str) -> bool:
    try:
        return 0 < len(text.encode()) <= MAX_NAME
    except UnicodeEncodeError:
        return False


def _may_pass(error: BaseException) -> bool:
    """Whether another attempt may succeed. Google's own rule would not take garbage for a fault that passes."""
    return not _told(error).for_good


def _told(error: BaseException) -> ListingError:
    """The error in words of ours. Its own text would name objects, since the address of a page does."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
    from requests.exceptions import ConnectionError, InvalidJSONError, Timeout

    if isinstance(error, ListingError):
        return error
    if isinstance(error, RetryError) and error.cause is not None:
        return _told(error.cause)
    if isinstance(error, GoogleAPICallError):
        status = error.code or 0
        word = {
            401: "not signed in (401)",
            403: "not allowed (403)",
            404: "no such bucket (404)",
            429: "throttled (429)",
        }
        passes = status in (408, 429) or status >= 500
        return ListingError(word.get(int(status), f"refused ({int(status)})"), for_good=not passes)
    if isinstance(error, Timeout):
        return ListingError("no answer in time")
    if isinstance(error, DefaultCredentialsError):
        return ListingError("no credentials")  # or the server that gives them did not answer
    if isinstance(error, GoogleAuthError):
        return ListingError("no access token")
    if isinstance(error, InvalidJSONError | ValueError | AttributeError | TypeError | KeyError):
        return ListingError("unreadable answer")
    if isinstance(error, ConnectionError):
        return ListingError("connection failed")
    return ListingError(f"failed ({type(error).__name__})")


def _bound_answers(client: Client, seconds: float, monotonic: Callable[[], float]) -> None:
    """Read each answer's body within `seconds` and `MAX_ANSWER`, however slowly its bytes come."""
    from requests import PreparedRequest, Response
    from requests.adapters import HTTPAdapter
    from requests.exceptions import ConnectionError, InvalidJSONError, Timeout
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    class Bounded(HTTPAdapter):
        def send(self, request: PreparedRequest, *args: Any, **more: Any) -> Response:
            deadline = monotonic() + seconds
            response = super().send(request, *args, **{**more, "stream": True})
            body = bytearray()
            try:
                while True:
                    piece = response.raw.read1(65_536, decode_content=True)
                    body += piece
                    if not piece:
                        break
                    if len(body) > MAX_ANSWER:
                        raise InvalidJSONError("too long")
                    if monotonic() > deadline:
                        raise Timeout
            except ReadTimeoutError as error:
                raise Timeout from error
            except HTTPError as error:
                raise ConnectionError from error
            finally:
                response.close()
            response._content = bytes(body)
            response._content_consumed = True  # type: ignore[attr-defined]
            return response

    for scheme in ("https://", "http://"):
        client._http.mount(scheme, Bounded())
