"""Reading a secret, against a gRPC server that speaks Secret Manager's messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.cloud.secretmanager_v1 import (
    AccessSecretVersionRequest,
    AccessSecretVersionResponse,
    SecretManagerServiceClient,
    SecretPayload,
)
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import SecretManagerServiceGrpcTransport

from shared import secrets
from shared.secrets import (
    SecretCorrupt,
    SecretError,
    SecretForbidden,
    SecretMissing,
    SecretUnavailable,
    crc32c,
    reader_for,
)
from tests.grpc_fake import Fail, Fake, serve

SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"
METHODS = {"AccessSecretVersion": (AccessSecretVersionRequest, AccessSecretVersionResponse)}
TEXT = "https://hooks.example.com/très-secret"
Read = Callable[[str], str]


@contextmanager
def manager(answer: Callable[[Fake, str, Any], Any], deadline: float = 5.0) -> Iterator[tuple[Fake, Read]]:
    with serve(SERVICE, METHODS, answer) as fake, grpc.insecure_channel(fake.address) as channel:
        client = SecretManagerServiceClient(transport=SecretManagerServiceGrpcTransport(channel=channel))
        yield fake, reader_for({"GOOGLE_CLOUD_PROJECT": "ops-prod"}, lambda: client, deadline)


def holding(text: bytes, checksum: int | None = None) -> AccessSecretVersionResponse:
    payload = SecretPayload(data=text) if checksum is None else SecretPayload(data=text, data_crc32c=checksum)
    return AccessSecretVersionResponse(payload=payload)


def always(code: grpc.StatusCode) -> Callable[[Fake, str, Any], Any]:
    def answer(fake: Fake, method: str, request: Any) -> Any:
        raise Fail(code)

    return answer


def test_a_secret_is_read_by_project_name_and_version() -> None:
    with manager(lambda *_: holding(TEXT.encode(), crc32c(TEXT.encode()))) as (fake, read):
        assert read("slack-webhook-url/7") == TEXT
    assert fake.calls[0][1].name == "projects/ops-prod/secrets/slack-webhook-url/versions/7"


def test_the_checksum_is_the_castagnoli_one() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_a_secret_stored_without_a_checksum_is_accepted() -> None:
    with manager(lambda *_: holding(b"plain")) as (_, read):
        assert read("a/1") == "plain"


def test_a_wrong_checksum_is_refused() -> None:
    with manager(lambda *_: holding(TEXT.encode(), 1)) as (_, read), pytest.raises(SecretCorrupt):
        read("a/1")


def test_bytes_that_are_no_text_are_refused() -> None:
    with manager(lambda *_: holding(b"\xff\xfe")) as (_, read), pytest.raises(SecretCorrupt):
        read("a/1")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.NOT_FOUND, SecretMissing),
        (grpc.StatusCode.FAILED_PRECONDITION, SecretMissing),  # a version that is disabled or destroyed
        (grpc.StatusCode.PERMISSION_DENIED, SecretForbidden),
        (grpc.StatusCode.UNAUTHENTICATED, SecretForbidden),
        (grpc.StatusCode.INVALID_ARGUMENT, SecretError),
    ],
)
def test_a_refusal_is_told_at_once_and_not_retried(code: grpc.StatusCode, expected: type[SecretError]) -> None:
    with manager(always(code)) as (fake, read):
        with pytest.raises(expected) as raised:
            read("slack-webhook-url/latest")
        assert type(raised.value) is expected
        assert len(fake.calls) == 1
    assert "slack-webhook-url" in str(raised.value)
    assert "do-not-log-me" not in str(raised.value)


def test_a_passing_failure_is_retried() -> None:
    def second_time(fake: Fake, method: str, request: Any) -> Any:
        if len(fake.calls) == 1:
            raise Fail(grpc.StatusCode.UNAVAILABLE)
        return holding(b"now")

    with manager(second_time) as (fake, read):
        assert read("a/1") == "now"
        assert len(fake.calls) == 2


def test_a_lasting_failure_is_retried_a_few_times_only() -> None:
    with manager(always(grpc.StatusCode.UNAVAILABLE)) as (fake, read):
        with pytest.raises(SecretUnavailable):
            read("a/1")
        assert len(fake.calls) == secrets.ATTEMPTS


def test_a_server_that_hangs_meets_the_deadline() -> None:
    def hang(fake: Fake, method: str, request: Any) -> Any:
        fake.hang()
        return holding(b"never")

    with manager(hang, deadline=0.5) as (_, read), pytest.raises(SecretUnavailable):
        read("a/1")


def test_an_answer_after_the_deadline_is_not_taken_and_the_next_try_succeeds() -> None:
    def late_once(fake: Fake, method: str, request: Any) -> Any:
        if len(fake.calls) == 1:
            fake.hang()
            return holding(b"late")
        return holding(b"in time")

    with manager(late_once, deadline=5.0) as (fake, read):
        assert read("a/1") == "in time"
        assert len(fake.calls) == 2


@pytest.mark.parametrize("reference", ["", "name", "/1", "name/", "a/b/c"])
def test_a_reference_of_another_form_is_refused_without_a_call(reference: str) -> None:
    with manager(lambda *_: holding(b"x")) as (fake, read):
        with pytest.raises(SecretError):
            read(reference)
        assert fake.calls == []


def test_without_a_project_no_client_is_made() -> None:
    def client() -> SecretManagerServiceClient:
        raise AssertionError("a client was made")

    with pytest.raises(SecretError, match="needs a project"):
        reader_for({}, client)("a/1")


def test_nothing_of_a_secret_reaches_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    with manager(lambda *_: holding(TEXT.encode(), 1)) as (_, read):
        with pytest.raises(SecretCorrupt) as raised:
            read("a/1")
        assert TEXT not in repr(raised.value)
    assert capsys.readouterr() == ("", "")
