"""Whose request it is: what a stranger writes into X-Forwarded-For changes nothing."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.client_address import UNKNOWN, Clients

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
