"""Deploying: the plan as printed, what is missing, the upsert of a job, and how a step fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud.scheduler_v1 import CloudSchedulerClient, CreateJobRequest, Job, UpdateJobRequest
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import CloudSchedulerGrpcTransport

from scripts.deploy import environment, preflight, run, scheduler
from scripts.deploy.__main__ import main
from scripts.deploy.plan import BASE_APIS, Command, JobUpsert, Target, as_script, job, steps
from scripts.manifest import ROOT, load
from tests.grpc_fake import Fail, Fake, serve

GOLDEN = Path(__file__).parent.parent / "golden" / "deploy"
REAL = load()
TARGET = Target("ops-prod")
PLAN = steps(REAL, TARGET, {})
JOB = job("alertRules", REAL.endpoints["alertRules"], "us-central1", "ops-prod")
DRY_RUN = [
    *("--project", "ops-prod", "--region", "europe-west1", "--no-firebase", "--dry-run"),
    *("--manifest", str(GOLDEN / "functions.yaml"), "--env-file", str(GOLDEN / "settings.env")),
]


def commands() -> list[Command]:
    return [step for step in PLAN if isinstance(step, Command)]


# The dry run


def test_the_dry_run_prints_the_plan_with_nothing_installed_and_nobody_logged_in(tmp_path: Path) -> None:
    """To renew the golden file, write the output of this command to it."""
    env = {"PATH": "", "HOME": str(tmp_path)}
    argv = [sys.executable, "-m", "scripts.deploy", *DRY_RUN]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout == (GOLDEN / "dry_run.sh").read_text()


def test_the_dry_run_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    generated = ROOT / ".f0ops" / "deploy" / "metricsIngest-europe-west1.yaml"
    before = generated.exists()
    assert main(DRY_RUN) == 0
    assert generated.exists() == before
    assert "metricsIngest-europe-west1.yaml" in capsys.readouterr().out


def test_the_dry_run_is_a_shell_script(tmp_path: Path) -> None:
    script = tmp_path / "plan.sh"
    script.write_text(as_script(PLAN))
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=30)


def test_the_printed_commands_are_the_ones_that_run(tmp_path: Path) -> None:
    """The script runs with tools that only note their arguments and the settings file that they are given."""
    for tool in ("gcloud", "firebase"):
        (tmp_path / tool).write_text(f'#!/bin/sh\nprintf "%s\\0" {tool} "$@" >> calls\nprintf "\\n" >> calls\n')
        (tmp_path / tool).chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-e", "-c", as_script(PLAN)], cwd=tmp_path, env=env, check=True, timeout=60)
    called = [line.rstrip("\0").split("\0") for line in (tmp_path / "calls").read_text().splitlines()]
    assert called == [command.argv for command in commands()]
    for command in commands():
        for path, text in command.files.items():
            assert (tmp_path / path).read_text() == text


def test_every_function_is_deployed_with_threads_as_its_concurrency() -> None:
    for id_, endpoint in REAL.endpoints.items():
        (deploy,) = [c for c in commands() if c.argv[:4] == ["gcloud", "functions", "deploy", id_]]
        assert f"--concurrency={endpoint.concurrency}" in deploy.argv
        (settings,) = deploy.files.values()
        assert f"THREADS: '{endpoint.concurrency}'" in settings


def test_every_schedule_has_a_job_with_the_name_of_the_firebase_cli() -> None:
    names = [step.job["name"] for step in PLAN if isinstance(step, JobUpsert)]
    parent = "projects/ops-prod/locations/us-central1/jobs"
    assert names == [f"{parent}/firebase-schedule-{id_}-us-central1" for id_ in REAL.scheduled]


def test_only_scheduled_functions_are_called_by_an_account_and_all_of_them_are() -> None:
    called = [c.argv[3] for c in commands() if "add-invoker-policy-binding" in c.argv]
    assert called == list(REAL.scheduled)


@pytest.mark.parametrize(("timeout", "deadline"), [(55, "180s"), (240, "240s"), (1800, "1800s")])
def test_the_deadline_of_a_job_is_clamped_as_the_firebase_cli_does(timeout: int, deadline: str) -> None:
    endpoint = REAL.endpoints["alertRules"].model_copy(update={"timeout_seconds": timeout})
    assert job("alertRules", endpoint, "us-central1", "ops-prod")["attemptDeadline"] == deadline


def test_only_takes_the_functions_named_and_nothing_shared() -> None:
    titles = [step.title for step in steps(REAL, Target("ops-prod", only=["statusApi"]), {})]
    assert titles == ["function statusApi in us-central1"]


def test_no_secret_is_given_to_a_function_that_does_not_name_it() -> None:
    (status,) = [c for c in commands() if c.argv[:4] == ["gcloud", "functions", "deploy", "statusApi"]]
    assert "--clear-secrets" in status.argv
    assert not any(word.startswith("--set-secrets") for word in status.argv)


# Settings from .env files


def test_settings_are_read_from_files_later_ones_winning(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# all\nOPS_EMAIL=a@example.com\nexport SLACK_OPS_CHANNEL='#a # b'\nCORS_ORIGINS=\n")
    (tmp_path / ".env.ops-prod").write_text("OPS_EMAIL=b@example.com # later\n")
    (tmp_path / ".env.other").write_text("OPS_EMAIL=c@example.com\n")
    files = environment.default_files(tmp_path, "ops-prod")
    assert environment.read(files, REAL) == {"OPS_EMAIL": "b@example.com", "SLACK_OPS_CHANNEL": "#a # b"}


def test_all_faults_of_the_files_are_told_at_once_without_a_value(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("SLACK_WEBHOOK_URL=verysecret\nOPS_EMIAL=verysecret\nverysecret words\n")
    with pytest.raises(environment.EnvironmentFault) as raised:
        environment.read([file], REAL)
    assert len(raised.value.faults) == 3
    assert "verysecret" not in str(raised.value)


def test_keys_of_probes_are_secrets_and_their_other_settings_may_have_any_name(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("APP_BASE_URL=https://app.example.com\nPROBE_REGION=eu\n")
    assert environment.read([file], REAL) == {"APP_BASE_URL": "https://app.example.com", "PROBE_REGION": "eu"}
    file.write_text("STRIPE_API_KEY=verysecret\nOPENAI_API_KEY=verysecret\n")
    with pytest.raises(environment.EnvironmentFault) as raised:
        environment.read([file], REAL)
    assert [fault.partition(": ")[2].partition(":")[0] for fault in raised.value.faults] == [
        "STRIPE_API_KEY is a secret", "OPENAI_API_KEY is a secret",
    ]  # fmt: skip


def test_the_example_holds_only_settings() -> None:
    assert environment.read([ROOT / ".env.example"], REAL)["SLACK_OPS_CHANNEL"] == "#ops-alerts"


def test_a_setting_with_which_a_function_would_not_start_stops_the_deployment_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings"
    file.write_text("DEV_SCHEDULER_ISSUER=http://127.0.0.1\nSTATUS_PAGE_URL=http://status.example.com\n")
    assert main(["--project", "ops-prod", "--dry-run", "--env-file", str(file)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    for id_ in REAL.endpoints:
        assert f"{id_}: DEV_SCHEDULER_ISSUER is set on Cloud Run" in told.err
        assert f"{id_}: STATUS_PAGE_URL is not https" in told.err


@pytest.mark.parametrize("argv", [["--project", "Not A Project"], ["--project", "ops-prod", "--region", "moon"]])
def test_arguments_that_cannot_be_right_are_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*argv, "--dry-run"])
    assert "not " in capsys.readouterr().err


# Looking before leaping


def asked_of(answers: dict[str, tuple[int, str]]) -> preflight.Ask:
    """A project in order, but for `answers`, which are looked up by a part of the command."""
    apis = " ".join([*BASE_APIS, *(a.api for a in REAL.required_apis)])
    good = {"auth list": (0, "me@example.com"), "services list": (0, apis), "versions describe": (0, "ENABLED")}

    def ask(argv: Sequence[str]) -> tuple[int, str]:
        words = " ".join(argv)
        return next((answer for part, answer in {**good, **answers}.items() if part in words), (0, ""))

    return ask


def test_a_project_in_order_misses_nothing() -> None:
    assert preflight.online(REAL, TARGET, asked_of({})) == []


def test_everything_that_is_missing_is_named_at_once() -> None:
    missing = preflight.online(
        REAL,
        TARGET,
        asked_of(
            {
                "service-accounts describe": (1, ""),
                "versions describe": (1, ""),
                "services list": (0, "run.googleapis.com"),
                "databases describe": (1, ""),
                "firebase --version": (127, ""),
            }
        ),
    )
    text = "\n".join(missing)
    for part in (
        "firebase is not installed",
        "gcloud services enable artifactregistry.googleapis.com",
        "gcloud firestore databases create",
        "gcloud iam service-accounts create f0-ops --project=ops-prod",
        "gcloud secrets create ingest-keys",
        "gcloud secrets create slack-webhook-url",
    ):
        assert part in text
    assert len(missing) == 11


def test_a_secret_whose_latest_version_is_disabled_is_missing() -> None:
    missing = preflight.online(REAL, TARGET, asked_of({"versions describe": (0, "DISABLED")}))
    assert [m.split()[2] for m in missing] == [
        "ingest-keys", "slack-webhook-url", "slack-bot-token",
        "smtp-password", "pagerduty-routing-key", "webhook-secret", "usage-keys",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"auth list": (127, "")}, "gcloud is not installed"),
        ({"auth list": (0, "")}, "nobody is logged in"),
        ({"projects describe": (1, "")}, "me@example.com does not see the project ops-prod"),
    ],
)
def test_without_gcloud_login_or_project_nothing_else_is_asked(answers: dict[str, Any], told: str) -> None:
    (only,) = preflight.online(REAL, TARGET, asked_of(answers))
    assert told in only


def test_an_unknown_function_and_another_account_are_named() -> None:
    target = Target("ops-prod", only=["nothing"])
    missing = preflight.offline(REAL, target, {"SCHEDULER_SERVICE_ACCOUNT": "x@example.com"})
    assert "--only nothing" in missing[0]
    assert "SCHEDULER_SERVICE_ACCOUNT is not the account" in missing[1]


def test_another_region_than_hosting_leads_to_is_named() -> None:
    missing = preflight.offline(REAL, Target("ops-prod", region="europe-west1"), {})
    assert missing
    assert all("firebase.json leads to" in m for m in missing)
    assert preflight.offline(REAL, Target("ops-prod", region="europe-west1", firebase=False), {}) == []


# Cloud Scheduler

METHODS = {"CreateJob": (CreateJobRequest, Job), "UpdateJob": (UpdateJobRequest, Job)}
Upsert = Callable[[], str]


@contextmanager
def cloud_scheduler(answer: Callable[[Fake, str, Any], Any]) -> Iterator[tuple[Fake, Upsert]]:
    service = "google.cloud.scheduler.v1.CloudScheduler"
    with serve(service, METHODS, answer) as fake, grpc.insecure_channel(fake.address) as channel:
        client = CloudSchedulerClient(transport=CloudSchedulerGrpcTransport(channel=channel))
        yield fake, lambda: scheduler.upsert(client, JOB, deadline=1.0, pause=lambda _: None)


class Jobs:
    """What Cloud Scheduler keeps. `trouble` is raised or done at the call of that number, from 0."""

    def __init__(self, *names: str, trouble: dict[int, Callable[[Fake], None]] | None = None) -> None:
        self.kept: dict[str, Job] = dict.fromkeys(names, Job())
        self.trouble = trouble or {}

    def __call__(self, fake: Fake, method: str, request: Any) -> Job:
        call = len(fake.calls) - 1
        name = request.job.name
        if method == "UpdateJob" and name not in self.kept:
            raise Fail(grpc.StatusCode.NOT_FOUND)
        if method == "CreateJob" and name in self.kept:
            raise Fail(grpc.StatusCode.ALREADY_EXISTS)
        self.kept[name] = request.job
        self.trouble.get(call, lambda _: None)(fake)
        return self.kept[name]


def failing(code: grpc.StatusCode) -> Callable[[Fake], None]:
    def fail(fake: Fake) -> None:
        raise Fail(code)

    return fail


def methods(fake: Fake) -> list[str]:
    return [method for method, _ in fake.calls]


def test_a_job_that_exists_is_updated_whole() -> None:
    jobs = Jobs(JOB["name"])
    with cloud_scheduler(jobs) as (fake, upsert):
        assert upsert() == "updated"
    (_, request) = fake.calls[0]
    kept = jobs.kept[JOB["name"]]
    assert kept.schedule == "*/5 * * * *"
    assert kept.time_zone == "Etc/UTC"
    assert kept.attempt_deadline.total_seconds() == 240
    assert kept.retry_config.retry_count == 3
    assert kept.retry_config.max_backoff_duration.total_seconds() == 30
    assert kept.http_target.uri == "https://us-central1-ops-prod.cloudfunctions.net/alertRules"
    assert kept.http_target.oidc_token.service_account_email == "f0-ops@ops-prod.iam.gserviceaccount.com"
    assert kept.http_target.oidc_token.audience == kept.http_target.uri
    named = {field.name for field, _ in Job.pb(kept).ListFields()} - {"name"}
    assert set(request.update_mask.paths) == named


def test_a_job_that_does_not_exist_is_created() -> None:
    jobs = Jobs()
    with cloud_scheduler(jobs) as (fake, upsert):
        assert upsert() == "created"
        assert upsert() == "updated"
    assert methods(fake) == ["UpdateJob", "CreateJob", "UpdateJob"]
    assert fake.calls[1][1].parent == "projects/ops-prod/locations/us-central1"
    assert list(jobs.kept) == [JOB["name"]]


def test_a_job_that_someone_else_creates_meanwhile_is_updated() -> None:
    jobs = Jobs()

    def answer(fake: Fake, method: str, request: Any) -> Job:
        if len(fake.calls) == 2:
            jobs.kept[JOB["name"]] = Job()
        return jobs(fake, method, request)

    with cloud_scheduler(answer) as (fake, upsert):
        assert upsert() == "updated"
    assert methods(fake) == ["UpdateJob", "CreateJob", "UpdateJob"]
    assert jobs.kept[JOB["name"]].schedule == JOB["schedule"]


@pytest.mark.parametrize("trouble", [failing(grpc.StatusCode.UNAVAILABLE), Fake.hang], ids=["fails", "answers late"])
def test_a_lost_answer_leaves_one_job_after_another_try(trouble: Callable[[Fake], None]) -> None:
    jobs = Jobs(trouble={1: trouble})
    with cloud_scheduler(jobs) as (fake, upsert):
        assert upsert() == "updated"
    assert methods(fake) == ["UpdateJob", "CreateJob", "UpdateJob"]
    assert list(jobs.kept) == [JOB["name"]]


def test_a_server_that_hangs_is_given_up_after_a_few_deadlines() -> None:
    jobs = Jobs(JOB["name"], trouble=dict.fromkeys(range(9), Fake.hang))
    with cloud_scheduler(jobs) as (fake, upsert):
        with pytest.raises(scheduler.SchedulerError, match=r"firebase-schedule-alertRules-us-central1: Dead.*3 times"):
            upsert()
        assert len(fake.calls) == scheduler.ATTEMPTS


def test_a_refusal_is_told_at_once() -> None:
    jobs = Jobs(JOB["name"], trouble={0: failing(grpc.StatusCode.PERMISSION_DENIED)})
    with cloud_scheduler(jobs) as (fake, upsert):
        with pytest.raises(scheduler.SchedulerError, match="PermissionDenied"):
            upsert()
        assert len(fake.calls) == 1


# Running


def shell(title: str, script: str, deadline: float = 30) -> Command:
    return Command(title, ["sh", "-c", script], deadline)


def done(plan: list[Any], root: Path, first: int = 1) -> list[str]:
    said: list[str] = []
    run.run(plan, first, root, lambda job: "created", said.append)
    return said


def test_steps_run_in_order_and_say_where_they_are(tmp_path: Path) -> None:
    plan = [shell("one", "echo 1 >> out"), JobUpsert("job", {}), shell("two", "echo 2 >> out")]
    assert done(plan, tmp_path) == ["1/3  one", "2/3  job", "    created", "3/3  two"]
    assert (tmp_path / "out").read_text() == "1\n2\n"


def test_a_step_that_fails_is_named_and_the_next_is_not_begun(tmp_path: Path) -> None:
    plan = [shell("one", "true"), shell("two", "exit 3"), shell("three", "touch out")]
    with pytest.raises(run.StepFailed, match=r"step 2 \(two\) failed: sh ended with exit code 3") as raised:
        done(plan, tmp_path)
    assert raised.value.number == 2
    assert not (tmp_path / "out").exists()


def test_a_deployment_is_resumed_at_the_step_that_failed(tmp_path: Path) -> None:
    plan = [shell("one", "echo 1 >> out"), shell("two", "echo 2 >> out")]
    done(plan, tmp_path, first=2)
    assert (tmp_path / "out").read_text() == "2\n"


def test_a_command_that_is_not_there_and_a_job_that_fails_are_steps_that_failed(tmp_path: Path) -> None:
    with pytest.raises(run.StepFailed, match="no-such-command"):
        done([Command("one", ["no-such-command"], 30)], tmp_path)

    def refuse(job: dict[str, Any]) -> str:
        raise scheduler.SchedulerError("refused")

    with pytest.raises(run.StepFailed, match=r"step 1 \(job\) failed: refused"):
        run.run([JobUpsert("job", {})], 1, tmp_path, refuse, lambda _: None)


def test_a_command_that_hangs_ends_with_its_children_and_said_that_it_lived(tmp_path: Path) -> None:
    said: list[str] = []
    script = "sh -c 'echo $$ > child; sleep 600' & wait"
    with pytest.raises(TimeoutError, match="not done after"):
        run.wait_for(["sh", "-c", script], tmp_path, 2.0, said.append, tick=0.5)
    assert said
    child = int((tmp_path / "child").read_text())
    for _ in range(1000):  # an orphan is ended by its signal in its own time
        if not _lives(child):
            return
        time.sleep(0.01)
    pytest.fail("the child of the command is still there")


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_main_names_the_step_that_failed_and_how_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command, with a gcloud that agrees to everything but one deployment."""
    apis = " ".join([*BASE_APIS, *(a.api for a in REAL.required_apis)])
    (tmp_path / "gcloud").write_text(
        f"""#!/bin/sh
case "$*" in
  "auth list"*) echo me@example.com;;
  "services list"*) echo {apis};;
  *"versions describe"*) echo ENABLED;;
  "functions deploy"*) exit 7;;
esac
"""
    )
    (tmp_path / "gcloud").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "settings").write_text("")
    argv = ["--project", "ops-prod", "--only", "statusApi", "--env-file", str(tmp_path / "settings"), "--from", "1"]
    assert main(argv) == 1
    told = capsys.readouterr().out
    assert "step 1 (function statusApi in us-central1) failed: gcloud ended with exit code 7" in told
    assert (
        ".venv/bin/python -m scripts.deploy --project ops-prod --only statusApi"
        f" --env-file {tmp_path}/settings --from 1" in told
    )
