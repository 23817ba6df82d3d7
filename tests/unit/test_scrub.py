"""What identifies a person is taken out of labels; what does not stays readable."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.scrub import is_personal_key, scrub_value
from shared.domain.series import scrub_labels

UID = "xK3dPq9LmN2vRt7YwZ1bC5fGh8Jk"  # of the form that Firebase Auth gives
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9"

PERSONAL = [
    ("ada@example.com", "ada"),
    ("mail from ada.lovelace+ops@mail.example.co.uk refused", "lovelace"),
    ("ada%40example.com", "ada"),
    ("ada%2540example.com", "ada"),
    ("ada@localhost", "ada"),
    ("/users/ada@example.com/orders", "ada"),
    ("/login?email=ada@example.com", "ada"),
    ("https://ada:wonder@host.example/x", "ada"),
    ("https://ada:wonder@host.example/x", "wonder"),
    ("uid=ada", "ada"),
    ("user 8341 not found", "8341"),
    ("no session with user_id: u8341", "8341"),
    ("203.0.113.77", "203.0.113"),
    ("connection from 203.0.113.77.", "203.0.113"),
    ("host.203.0.113.77", "203.0.113"),
    ("ip-203-0-113-77", "203-0-113"),
    ("10.0.0.1:8080", "10.0.0"),
    ("2001:db8::8a2e:370:7334", "8a2e"),
    ("[2001:db8::8a2e]:443", "8a2e"),
    ("2001:0db8:85a3:0000:0000:8a2e:0370:7334", "85a3"),
    ("fe80::8a2e", "8a2e"),
    ("::ffff:203.0.113.77", "203.0"),
    (JWT, "eyJ"),
    (f"token {JWT} expired", "eyJ"),
    (f"Bearer {JWT}", "eyJ"),
    ("Bearer wonderland.key", "wonderland"),
    ("sk-proj-abc123def456ghi789", "abc123"),
    ("sk_live_51Habcdefghijk", "51Habc"),
    ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "abcdef"),
    ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "abcdef"),
    ("xoxb-1234567890-abcdefghij", "abcdef"),
    ("AKIAIOSFODNN7EXAMPLE", "FODNN"),
    (UID, "xK3dPq"),
    (f"user {UID} was refused", "xK3dPq"),
    (f"/users/{UID}", "xK3dPq"),
    (f"%2Fusers%2F{UID}%2Forders", "xK3dPq"),
    ("aBcDeFgHiJkLmNoPqRsTuVwXyZab", "aBcDeF"),
    ("abcdefghijklmnopqrstuvwxyzab", "abcdef"),
    ("+49 151 23456789", "2345"),
    ("(415) 555-2671", "555"),
    ("415.555.2671", "555"),
    ("+49.151.2345678", "2345"),
    ("+4915123456789", "2345"),
    ("/users/8341/orders", "8341"),
    ("/users/:8341/orders", "8341"),
    ("/orders/ord_19283", "19283"),
    ("/orders/a8f3c0", "a8f3c0"),
    ("/s/f47ac10b-58cc-4372-a567-0e02b2c3d479", "f47ac10b"),
    ("session f47ac10b58cc4372a5670e02b2c3d479", "f47ac10b"),
    ("507f1f77bcf86cd799439011", "507f"),
    ("a1b2c3d4e5f60718", "a1b2"),
    ("/call/+49 151 23456789", "2345"),
    ("sk_live_abcdef", "abcdef"),
    ("key_sk_test_abcdef", "abcdef"),
    ("pk_live_abcdef", "abcdef"),
    ("rk_live_abcdef", "abcdef"),
    ("whsec_abcdefgh", "abcdefgh"),
    ("/hooks/whsec_abcdefgh/x", "abcdefgh"),
    ("sk-ant-abcdef", "abcdef"),
    ("ghp_abcdef", "abcdef"),
    ("xoxb-abcdef", "abcdef"),
    ("shpat_abcdef", "abcdef"),
]

HARMLESS = [
    "claude-sonnet-4-5", "claude-opus-4", "gpt-4-turbo", "claude-3-5-sonnet-20241022", "claude-sonnet-4-5-20250929",
    "gpt-4-1106-vision-preview", "gpt-4o-mini", "gpt-4o-2024-08-06", "gemini-1.5-pro-002", "o3-mini",
    "text-embedding-3-large", "llama-3.1-70b-instruct", "mixtral-8x7b-instruct-v0.1",
    "us-central1", "northamerica-northeast1", "australia-southeast1", "europe-west10-a", "us-east-1", "eu",
    "v1.2.3", "2.14.0-rc.1", "1.0.0+build.51", "2024-10-22", "20241022", "python-3.11.4", "react@18.2.0", "x86_64",
    "/users/:id/orders", "/users/{userId}/orders", "/users/[id]", "/users/<int:id>", "/users/<uuid:user_id>/x",
    "/api/v1beta1/agents", "/v2.1/runs", "/oauth2/token", "/api/agent", "GET /api/health", "/", "/models/gpt-4",
    "/models/claude-sonnet-4-5/messages", "/models/claude-3-5-sonnet-20241022/messages", "/regions/us-central1/jobs",
    "HTTP/1.1", "HTTP/2", "GET", "500", "timeout after 5000 ms", "java.lang.IllegalArgumentException",
    "ResourceExhaustedException", "DEADLINE_EXCEEDED", "deadline_exceeded", "sketch-rendering-pipeline",
    "skeleton-loader-page", "pkg-manager-install", "user-service-v2", "user: not found", "checkout_service_primary_eu",
    "application/vnd.api+json", "", "50%",
]  # fmt: skip


@pytest.mark.parametrize(("value", "canary"), PERSONAL)
def test_what_identifies_a_person_is_taken_out_of_a_value(value: str, canary: str) -> None:
    assert canary.lower() not in scrub_value(value).lower()


@pytest.mark.parametrize("value", HARMLESS)
def test_what_identifies_nobody_stays_as_it_is(value: str) -> None:
    assert scrub_value(value) == value


CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]


@pytest.mark.parametrize("code", CONTROLS, ids=hex)
def test_what_a_terminal_or_a_table_would_obey_becomes_a_space(code: int) -> None:
    control = chr(code)
    assert scrub_value(f"{control}a {control}{control} b{control}") == "a b"
    assert scrub_value(f"a{quote(quote(control))}b") == "a b"
    assert scrub_labels({"region": f"eu{control}west"})[0] == {"region": "eu west"}


@pytest.mark.parametrize(
    "value", ["Zürich  Süd", "東京　都", "naïve café", "שלום", "a\u00a0b", "👩‍🚀", "zero\u200bwidth", " a "]
)
def test_ordinary_unicode_stays_as_it_is(value: str) -> None:
    assert scrub_value(value) == value


@pytest.mark.parametrize("personal", ["ada@example.com", "+49 151 23456789", "203.0.113.77", UID])
def test_a_person_between_invisible_marks_is_still_found(personal: str) -> None:
    assert personal not in scrub_value(f"\u202a{personal}\u202c")


@given(
    st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from([chr(code) for code in CONTROLS]), max_size=50)
)
def test_no_control_character_stays_in_any_text(text: str) -> None:
    assert not {*map(ord, scrub_value(text))} & {*CONTROLS}


def test_too_many_labels_are_one_fault_however_many_there_are() -> None:
    assert scrub_labels({f"not ok {n}": n for n in range(10_000)})[1] == ["labels: 10000 of them, at most 10"]


def test_ids_in_a_path_become_its_route() -> None:
    assert scrub_value("/users/8341/orders") == "/users/:id/orders"
    assert scrub_value("/users/8341/orders/ord_19283?tab=2") == "/users/:id/orders/:id"
    assert scrub_value("https://api.example.com/v1/agents/a8f3c0/runs") == "https://api.example.com/v1/agents/:id/runs"


@pytest.mark.parametrize(
    ("value", "route"),
    [
        ("/users/bob/orders", "/users/:id/orders"),
        ("/users/KqXbTzWvRm", "/users/:id"),
        ("/users/bob7", "/users/:id"),
        ("/Customers/bob", "/Customers/:id"),
        ("/u/bob.smith/x", "/u/:id/x"),
        ("/users//bob", "/users//:id"),
        ("/users/żółć", "/users/:id"),
        ("/users/v1ctor", "/users/:id"),
        ("/users/Ada%20Lovelace/orders", "/users/:id/orders"),
        ("/users/%20bob/orders", "/users/:id/orders"),
        ("/users/user/bob", "/users/user/:id"),
        ("/users/by-name/bob", "/users/by-name/:id"),
        ("/orgs/acme/members/bob", "/orgs/acme/members/:id"),
        ("/users/me/friends/bob", "/users/me/friends/:id"),
        ("/accounts/bob/profile/edit", "/accounts/:id/profile/edit"),
        ("users/bob/orders", "users/:id/orders"),
        ("GET /customers/bob", "GET /customers/:id"),
        ("https://api.example.com/people/bob?tab=2", "https://api.example.com/people/:id"),
        ("call to /patients/bob failed", "call to /patients/:id failed"),
        ("/users/bob.json", "/users/:id"),
    ],
)
def test_what_follows_users_and_the_like_in_a_path_is_a_person(value: str, route: str) -> None:
    assert scrub_value(value) == route
    assert scrub_value(route) == route


@pytest.mark.parametrize(
    "value",
    ["/users", "/users/", "/users/me", "/users/me/orders", "/users/search", "/users/new", "/users/list.json",
     "/user/login", "/users/count", "/users/bulk", "/users/batch", "/users/export", "/users/import",
     "/account/reset-password", "/users/resetPassword", "/users/batchGet", "/users/v2/search", "/users/:user_id",
     "/users/{id}/orders", "/users/<id>", "/users/$id", "/users/*", "/user/profile/picture", "/agents/support/runs",
     "/orgs/acme/billing", "/teams/platform", "/users/search failed", "POST /users failed", "/disk_test_results",
     "/metrics/name/latency", "/users/:id/name/edit", "/task_live_view"],
)  # fmt: skip
def test_an_api_around_people_keeps_its_routes(value: str) -> None:
    assert scrub_value(value) == value


@pytest.mark.parametrize(
    "key",
    ["uid", "user_id", "userId", "user.email", "EMAIL", "client_ip", "clientIP", "firebase_uid", "customerEmail",
     "user_8341", "phone_number", "access_token", "x_forwarded_for", "sessionId", "billing_phone", "surname",
     "familyName", "given_name", "nickname", "address", "billing_address", "dob", "date_of_birth", "birthday",
     "mobile", "telephone", "msisdn", "iban", "card_number", "passport", "national_id", "patient_id", "employeeId",
     "imei", "latitude", "billing_first_name", "target_user_id"],
)  # fmt: skip
def test_a_label_named_after_a_person_is_left_out(key: str) -> None:
    assert is_personal_key(key)
    assert scrub_labels({key: "harmless", "method": "GET"})[:2] == ({"method": "GET"}, [])


@pytest.mark.parametrize(
    "key",
    [
        "endpoint",
        "method",
        "status",
        "model",
        "token_type",
        "account_type",
        "region",
        "zip",
        "http.status_code",
        "input_tokens",
        "model_name",
        "file_name",
        "address_family",
        "is_mobile",
        "lat_ms",
        "service.name",
        "street_view",
    ],
)
def test_a_label_named_after_a_thing_stays(key: str) -> None:
    assert scrub_labels({key: "x"})[:2] == ({key: "x"}, [])


@pytest.mark.parametrize("key", [UID, "p4915123456789", "ip_203_0_113_77", "eyJhbGciOi.eyJzdWIiOi.dozjgNry"])
def test_a_label_whose_name_is_itself_an_id_is_left_out(key: str) -> None:
    assert scrub_labels({key: "x", "method": "GET"})[:2] == ({"method": "GET"}, [])


def test_a_number_under_a_personal_name_is_left_out_too() -> None:
    assert scrub_labels({"uid": 8341, "user_id": 5, "status": 500})[:2] == ({"status": "500"}, [])


def test_a_number_is_scrubbed_like_a_text() -> None:
    assert scrub_labels({"caller": 4915123456789})[:2] == ({"caller": ":id"}, [])


def test_a_fault_never_quotes_the_name_of_a_personal_label() -> None:
    clean, reasons, _ = scrub_labels({UID: 1.5, "user_8341": None, "region": []})
    assert clean == {}
    assert reasons == [
        "labels: entry 1: must be a text",
        "labels: entry 2: must be a text",
        "labels.region: must be a text",
    ]


@given(st.text(max_size=200))
def test_any_text_is_scrubbed_without_an_error_and_twice_is_the_same_in_length_bounds(text: str) -> None:
    assert len(scrub_value(text)) <= 4 * len(text) + 10


@given(
    st.integers(min_value=0, max_value=2**32 - 1), st.sampled_from(["{}", "from {}.", "x={}", "[{}]", "/hosts/{}/cpu"])
)
def test_no_ipv4_address_stays_whatever_stands_around_it(number: int, around: str) -> None:
    address = ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
    assert address not in scrub_value(around.format(address))
