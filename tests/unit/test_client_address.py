"""Whose request it is: what a stranger writes into X-Forwarded-For changes nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.api.client_address import UNKNOWN, Clients

CLIENTS = Clients([ip_network("151.101.0.0/16"), ip_network("2a04:4e40::/32")])


@pytest.mark.parametrize(
    ("forwarded", "peer", "client"),
    [
        ("203.0.113.7", "10.0.0.1", "203.0.113.7"),
        (None, "192.0.2.9", "192.0.2.9"),
        ("", "192.0.2.9", "192.0.2.9"),
        (" , ", "192.0.2.9", "192.0.2.9"),
        ("6.6.6.6, 203.0.113.7", "10.0.0.1", "203.0.113.7"),
        ("203.0.113.7, 151.101.1.2", "10.0.0.1", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7, 151.101.1.2, 151.101.9.9", "10.0.0.1", "203.0.113.7"),
        ("151.101.7.7, 203.0.113.7, 151.101.1.2", "10.0.0.1", "203.0.113.7"),
        ("151.101.7.7, 151.101.1.2", "10.0.0.1", "151.101.7.7"),
        ("203.0.113.7,2a04:4e40::5", "10.0.0.1", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "10.0.0.1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "10.0.0.1", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]:443", "10.0.0.1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "10.0.0.1", "fe80::/64"),
        ("203.0.113.7:51000", "10.0.0.1", "203.0.113.7"),
        ("::ffff:203.0.113.7", "10.0.0.1", "203.0.113.7"),
        ("203.0.113.7, ::ffff:151.101.1.2", "10.0.0.1", "203.0.113.7"),
        ("203.0.113.7, what is this", "10.0.0.1", UNKNOWN),
        ("1" * 4000, "10.0.0.1", UNKNOWN),
        (None, None, UNKNOWN),
    ],
)
def test_the_client_is_the_rightmost_that_is_no_proxy(forwarded: str | None, peer: str | None, client: str) -> None:
    assert CLIENTS.of(forwarded, peer) == client


@given(st.text(max_size=80))
def test_nothing_that_is_written_on_the_left_makes_another_client(written: str) -> None:
    assert CLIENTS.of(f"{written}, 203.0.113.7", "10.0.0.1") == "203.0.113.7"


@given(st.text(max_size=80))
def test_whatever_is_sent_it_is_some_client(written: str) -> None:
    assert CLIENTS.of(written, written)


NETWORKS = st.integers(0, 2**32 - 1).flatmap(
    lambda n: st.integers(1, 32).map(lambda bits: IPv4Network((n, bits), False))
)


@given(st.lists(NETWORKS, max_size=12), st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_a_proxy_is_who_is_in_any_of_the_ranges(ranges: list[IPv4Network], others: list[int]) -> None:
    edges = [edge for each in ranges for edge in (each.network_address, each.broadcast_address)]
    close = [*edges, *(a + 1 for a in edges if int(a) < 2**32 - 1), *(a - 1 for a in edges if int(a))]
    for address in (*close, *map(IPv4Address, others)):
        is_proxy = any(address in each for each in ranges)
        assert Clients(ranges).of(f"192.0.2.1, {address}", None) == ("192.0.2.1" if is_proxy else str(address))
