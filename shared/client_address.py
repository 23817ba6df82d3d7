"""Whose request it is, as far as that can be known: for limits, never for rights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

Range = IPv4Network | IPv6Network
UNKNOWN = "unknown"
_LONGEST = 64  # characters of an address with its port; what is longer is none


class _Read(NamedTuple):
    client: str
    is_proxy: bool


class Clients:
    """`proxies` are the ranges of those whose entries in X-Forwarded-For are believed."""

    def __init__(self, proxies: Sequence[Range]) -> None:
        self._proxies = tuple(proxies)
        self._read = lru_cache(4096)(self._read_anew)

    def of(self, forwarded: str | None, peer: str | None) -> str:
        """The rightmost address of X-Forwarded-For that is none of our proxies: what is left of it anybody can write.

        An IPv6 address counts with its /64, which is what one customer has. Where all are proxies it is the leftmost of
        them; where there is no header, the peer. All that is no address is one client, whatever it says.
        """
        entries = [entry for entry in (part.strip() for part in (forwarded or "").split(",")) if entry] or [peer or ""]
        found = _Read(UNKNOWN, is_proxy=False)
        for entry in reversed(entries):
            found = self._read(entry) if len(entry) <= _LONGEST else _Read(UNKNOWN, is_proxy=False)
            if not found.is_proxy:
                break
        return found.client

    def _read_anew(self, entry: str) -> _Read:
        address = _parsed(entry)
        if address is None:
            return _Read(UNKNOWN, is_proxy=False)
        client = str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address)
        return _Read(client, any(address in network for network in self._proxies))


def _parsed(entry: str) -> IPv4Address | IPv6Address | None:
    """`192.0.2.1`, with a port, or `[2001:db8::1]:443`; an IPv4 address written as IPv6 is that IPv4 address."""
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        found = ip_address(entry.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
