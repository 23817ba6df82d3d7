"""Requests to F0 Ops with an admin's token. Whatever goes wrong becomes a sentence and an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests

from shared.domain.faults import WHOLE

LOCAL = "http://127.0.0.1:8080"
TIMEOUT = (5, 70)  # seconds to connect; to answer, more than the function itself may take
_LISTED_BY = {
    "unknown_alert": "alert list",
    "unknown_incident": "incident list",
    "unknown_maintenance": "maintenance list",
    "unknown_notification": "notify list",
    "unknown_runbook": "runbook",
    "unknown_silence": "silence list",
}
FAILED, WRONG, NO_CONNECTION, NOT_ALLOWED = 1, 2, 3, 4

Params = Sequence[tuple[str, str]]


class CannotAsk(Exception):
    """The sentence for the user."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Failed(Exception):
    """What was answered, which is shown like any other answer and tells of a failure: exit code 1."""


class Client:
    """`token` None: the local server is asked for one. `spare` is used if that is no local server after all."""

    def __init__(self, url: str, token: str | None, spare: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._spare = spare
        self._session = requests.Session()
        if is_local(url):
            self._session.trust_env = False  # no proxy between a machine and itself

    @staticmethod
    def of(url: str | None, token: str | None, env: Mapping[str, str]) -> Client:
        """From arguments and environment. Raises `CannotAsk` for an address that a token must not be sent to."""
        address = url or env.get("OPS_URL") or LOCAL
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CannotAsk(f"{address} is not an address such as {LOCAL}", WRONG)
        spare = env.get("OPS_TOKEN") or None
        if is_local(address):
            return Client(address, token, spare)
        if parts.scheme != "https":
            raise CannotAsk(f"{address} is not https: the token would be sent for everybody to read", WRONG)
        return Client(address, token or spare)

    def get(self, path: str, params: Params = (), accept: str = "application/json") -> requests.Response:
        """The answer, which is a 200. Raises `CannotAsk`."""
        headers = {"Authorization": f"Bearer {self._admin_token()}", "Accept": accept}
        return self._checked(self._send("GET", path, params=list(params), headers=headers))

    def json(self, path: str, params: Params = ()) -> Any:
        return _json(self.get(path, params))

    def change(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON of the answer to a POST, PUT or DELETE. Raises `CannotAsk`."""
        given = {"Authorization": f"Bearer {self._admin_token()}", "Accept": "application/json", **(headers or {})}
        return _json(self._checked(self._send(method, path, json=body, headers=given)))

    def _admin_token(self) -> str:
        if self._token is None and is_local(self._url):
            answer = self._send("POST", "/dev/token")
            self._token = str(_json(self._checked(answer))["token"]) if answer.status_code != 404 else self._spare
        if self._token is None:
            raise CannotAsk(
                "No token: put a Firebase ID token of an admin into OPS_TOKEN (docs/deploy.md, Admins).", NOT_ALLOWED
            )
        return self._token

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            return self._session.request(method, self._url + path, timeout=TIMEOUT, allow_redirects=False, **options)
        except (requests.RequestException, UnicodeError) as error:
            hint = "Start it with `make dev`, or name another by --url." if is_local(self._url) else "Check --url."
            name = type(error).__name__
            raise CannotAsk(f"No answer from {self._url} ({name}). {hint}", NO_CONNECTION) from None

    def _checked(self, answer: requests.Response) -> requests.Response:
        if answer.status_code in (200, 201, 202):
            return answer
        told = _told(answer)
        if answer.status_code == 401:
            raise CannotAsk(f"The token was not accepted: {told}. It lasts an hour; get a new one.", NOT_ALLOWED)
        if answer.status_code == 403:
            raise CannotAsk(f"Not allowed: {told}.", NOT_ALLOWED)
        if answer.status_code in (400, 409, 412, 422) or str(_code(answer)).startswith("unknown_"):
            raise CannotAsk(told, WRONG)
        raise CannotAsk(f"{self._url} answered {answer.status_code}: {told}", FAILED)


def is_local(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise CannotAsk("The answer is not JSON: is this the address of F0 Ops?", FAILED) from None


def _code(answer: requests.Response) -> Any:
    try:
        return answer.json()["code"]
    except (ValueError, KeyError, TypeError):
        return None


def _told(answer: requests.Response) -> str:
    """A problem in words, each of its faults on a line of its own. What there is is listed by a command of ours."""
    try:
        problem = answer.json()
        if problem.get("code") in _LISTED_BY:
            command = "inbox" if "/inbox/" in answer.url else _LISTED_BY[problem["code"]]
            return printable(f"{problem['detail'].partition(';')[0]}; `./ops {command}` lists them")
        lines = [f"{e['path']}: {e['message']}".removeprefix(f"{WHOLE}: ") for e in problem.get("errors", [])]
        return printable("\n".join(lines) or problem["detail"], "\n")
    except (ValueError, KeyError, TypeError, AttributeError):
        return "no reason was given"


def printable(text: str, also: str = "") -> str:
    """What others sent must not steer the terminal."""
    return "".join(c if c.isprintable() or c in also else "\N{REPLACEMENT CHARACTER}" for c in text)
