"""Whose request it is, as far as that can be known: for limits, never for rights."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_address, ip_network
from typing import NamedTuple

Range = IPv4Network | IPv6Network
UNKNOWN = "unknown"
_LONGEST = 64  # characters of an address with its port; what is longer is none
_REMEMBERED = 10_000  # addresses that need not be read anew: as many as are counted


class _Read(NamedTuple):
    client: str
    is_proxy: bool


class Clients:
    """`proxies` are the ranges of those whose entries in X-Forwarded-For are believed."""

    def __init__(self, proxies: Sequence[Range]) -> None:
        self._proxies = {
            4: _Ranges(collapse_addresses(p for p in proxies if isinstance(p, IPv4Network))),
            6: _Ranges(collapse_addresses(p for p in proxies if isinstance(p, IPv6Network))),
        }
        self._read = lru_cache(_REMEMBERED)(self._read_anew)

    def of(self, forwarded: str | None, peer: str | None) -> str:
        """The rightmost address of X-Forwarded-For that is none of our proxies: what is left of it anybody can write.

        An IPv6 address counts with its /64, which is what one customer has. Where all are proxies it is the leftmost of
        them; where there is no header, the peer. All that is no address is one client, whatever it says.
        """
        found: _Read | None = None
        left = forwarded or ""
        while left:
            left, _, entry = left.rpartition(",")
            if entry := entry.strip():
                found = self._of_entry(entry)
                if not found.is_proxy:
                    break
        return (found or self._of_entry(peer or "")).client

    def _of_entry(self, entry: str) -> _Read:
        return self._read(entry) if len(entry) <= _LONGEST else _Read(UNKNOWN, is_proxy=False)

    def _read_anew(self, entry: str) -> _Read:
        address = _parsed(entry)
        if address is None:
            return _Read(UNKNOWN, is_proxy=False)
        client = str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address)
        return _Read(client, self._proxies[address.version].have(address))


class _Ranges:
    """Ranges that do not overlap, in order: which of them an address could be in is found at once."""

    def __init__(self, ranges: Iterable[Range]) -> None:
        found = list(ranges)
        self._starts = [int(each.network_address) for each in found]
        self._ends = [int(each.broadcast_address) for each in found]

    def have(self, address: IPv4Address | IPv6Address) -> bool:
        number = int(address)
        place = bisect_right(self._starts, number) - 1
        return place >= 0 and number <= self._ends[place]


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
