"""Whose request it is, as far as that can be known: for limits, never for rights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Range = IPv4Network | IPv6Network


def client_of(forwarded: str | None, peer: str | None, proxies: Sequence[Range]) -> str:
    """The rightmost address of X-Forwarded-For that is none of our proxies: what stands left of it anybody can write.

    An IPv6 address counts with its /64, which is what one customer has. Where all are proxies it is the leftmost of
    them; where there is no header, the peer. What is no address is told apart from others, but not by its text.
    """
    entries = [entry for entry in (part.strip() for part in (forwarded or "").split(",")) if entry] or [peer or ""]
    found = _parsed(entries[-1])
    for entry in reversed(entries):
        found = _parsed(entry)
        if found is None or not _is_proxy(found, tuple(proxies)):
            break
    if found is None:
        return "unknown"
    return str(ip_network((found, 64), strict=False)) if isinstance(found, IPv6Address) else str(found)


@lru_cache(4096)
def _is_proxy(address: IPv4Address | IPv6Address, proxies: tuple[Range, ...]) -> bool:
    return any(address in network for network in proxies)


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
