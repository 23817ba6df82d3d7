"""Looking before leaping: everything that a deployment needs and does not find is named at once, with what makes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from scripts.deploy import environment
from scripts.deploy.plan import BASE_APIS, Target, endpoints
from scripts.manifest import ROOT, Manifest

Ask = Callable[[Sequence[str]], tuple[int, str]]  # a command's exit code and output


def offline(manifest: Manifest, target: Target, values: Mapping[str, str]) -> list[str]:
    """What can be told without a network: functions that do not exist, settings that would refuse to start."""
    known = manifest.endpoints
    missing = [f"--only {id_}: there is no such function; there are {', '.join(known)}" for id_ in target.only
               if id_ not in known]  # fmt: skip
    accounts = sorted({e.service_account(target.project) for e in known.values()})
    account = values.get("SCHEDULER_SERVICE_ACCOUNT")
    if account and account not in accounts:
        missing.append(f"SCHEDULER_SERVICE_ACCOUNT is not the account of functions.yaml: {', '.join(accounts)}")
    for id_, endpoint in endpoints(manifest, target).items():
        for region in target.regions(endpoint):
            env = environment.of_function(id_, endpoint, region, target.project, values)
            missing += environment.faults_of(id_, env)
            missing += _hosting(id_, region, target)
    return list(dict.fromkeys(missing))


def _hosting(id_: str, region: str, target: Target) -> list[str]:
    if not target.firebase or target.only:
        return []
    rewrites = json.loads((ROOT / "firebase.json").read_text())["hosting"]["rewrites"]
    led = {r["function"]["region"] for r in rewrites if r.get("function", {}).get("functionId") == id_}
    return [f"firebase.json leads to {id_} in {', '.join(led)}, not in {region}: change it or pass --no-firebase"] * (
        bool(led) and region not in led
    )


def online(manifest: Manifest, target: Target, ask: Ask) -> list[str]:
    """What only the project can tell. Asks through gcloud, changes nothing."""
    project = f"--project={target.project}"
    code, account = ask(["gcloud", "auth", "list", "--filter=status:ACTIVE", "--format=value(account)"])
    if code == 127:
        return ["gcloud is not installed: https://cloud.google.com/sdk/docs/install", *_firebase(target, ask)]
    if not account:
        return ["nobody is logged in: gcloud auth login", *_firebase(target, ask)]
    missing = _firebase(target, ask)
    if ask(["gcloud", "projects", "describe", target.project, "--format=value(projectId)"])[0] != 0:
        missing.append(f"{account} does not see the project {target.project}: gcloud projects list")
        return missing
    missing += _apis(manifest, project, ask)
    if ask(["gcloud", "firestore", "databases", "describe", project, "--format=value(name)"])[0] != 0:
        missing.append(f"Firestore has no database: gcloud firestore databases create {project} --location=nam5")
    chosen = endpoints(manifest, target).values()
    for email in dict.fromkeys(e.service_account(target.project) for e in chosen):
        if ask(["gcloud", "iam", "service-accounts", "describe", email, project, "--format=value(email)"])[0] != 0:
            name = email.partition("@")[0]
            missing.append(f"no service account {email}: gcloud iam service-accounts create {name} {project}")
    for secret in dict.fromkeys(s.secret for e in chosen for s in e.secret_environment_variables):
        argv = ["gcloud", "secrets", "versions", "describe", "latest", f"--secret={secret}", project]
        if ask([*argv, "--format=value(state)"]) != (0, "ENABLED"):
            missing.append(f"no secret {secret} with a version: gcloud secrets create {secret} {project} --data-file=-")
    return missing


def _apis(manifest: Manifest, project: str, ask: Ask) -> list[str]:
    code, listed = ask(["gcloud", "services", "list", "--enabled", project, "--format=value(config.name)"])
    absent = {*BASE_APIS, *(a.api for a in manifest.required_apis)} - set(listed.split())
    if code != 0:
        return [f"the enabled APIs cannot be listed: gcloud services list {project}"]
    return [f"APIs are not enabled: gcloud services enable {' '.join(sorted(absent))} {project}"] if absent else []


def _firebase(target: Target, ask: Ask) -> list[str]:
    if target.firebase and not target.only and ask(["firebase", "--version"])[0] != 0:
        return ["firebase is not installed (npm install -g firebase-tools), or pass --no-firebase"]
    return []
