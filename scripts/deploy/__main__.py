"""`scripts.deploy --project P [--dry-run]`: deploy every function with gcloud. See docs/deploy.md."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from scripts import configuration
from scripts.deploy import environment, plan, preflight, run
from scripts.manifest import ROOT, ManifestError, load
from shared.metrics.storage_usage import load_storage

_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=".venv/bin/python -m scripts.deploy", description=__doc__)
    parser.add_argument("--project", required=True, type=_project, help="id of the Google Cloud project")
    parser.add_argument("--region", type=_region, help="instead of the regions in functions.yaml")
    parser.add_argument("--only", nargs="+", default=[], metavar="ID", help="these functions and their jobs alone")
    parser.add_argument("--no-firebase", action="store_true", help="leave out Firestore's rules and Hosting")
    parser.add_argument("--env-file", nargs="+", type=Path, metavar="FILE", help="instead of .env and .env.PROJECT")
    parser.add_argument("--manifest", type=Path, default=ROOT / "functions.yaml", metavar="FILE")
    parser.add_argument("--from", type=int, default=1, dest="first", metavar="N", help="resume at step N")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done; needs no login")
    return parser.parse_args(argv)


def _project(text: str) -> str:
    if not _PROJECT.fullmatch(text):
        raise argparse.ArgumentTypeError("not the id of a project")
    return text


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise argparse.ArgumentTypeError("not a region such as us-central1")
    return text


def main(argv: Sequence[str]) -> int:
    """Exit code: 0 done, 1 a step failed, 2 something is missing and nothing was changed."""
    arguments = _arguments(argv)
    target = plan.Target(arguments.project, arguments.region, arguments.only, not arguments.no_firebase)
    ask = partial(run.ask, root=ROOT)
    try:
        manifest = load(arguments.manifest)
        files = arguments.env_file or environment.default_files(ROOT, target.project)
        values = environment.read(files, manifest)
    except (ManifestError, environment.EnvironmentFault) as error:
        return _refuse(error.faults)
    except OSError as error:
        return _refuse([f"{error.filename}: {error.strerror}"])
    faults = configuration.faults(ROOT / "config")
    if not faults:
        target = replace(target, buckets=[bucket.name for bucket in load_storage(ROOT / "config").buckets])
    missing = faults + preflight.offline(manifest, target, values)
    if not arguments.dry_run:
        missing += preflight.online(manifest, target, ask)
    if missing:
        return _refuse(missing)
    steps = plan.steps(manifest, target, values)
    if not 1 <= arguments.first <= len(steps):
        return _refuse([f"--from {arguments.first}: there are {len(steps)} steps"])
    if arguments.dry_run:
        print(plan.as_script(steps), end="")
        return 0
    try:
        run.run(steps, arguments.first, ROOT, partial(_upsert, target.project), _say)
    except run.StepFailed as failure:
        again = [*_without_from(argv), "--from", str(failure.number)]
        command = f".venv/bin/python -m scripts.deploy {shlex.join(again)}"
        _say(f"{failure}\nThe steps before it are done. Resume with:\n  {command}")
        return 1
    _say("done")
    return 0


def _upsert(project: str, job: dict[str, Any]) -> str:
    from scripts.deploy import scheduler  # a dry run needs none of Google's clients

    code, token = run.ask(["gcloud", "auth", "print-access-token"], ROOT)  # each time: a token lasts an hour
    if code != 0:
        raise scheduler.SchedulerError("gcloud gave no access token: gcloud auth login")
    with scheduler.connect(token, project) as client:
        return scheduler.upsert(client, job)


def _without_from(argv: Sequence[str]) -> list[str]:
    kept = list(argv)
    if "--from" in kept:
        at = kept.index("--from")
        del kept[at : at + 2]
    return [word for word in kept if not word.startswith("--from=")]


def _refuse(missing: Sequence[str]) -> int:
    print("Nothing was changed. What is missing or wrong:", file=sys.stderr)
    for fault in missing:
        print(f"  - {fault}", file=sys.stderr)
    return 2


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("interrupted: run the same command again, every step may be repeated")
