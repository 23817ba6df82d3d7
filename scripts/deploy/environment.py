"""The plain settings that a function is deployed with: from `.env` files, and what follows from the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.manifest import Endpoint, Manifest
from shared.settings import PROBE_KEYS, Settings, SettingsError, is_name

_FRAMEWORK = ("THREADS",)  # read by functions-framework, not by us; `firebase deploy` takes it from .env


class EnvironmentFault(Exception):
    """The `.env` files cannot be deployed. `faults` names all that is wrong; no value is quoted."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def default_files(root: Path, project: str) -> list[Path]:
    """The files that the Firebase CLI would take, later ones winning."""
    return [path for path in (root / ".env", root / f".env.{project}") if path.is_file()]


def read(files: Sequence[Path], manifest: Manifest) -> dict[str, str]:
    """All settings of the files. Raises `EnvironmentFault`."""
    values: dict[str, str] = {}
    faults: list[str] = []
    for file in files:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            name, equals, value = text.removeprefix("export ").partition("=")
            name = name.strip()
            where = f"{file.name}:{number}"
            if not equals or not name.isidentifier():
                faults.append(f"{where}: not of the form NAME=value")
            elif name in manifest.secret_keys or name in PROBE_KEYS:
                faults.append(f"{where}: {name} is a secret: keep it in Secret Manager, out of files")
            elif not is_name(name) and name not in _FRAMEWORK:
                faults.append(f"{where}: {name} is no setting")
            else:
                values[name] = _unquoted(value.strip())
    if faults:
        raise EnvironmentFault(faults)
    return {name: value for name, value in values.items() if value}


def _unquoted(value: str) -> str:
    for quote in "\"'":
        if len(value) >= 2 and value.startswith(quote) and value.endswith(quote):
            return value[1:-1]
    return value.partition(" #")[0].rstrip()


def url_of(id_: str, region: str, project: str) -> str:
    """The address that is known before the first deployment. Cloud Run accepts it as a token's audience too."""
    return f"https://{region}-{project}.cloudfunctions.net/{id_}"


def of_function(id_: str, endpoint: Endpoint, region: str, project: str, values: Mapping[str, str]) -> dict[str, str]:
    """The environment of one function, sorted by name, without its secrets."""
    env = {
        **values,
        "GOOGLE_CLOUD_PROJECT": project,
        "SCHEDULER_SERVICE_ACCOUNT": endpoint.service_account(project),
        "THREADS": str(endpoint.concurrency),
    }
    if endpoint.schedule_trigger:
        env["SCHEDULER_AUDIENCES"] = " ".join(
            dict.fromkeys([*values.get("SCHEDULER_AUDIENCES", "").split(), url_of(id_, region, project)])
        )
    return dict(sorted(env.items()))


def faults_of(id_: str, env: Mapping[str, str]) -> list[str]:
    """Why this function would refuse to start on Cloud Run; its secrets, not known here, are left out."""
    try:
        Settings.load({**env, "K_SERVICE": id_})
    except SettingsError as error:
        return [f"{id_}: {fault}" for fault in error.faults]
    return []
