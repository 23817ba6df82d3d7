"""One HTTP request of a probe, with its redirects: never to a private address by somebody else's word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urljoin, urlsplit

from shared.outbound import MAX_ANSWER_BYTES, Address, Outbound, OutboundError, Reply, is_public, stands_for

_REDIRECTS = (301, 302, 303, 307, 308)
_AGENT = {"User-Agent": "f0-ops-probe", "Accept": "*/*"}


def fetch(
    outbound: Outbound,
    monotonic: Callable[[], float],
    method: str,
    url: str,
    body: bytes | None,
    headers: Mapping[str, str],
    deadline: float,
    *,
    redirects: int = 0,
    private_redirects: bool = False,
    most: int = MAX_ANSWER_BYTES,
) -> Reply:
    """The answer at the end of at most `redirects` redirects, all within `deadline` seconds. Raises `OutboundError`.

    Redirects of GET and HEAD are followed; with `redirects` 0, a redirect is an answer as any other. The address that
    is configured is the operator's own word and may be private, though never link-local, where clouds give out
    credentials. One that a server names must be public, and gets no header of ours if it is another origin's.
    """
    end = monotonic() + deadline
    given = {**_AGENT, **headers}
    permit = None if private_redirects else _not_link_local
    for hop in range(redirects + 1):
        reply = outbound.call(method, url, body, given, end - monotonic(), permit, most)
        location = reply.headers.get("location")
        if reply.status not in _REDIRECTS or location is None or method not in ("GET", "HEAD") or redirects == 0:
            return reply
        if hop == redirects:
            raise OutboundError("too_many_redirects", sent=True)
        target = _joined(url, location)
        if _origin(target) != _origin(url):
            given = _AGENT
        url, body = target, None
        permit = None if private_redirects else is_public
    raise AssertionError("the last hop returns or raises")


def _not_link_local(address: Address) -> bool:
    return not stands_for(address).is_link_local


def _joined(url: str, location: str) -> str:
    """Where a redirect leads: http(s) only, without a user, and never from https to http."""
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
        _ = parts.port
    except ValueError:
        sound = False
    if not sound or not target.isascii() or any(c <= " " for c in target):
        raise OutboundError("bad_redirect", sent=True)
    if urlsplit(url).scheme == "https" and parts.scheme != "https":
        raise OutboundError("insecure_redirect", sent=True)
    return parts._replace(fragment="").geturl()


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
