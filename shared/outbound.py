"""Calls to other people's servers: one deadline a call, a bounded answer, no redirects, no retry, no proxies.

A fresh connection a call: an instance may be frozen between requests, and a kept connection that died meanwhile would
leave open whether the request arrived. Answers are asked for and read uncompressed. Nothing that is raised here holds
the URL, since the address of a webhook is a secret.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Protocol
from urllib.parse import urlsplit

MAX_ANSWER_BYTES = 64 * 1024
CONNECT_SECONDS = 3.0  # for each address of the host


Address = IPv4Address | IPv6Address
Permit = Callable[[Address], bool]  # whether an address may be connected to


class OutboundError(Exception):
    """No usable answer. `reason` is one word; `sent` is False only if the other side cannot have got the request."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Reply:
    """`headers` by name in lower case. `body` is cut at `MAX_ANSWER_BYTES`, or what else was asked for.

    `certificate_ends`: until when the server's certificate is valid; None without TLS.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    certificate_ends: datetime | None = None


class Outbound(Protocol):
    def post(self, url: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        """POST and read the answer within `deadline` seconds in all. Raises `OutboundError`."""
        ...

    def call(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
        permit: Permit | None = None,
        most: int = MAX_ANSWER_BYTES,
    ) -> Reply:
        """The same with any method, and with `most` bytes of the body. With `permit`, only to an address that it takes.

        The name is looked up once, and what was permitted is what is connected to. Else `address_refused`.
        """
        ...


def is_public(address: Address) -> bool:
    """Whether it is an address of the public internet."""
    real = stands_for(address)
    return real.is_global and not real.is_multicast


def stands_for(address: Address) -> Address:
    """The IPv4 address that an IPv6 address leads to (mapped, NAT64, 6to4, Teredo), else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    teredo = address.teredo
    if int(address) >> 32 == 0x0064FF9B << 64:  # 64:ff9b::/96, how NAT64 writes an IPv4 address
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


class HttpOutbound:
    """Over `http.client`. `ca_file`: certificates to trust instead of the public ones.

    Only a slow name lookup can outlast the deadline; nothing is sent after it.
    """

    def __init__(self, ca_file: str | None = None) -> None:
        self._ca_file = ca_file
        self._context: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    def post(self, url: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        return self.call("POST", url, body, headers, deadline)

    def call(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
        permit: Permit | None = None,
        most: int = MAX_ANSWER_BYTES,
    ) -> Reply:
        end = time.monotonic() + deadline
        try:
            parts = urlsplit(url)
            host, secure = parts.hostname, parts.scheme == "https"
            port = parts.port or (443 if secure else 80)
            if parts.scheme not in ("http", "https") or not host or parts.username is not None:
                raise ValueError
        except ValueError:
            raise OutboundError("bad_url", sent=False) from None
        raw = self.connect(host, port, secure, end, permit)
        with raw:
            connection = http.client.HTTPConnection(host, port)
            connection.default_port = 443 if secure else 80  # decides whether the Host header names the port
            timed: Any = TimedSocket(raw, end)
            connection.sock = timed
            all_headers = {**headers, "Accept-Encoding": "identity", "Connection": "close"}
            try:
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request(method, target, body, all_headers)
                return _read(connection.getresponse(), _certificate_ends(raw), most)
            except TimeoutError:
                raise OutboundError("timeout", sent=timed.touched) from None
            except http.client.InvalidURL:
                raise OutboundError("bad_url", sent=False) from None
            except http.client.IncompleteRead:
                raise OutboundError("incomplete_answer", sent=True) from None
            except ConnectionError:  # also http.client.RemoteDisconnected
                raise OutboundError("connection_lost", sent=timed.touched) from None
            except http.client.HTTPException:
                raise OutboundError("unreadable_answer", sent=True) from None
            except (OSError, ValueError):
                raise OutboundError("connection_failed", sent=timed.touched) from None

    def connect(self, host: str, port: int, secure: bool, end: float, permit: Permit | None = None) -> socket.socket:
        """A connection, with TLS if `secure`, by `end` of the monotonic clock. Raises `OutboundError`.

        Nothing of what is to be told has left yet, whatever goes wrong here.
        """
        try:
            raw = _dial(host, port, end, permit)
        except _Refused:
            raise OutboundError("address_refused", sent=False) from None
        except TimeoutError:
            raise OutboundError("connect_timeout", sent=False) from None
        except ConnectionRefusedError:
            raise OutboundError("connection_refused", sent=False) from None
        except (OSError, UnicodeError):
            raise OutboundError("connect_failed", sent=False) from None
        return self.secured(raw, host, end) if secure else raw

    def secured(self, raw: socket.socket, host: str, end: float) -> socket.socket:
        """The connection with TLS, the certificate checked; closed if that fails. Raises `OutboundError`."""
        try:
            raw.settimeout(_left(end))
            return self._tls().wrap_socket(raw, server_hostname=host)
        except ssl.SSLCertVerificationError:
            raw.close()
            raise OutboundError("certificate_refused", sent=False) from None
        except TimeoutError:
            raw.close()
            raise OutboundError("connect_timeout", sent=False) from None
        except (OSError, ValueError):
            raw.close()
            raise OutboundError("tls_failed", sent=False) from None

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                import certifi  # some systems have no certificates where ssl looks for them

                self._context = ssl.create_default_context(cafile=self._ca_file or certifi.where())
            return self._context


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Refused(OSError):
    """Every address of the host is one that may not be connected to."""


def _dial(host: str, port: int, end: float, permit: Permit | None) -> socket.socket:
    """Connect to the first address that answers, among those that are permitted."""
    failure: OSError = _Refused() if permit else OSError("no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if permit and not permit(ip_address(str(address[0]).partition("%")[0])):
            continue
        candidate = socket.socket(family, kind, protocol)
        try:
            candidate.settimeout(min(CONNECT_SECONDS, _left(end)))
            candidate.connect(address)
        except OSError as error:
            candidate.close()
            failure = error
        else:
            return candidate
    raise failure


def _certificate_ends(raw: socket.socket) -> datetime | None:
    certificate = raw.getpeercert() if isinstance(raw, ssl.SSLSocket) else None
    ends = str((certificate or {}).get("notAfter") or "")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC) if ends else None


def _read(response: http.client.HTTPResponse, certificate_ends: datetime | None, most: int) -> Reply:
    body = response.read(most)
    if response.length and len(body) < most:  # Content-Length promised more
        raise http.client.IncompleteRead(body)
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, headers, body, certificate_ends)


class TimedSocket:
    """What http.client uses of a socket; each call is bounded by what is left of the deadline."""

    def __init__(self, raw: socket.socket, end: float) -> None:
        self.raw = raw
        self._end = end
        self.touched = False  # has anything of the request been handed to the system?

    def sendall(self, data: bytes) -> None:
        self.raw.settimeout(_left(self._end))
        self.touched = True
        self.raw.sendall(data)

    def recv_into(self, buffer: Any) -> int:
        self.raw.settimeout(_left(self._end))
        return self.raw.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self))

    def close(self) -> None:
        """http.client closes before the body is read; who made the socket closes it."""


class _Incoming(io.RawIOBase):
    def __init__(self, timed: TimedSocket) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._timed.recv_into(buffer)
