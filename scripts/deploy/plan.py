"""What a deployment does, step by step, as data: made here without a network, then printed or run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from scripts.deploy import environment
from scripts.manifest import Endpoint, Manifest

RUNTIME = "python311"
ENV_DIR = ".f0ops/deploy"
LISTS_BUCKETS = "storageUsage"
BASE_APIS = (
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudfunctions.googleapis.com",
    "firestore.googleapis.com",
    "run.googleapis.com",
)
_MIN_ATTEMPT, _MAX_ATTEMPT = 180, 1800  # seconds; the Firebase CLI clamps alike, so both make the same job
_INGRESS = {
    "ALLOW_ALL": "all",
    "ALLOW_INTERNAL_ONLY": "internal-only",
    "ALLOW_INTERNAL_AND_GCLB": "internal-and-gclb",
}


@dataclass(frozen=True)
class Command:
    """One call of a command line tool. `files` are written before: path → text. `deadline` in seconds."""

    title: str
    argv: list[str]
    deadline: float
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobUpsert:
    """Create a Cloud Scheduler job, or update it where it exists. `job` has the form of the REST API."""

    title: str
    job: dict[str, Any]


Step = Command | JobUpsert


@dataclass(frozen=True)
class Target:
    """Where to deploy. `region` None: the regions of the manifest. `only`: these functions and nothing else."""

    project: str
    region: str | None = None
    only: Sequence[str] = ()
    firebase: bool = True
    buckets: Sequence[str] = ()  # those that storageUsage lists

    def regions(self, endpoint: Endpoint) -> list[str]:
        return [self.region] if self.region else endpoint.region


def endpoints(manifest: Manifest, target: Target) -> dict[str, Endpoint]:
    return {id_: e for id_, e in manifest.endpoints.items() if not target.only or id_ in target.only}


def steps(manifest: Manifest, target: Target, values: Mapping[str, str]) -> list[Step]:
    """All steps in their order. Each may be done again without harm, so a failed deployment is simply resumed."""
    return list(_steps(manifest, target, values))


def _steps(manifest: Manifest, target: Target, values: Mapping[str, str]) -> Iterator[Step]:
    chosen = endpoints(manifest, target)
    whole = target.firebase and not target.only
    if whole:  # first: a function that runs before its indexes exist answers with errors
        yield _firebase("Firestore: rules, indexes, TTL policies", "firestore", target)
    for secret, account in dict.fromkeys(
        (s.secret, e.service_account(target.project)) for e in chosen.values() for s in e.secret_environment_variables
    ):
        yield _grant(secret, account, target)
    if LISTS_BUCKETS in chosen:
        for bucket in target.buckets:
            yield _list_bucket(bucket, chosen[LISTS_BUCKETS].service_account(target.project))
    for id_, endpoint in chosen.items():
        for region in target.regions(endpoint):
            env = environment.of_function(id_, endpoint, region, target.project, values)
            yield _function(id_, endpoint, region, target.project, env)
            for account in _invokers(endpoint, target.project):
                yield _invoker(id_, account, region, target.project)
            if endpoint.schedule_trigger:
                yield JobUpsert(f"Cloud Scheduler job of {id_}", job(id_, endpoint, region, target.project))
    if whole:  # last: its rewrites name functions, which must exist
        yield _firebase("Hosting: the paths that lead to the functions", "hosting", target)


def _firebase(title: str, what: str, target: Target) -> Command:
    argv = ["firebase", "deploy", "--only", what, "--project", target.project, "--non-interactive"]
    return Command(title, argv, deadline=600)


def _grant(secret: str, account: str, target: Target) -> Command:
    argv = ["gcloud", "secrets", "add-iam-policy-binding", secret, f"--project={target.project}"]
    argv += [f"--member=serviceAccount:{account}", "--role=roles/secretmanager.secretAccessor", "--quiet"]
    return Command(f"{account} may read the secret {secret}", argv, deadline=120)


def _list_bucket(bucket: str, account: str) -> Command:
    argv = ["gcloud", "storage", "buckets", "add-iam-policy-binding", f"gs://{bucket}"]
    argv += [f"--member=serviceAccount:{account}", "--role=roles/storage.objectViewer", "--quiet"]
    return Command(f"{account} may list the bucket {bucket}", argv, deadline=120)


def _function(id_: str, endpoint: Endpoint, region: str, project: str, env: Mapping[str, str]) -> Command:
    env_file = f"{ENV_DIR}/{id_}-{region}.yaml"
    secrets = [f"{s.key}={s.secret}:latest" for s in endpoint.secret_environment_variables]
    argv = ["gcloud", "functions", "deploy", id_, "--gen2", f"--project={project}", f"--region={region}"]
    argv += [f"--runtime={RUNTIME}", "--source=.", f"--entry-point={endpoint.entry_point}", "--trigger-http"]
    argv += [f"--memory={endpoint.available_memory_mb}Mi", f"--cpu={endpoint.cpu:g}"]
    argv += [f"--concurrency={endpoint.concurrency}", f"--timeout={endpoint.timeout_seconds}s"]
    argv += [f"--min-instances={endpoint.min_instances}", f"--max-instances={endpoint.max_instances}"]
    argv += [f"--ingress-settings={_INGRESS[endpoint.ingress_settings]}"]
    argv += [f"--service-account={endpoint.service_account(project)}", f"--env-vars-file={env_file}"]
    argv += [f"--set-secrets={','.join(secrets)}" if secrets else "--clear-secrets"]
    argv += ["--allow-unauthenticated" if endpoint.public else "--no-allow-unauthenticated", "--quiet"]
    return Command(f"function {id_} in {region}", argv, deadline=1200, files={env_file: yaml.safe_dump(dict(env))})


def _invokers(endpoint: Endpoint, project: str) -> list[str]:
    """The accounts that may call a function which is not public."""
    if endpoint.https_trigger is None:
        return [endpoint.service_account(project)]
    return [entry for entry in endpoint.https_trigger.invoker if "@" in entry]


def _invoker(id_: str, account: str, region: str, project: str) -> Command:
    argv = ["gcloud", "functions", "add-invoker-policy-binding", id_, f"--project={project}", f"--region={region}"]
    return Command(f"{account} may call {id_}", [*argv, f"--member=serviceAccount:{account}", "--quiet"], deadline=120)


def job(id_: str, endpoint: Endpoint, region: str, project: str) -> dict[str, Any]:
    """The job of a scheduled function. Its name is the one that the Firebase CLI gives, so that there is one job."""
    trigger = endpoint.schedule_trigger
    if trigger is None:
        raise ValueError(f"{id_} has no schedule")
    url = environment.url_of(id_, region, project)
    retry = {
        "retryCount": trigger.retry_config.retry_count,
        "maxRetryDuration": _seconds(trigger.retry_config.max_retry_seconds),
        "minBackoffDuration": _seconds(trigger.retry_config.min_backoff_seconds),
        "maxBackoffDuration": _seconds(trigger.retry_config.max_backoff_seconds),
        "maxDoublings": trigger.retry_config.max_doublings,
    }
    return {
        "name": f"projects/{project}/locations/{region}/jobs/firebase-schedule-{id_}-{region}",
        "schedule": trigger.schedule,
        "timeZone": trigger.time_zone,
        "attemptDeadline": _seconds(min(max(endpoint.timeout_seconds, _MIN_ATTEMPT), _MAX_ATTEMPT)),
        "retryConfig": {name: value for name, value in retry.items() if value is not None},
        "httpTarget": {
            "uri": url,
            "httpMethod": "POST",
            "oidcToken": {"serviceAccountEmail": endpoint.service_account(project), "audience": url},
        },
    }


def _seconds(value: int | None) -> str | None:
    return None if value is None else f"{value}s"


def as_script(plan: Sequence[Step]) -> str:
    """The steps as a shell script, whose commands can be copied one by one. Jobs stand in it as comments."""
    total = len(plan)
    return "\n".join(_shown(number, total, step) for number, step in enumerate(plan, 1))


def _shown(number: int, total: int, step: Step) -> str:
    lines = [f"# {number}/{total}  {step.title}"]
    if isinstance(step, JobUpsert):
        text = yaml.safe_dump(step.job, sort_keys=False, width=1000)
        lines += ["# update_job with this; where there is none, create_job:", *(f"#   {x}" for x in text.splitlines())]
        return "\n".join(lines) + "\n"
    for path, text in step.files.items():
        lines += [f"mkdir -p {shlex.quote(path.rpartition('/')[0])}"]
        lines += [f"cat > {shlex.quote(path)} <<'END_OF_SETTINGS'", text.rstrip("\n"), "END_OF_SETTINGS"]
    return "\n".join([*lines, shlex.join(step.argv)]) + "\n"
