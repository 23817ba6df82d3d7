"""What `make dev` runs: every function of functions.yaml on one local port, over SQLite, with its schedules."""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


class CannotStart(Exception):
    """The sentence that the user gets."""


def main(arguments: Sequence[str]) -> None:
    """Returns when the server has ended. Raises `CannotStart`."""
    if os.environ.get("K_SERVICE"):
        raise CannotStart("K_SERVICE is set: this is Cloud Run, and the local server is for development only.")
    options = _options(arguments)

    from scripts import configuration
    from scripts.dev import clock, console, issuer, mail, manifest, rewrites
    from scripts.dev.banner import banner
    from scripts.dev.folder import Folder, FolderInUse
    from scripts.dev.server import Plan, Server
    from shared.settings import Settings, SettingsError

    folder = Folder(Path(options.data_dir))
    try:
        folder.lock()
        listener = _listen(options.port)
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        folder.name_url(url)
        key = folder.ingest_key()
        keys = {"INGEST_KEYS": key, "USAGE_KEYS": folder.usage_key()}
        os.environ.update(environment(os.environ, folder.database, url, keys, issuer.ACCOUNT, issuer.admin_issuer(url)))
        mails = None if os.environ.get("SMTP_HOST") else mail.listen()
        os.environ.update(channels(os.environ, url, mails.getsockname()[1] if mails else 0))
        os.environ.pop("SCHEDULER_AUDIENCES", None)
        issuer.of_folder(folder, url)  # made before the fork, once
        issuer.admins_of_folder(folder, url, "")
        last = folder.last_time()
        time = clock.from_environment(os.environ, last)
        settings = Settings.load(os.environ)
        if faults := configuration.faults(settings.config_dir):
            raise CannotStart("\n  ".join([f"The configuration in {settings.config_dir} is not usable:", *faults]))
        functions = manifest.load(ROOT / "functions.yaml")
        hosting = rewrites.load(ROOT / "firebase.json")
    except FolderInUse as error:
        raise CannotStart(
            f"The data folder {folder.path} is in use by {error.holder}.\n"
            "Stop that server, or give this one a folder of its own: --data-dir FOLDER"
        ) from error
    except SettingsError as error:
        raise CannotStart(str(error)) from error
    except (OSError, ValueError) as error:
        raise CannotStart(str(error)) from error
    terminal = console.of_terminal(time.now)
    plan = Plan(
        ROOT,
        port,
        listener.detach(),
        folder,
        settings,
        functions,
        hosting,
        time,
        terminal,
        not options.no_schedules,
        lambda: terminal.write(banner(plan, key, last)),
        mails,
    )
    parent = os.getpid()
    try:
        Server(plan).run()
    finally:
        if os.getpid() == parent:  # the worker ends here too
            terminal.write(f"\nStopped. The data stays in {folder.path}")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=".venv/bin/python -m scripts.dev", description="Serve every function.")
    port = os.environ.get("PORT") or "8080"
    parser.add_argument("--port", default=port, help="default: the variable PORT, else 8080; 0 takes a free one")
    parser.add_argument("--data-dir", default=".f0ops", help="where the data stays over restarts (default: .f0ops)")
    parser.add_argument("--no-schedules", action="store_true", help="run scheduled functions by hand only")
    options = parser.parse_args(arguments)
    if not (options.port.isdecimal() and int(options.port) < 65536):
        raise CannotStart(f"The port is {options.port!r}: it is a number from 0 to 65535.")
    options.port = int(options.port)
    return options


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(256)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotStart(
                f"Port {port} is in use by another program.\nChoose another: make dev PORT={port + 1}"
            ) from error
        if error.errno == errno.EACCES:
            raise CannotStart(f"Port {port} may not be used by you.\nChoose another: make dev PORT=8080") from error
        raise
    return listener


def environment(
    env: Mapping[str, str], database: Path, url: str, keys: Mapping[str, str], account: str, admin_issuer: str
) -> dict[str, str]:
    """What shared.settings is to see. The user's own keys and addresses stay in force."""
    if env.get("F0_STORE") == "firestore" and not env.get("FIRESTORE_EMULATOR_HOST"):
        raise CannotStart("F0_STORE=firestore without FIRESTORE_EMULATOR_HOST: the local server keeps off real data.")
    theirs = {
        "F0_STORE": "sqlite",
        **{name: hashlib.sha256(key.encode()).hexdigest() for name, key in keys.items()},
        "STATUS_PAGE_URL": f"{url}/status",
        "CONSOLE_URL": f"{url}/on-call",
        "SLACK_WEBHOOK_URL": f"{url}/dev/slack",
    }
    return {
        **{name: env.get(name) or value for name, value in theirs.items()},
        "SQLITE_PATH": str(database),
        "SCHEDULER_SERVICE_ACCOUNT": account,
        "DEV_SCHEDULER_ISSUER": url,
        "DEV_SCHEDULER_JWKS_URL": f"{url}/dev/jwks.json",
        "DEV_ADMIN_ISSUER": admin_issuer,
        "DEV_ADMIN_JWKS_URL": f"{url}/dev/admin-jwks.json",
    }


def channels(env: Mapping[str, str], url: str, mail_port: int) -> dict[str, str]:
    """Addresses of the local inbox for each channel that the user has set nothing of."""
    theirs = {
        "PAGERDUTY_ROUTING_KEY": {"PAGERDUTY_ROUTING_KEY": "0" * 32, "PAGERDUTY_URL": f"{url}/dev/pagerduty"},
        "WEBHOOK_URL": {"WEBHOOK_URL": f"{url}/dev/webhook", "WEBHOOK_SECRET": "a-secret-of-this-machine"},
        "SMTP_HOST": {
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(mail_port),
            "SMTP_SECURITY": "none",
            "SMTP_USER": "",
            "EMAIL_FROM": env.get("EMAIL_FROM") or "f0-ops@example.com",
        },
    }
    return {name: value for main, group in theirs.items() if not env.get(main) for name, value in group.items()}


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CannotStart as reason:
        sys.exit(f"The local server cannot start.\n{reason}")
    except KeyboardInterrupt:
        sys.exit(130)
