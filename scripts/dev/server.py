"""gunicorn around the site: one worker with threads. What holds a thread or a connection is made after the fork."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import functions_framework
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import ThreadWorker

from scripts.dev import issuer, lifeline, mail, manifest, rewrites
from scripts.dev.clock import Clock
from scripts.dev.console import Console, FunctionOutput
from scripts.dev.folder import Folder
from scripts.dev.inbox import Inbox
from scripts.dev.scheduler import Scheduler
from scripts.dev.site import Site
from shared import bootstrap
from shared.settings import Settings
from shared.store.protocol import StoreError

THREADS = 16
GRACE = 2  # seconds that running requests have at a SIGTERM
_KEEP_CLOCK = 5.0  # real seconds
_PURGE = 600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What the server is to be; `descriptor` is of the listening socket, `ready` is called once it answers."""

    root: Path
    port: int
    descriptor: int
    folder: Folder
    settings: Settings
    functions: list[manifest.Function]
    hosting: rewrites.Hosting
    clock: Clock
    console: Console
    schedules: bool
    ready: Callable[[], None]
    mail: socket.socket | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Worker(ThreadWorker):  # type: ignore[misc]
    def finish_request(self, conn: Any, done: Any) -> None:
        """gunicorn waits up to 2 s for the client to close too, on the one thread that accepts; here on another."""
        if done.cancelled() or done.exception() or done.result():
            super().finish_request(conn, done)
            return
        self.nr_conns -= 1
        threading.Thread(target=_close, args=(conn,), daemon=True, name="close").start()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Ctrl-C: end at once; the data stands even a kill. gunicorn's own way can wait for a lock of this thread."""
        os._exit(0)


def _close(conn: Any) -> None:
    with contextlib.suppress(OSError):  # it may be closed already
        conn.close(graceful=True)


class _Arbiter(Arbiter):  # type: ignore[misc]
    def handle_hup(self) -> None:
        """The terminal was closed. gunicorn would reload and live on without it."""
        self.handle_term()


def _serve(entry_point: str, source: str) -> Any:
    """The function as a WSGI application."""
    return functions_framework.create_app(entry_point, source)  # type: ignore[no-untyped-call]


class Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._scheduler: Scheduler | None = None
        super().__init__()

    def run(self) -> None:
        """Returns never: the process ends with SystemExit."""
        _Arbiter(self).run()

    def load_config(self) -> None:
        options = {
            "bind": f"fd://{self._plan.descriptor}",
            "workers": 1,
            "worker_class": _Worker,
            "threads": THREADS,
            "timeout": 0,  # a function may wait longer than gunicorn's default of 30 s
            "graceful_timeout": GRACE,
            "limit_request_line": 0,
            "loglevel": "warning",
            "control_socket_disable": True,
            "post_fork": lambda server, worker: self._in_worker(worker.ppid),
            "post_worker_init": self._answering,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def _in_worker(self, parent: int) -> None:
        lifeline.end_with(parent)
        self._plan.folder.name_worker(os.getpid())
        sys.stdout = FunctionOutput(self._plan.console)

    def load(self) -> Site:
        """In the worker: the App that all functions share, and the functions themselves."""
        plan = self._plan
        built = bootstrap.build(plan.settings)
        bootstrap.install(replace(built, clock=plan.clock.now, sleep=plan.clock.sleep, pace=plan.clock.speed))
        source = str(plan.root / "main.py")
        functions = {f.id: _serve(f.entry_point, source) for f in plan.functions}
        signer = issuer.of_folder(plan.folder, plan.url)
        self._scheduler = Scheduler(plan.functions, plan.port, signer, plan.clock, plan.console)
        site = Site(
            functions,
            plan.hosting,
            self._scheduler,
            signer,
            issuer.admins_of_folder(plan.folder, plan.url, plan.settings.admin_audience or ""),
            Inbox(plan.folder),
            plan.clock,
            plan.console,
            plan.port,
            plan.settings.cors_origins,
        )
        if plan.mail is not None:
            threading.Thread(target=mail.serve, args=(plan.mail, site.take_mail), daemon=True, name="mails").start()
        return site

    def _answering(self, worker: Any) -> None:
        if worker.age == 1:
            self._plan.ready()
        else:
            self._plan.console.tell("server", "started anew", f"as process {os.getpid()}", "yellow")
        if self._plan.schedules and self._scheduler:
            self._scheduler.start()
        threading.Thread(target=self._purge, daemon=True, name="purge").start()
        if self._plan.clock.start is not None:
            threading.Thread(target=self._keep_clock, daemon=True, name="clock").start()

    def _keep_clock(self) -> None:
        """Note how far a fast clock will have come by the next note, so that it never goes back over a restart."""
        plan = self._plan
        while True:
            until = plan.clock.now().timestamp() + _KEEP_CLOCK * plan.clock.speed
            plan.folder.set_last_time(until)
            time.sleep(_KEEP_CLOCK)

    def _purge(self) -> None:
        """What TTL policies do on Firestore."""
        store = bootstrap.current().store
        while True:
            try:
                while store.purge(int(self._plan.clock.now().timestamp() * 1_000_000)):
                    pass
            except StoreError as error:
                self._plan.console.tell("server", "purge", f"left for later: {error}", "yellow")
            time.sleep(_PURGE)
