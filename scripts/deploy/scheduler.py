"""Cloud Scheduler jobs, upserted: running it twice, or after a lost answer, leaves one job as it should be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from google.api_core import exceptions
from google.cloud.scheduler_v1 import CloudSchedulerClient, Job
from google.protobuf import field_mask_pb2

CALL_DEADLINE = 20.0  # seconds
ATTEMPTS = 3
_MASK = ("schedule", "time_zone", "http_target", "retry_config", "attempt_deadline")


class SchedulerError(Exception):
    """The job is not as it should be. The text names the job and the reason."""


def upsert(
    client: CloudSchedulerClient,
    job: dict[str, Any],
    *,
    deadline: float = CALL_DEADLINE,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Make the job so; returns 'created' or 'updated'. `deadline` is in seconds, for each call."""
    wanted = Job.from_json(json.dumps(job))
    for attempt in range(ATTEMPTS):
        try:
            return _once(client, wanted, deadline)
        except (exceptions.ServerError, exceptions.TooManyRequests, exceptions.Aborted) as error:
            if attempt + 1 == ATTEMPTS:
                raise SchedulerError(f"{job['name']}: {type(error).__name__}, {ATTEMPTS} times") from error
            pause(2.0**attempt)
        except exceptions.GoogleAPICallError as error:
            raise SchedulerError(f"{job['name']}: {type(error).__name__}: {error.message}") from error
    raise AssertionError("unreachable")


def _once(client: CloudSchedulerClient, job: Job, deadline: float) -> str:
    try:
        return _update(client, job, deadline)
    except exceptions.NotFound:
        pass
    try:
        client.create_job(parent=job.name.rpartition("/jobs/")[0], job=job, retry=None, timeout=deadline)
    except exceptions.AlreadyExists:  # made by someone else just now, or by our own call whose answer was lost
        return _update(client, job, deadline)
    return "created"


def _update(client: CloudSchedulerClient, job: Job, deadline: float) -> str:
    mask = field_mask_pb2.FieldMask(paths=_MASK)
    client.update_job(job=job, update_mask=mask, retry=None, timeout=deadline)
    return "updated"


def connect(token: str, project: str) -> CloudSchedulerClient:
    """A client with gcloud's own access token, so that one login serves the whole deployment."""
    from google.oauth2.credentials import Credentials

    return CloudSchedulerClient(
        credentials=Credentials(token=token),  # type: ignore[no-untyped-call]
        client_options={"quota_project_id": project},
    )
