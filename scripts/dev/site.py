"""The local server's WSGI application: Hosting's routes to the functions, the schedules by hand, and /dev."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flask import Request, Response
from werkzeug.utils import redirect, send_file

from scripts.dev import inbox_page, pagerduty, slack
from scripts.dev.clock import Clock
from scripts.dev.console import Console
from scripts.dev.inbox import Inbox
from scripts.dev.issuer import AdminIssuer, Issuer
from scripts.dev.rewrites import Hosting
from scripts.dev.scheduler import Busy, Scheduler, summary
from shared import bootstrap
from shared.api.http import Problem, answer, no_store, require_method
from shared.domain.scrub import scrub_value
from shared.notify.inapp import COLLECTION
from shared.store.protocol import Query

_READS = ("GET", "HEAD", "OPTIONS")
_MANUAL_RUNS = 4  # each holds a thread while it waits for another one


class Site:
    """`functions` are WSGI applications by id. `port` is where the server answers. `origins` may send changes too."""

    def __init__(
        self,
        functions: Mapping[str, Any],
        hosting: Hosting,
        scheduler: Scheduler,
        issuer: Issuer,
        admins: AdminIssuer,
        inbox: Inbox,
        clock: Clock,
        console: Console,
        port: int,
        origins: tuple[str, ...] = (),
    ) -> None:
        self._functions = functions
        self._hosting = hosting
        self._scheduler = scheduler
        self._issuer = issuer
        self._admins = admins
        self._inbox = inbox
        self._clock = clock
        self._console = console
        self._manual = threading.Semaphore(_MANUAL_RUNS)
        names = ("127.0.0.1", "localhost", "[::1]")
        self._hosts = {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())
        own = {f"http://{host}" for host in self._hosts}
        self._origins = own | set(origins)
        self._others = self._origins - own

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        try:
            self._refuse_strangers(request)
            elsewhere = self._hosting.redirect(request.path)
            if elsewhere is not None:
                return redirect(elsewhere.destination, elsewhere.status)(environ, start_response)
            target = self._function_for(request, environ)
            if target is not None:
                return self._call(target, environ, start_response)
            response = self._own(request)
        except Problem as problem:
            response = problem.response()
        return response(environ, start_response)

    def _refuse_strangers(self, request: Request) -> None:
        """A web page from elsewhere must not reach this server: neither under a name of its own, nor by a form."""
        if request.environ.get("HTTP_HOST", "").lower() not in self._hosts:
            raise Problem(403, "foreign_host", "this server answers to 127.0.0.1 and localhost with its port only")
        origin = request.headers.get("Origin")
        if request.method not in _READS and origin is not None and origin.lower() not in self._origins:
            raise Problem(403, "foreign_origin", "a page of another origin may not send this")

    def _function_for(self, request: Request, environ: dict[str, Any]) -> str | None:
        """The function that answers; `/_functions/{id}/…` is its own address, where it sees only what follows."""
        path = request.path
        if path.startswith("/_functions/"):
            name, slash, rest = path.removeprefix("/_functions/").partition("/")
            if name not in self._functions:
                raise Problem(404, "no_such_function", f"functions: {', '.join(self._functions)}")
            environ["PATH_INFO"] = slash + rest or "/"
            return name
        if path.startswith(("/dev/", "/_scheduler/")) or self._hosting.file(path):
            return None
        rewrite = self._hosting.rewrite(path)
        if rewrite and rewrite.function_id and rewrite.function_id not in self._functions:
            raise Problem(
                502, "no_such_function", f"firebase.json names {rewrite.function_id}, functions.yaml does not"
            )
        return rewrite.function_id if rewrite else None

    def _call(self, name: str, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        scheduled = environ.get("HTTP_X_CLOUDSCHEDULER") == "true"
        forwarded = environ.get("HTTP_X_FORWARDED_FOR")
        caller = environ.get("REMOTE_ADDR", "127.0.0.1")
        environ["HTTP_X_FORWARDED_FOR"] = f"{forwarded}, {caller}" if forwarded else caller  # as Google's front end
        status = 0

        def start(line: str, headers: Any, exc_info: Any = None) -> Any:
            nonlocal status
            status = int(line[:3])
            return start_response(line, headers, exc_info)

        with self._console.inside(name):
            chunks = self._functions[name](environ, start)
            if status < 400:
                return chunks  # type: ignore[no-any-return]
            body = b"".join(chunks)
            if hasattr(chunks, "close"):
                chunks.close()
        if not scheduled:  # the schedule tells its own
            shade = "red" if status >= 500 else "yellow"
            self._console.tell("request", name, f"{method} {scrub_value(path)}  {status}  {summary(body)}", shade)
        return [body]

    def _own(self, request: Request) -> Response:
        path = request.path
        if path.startswith("/_scheduler/"):
            return self._run_now(request, path.removeprefix("/_scheduler/"))
        if path.startswith("/dev/"):
            return self._dev(request, path.removeprefix("/dev/"))
        rewrite = self._hosting.rewrite(path)
        file = self._hosting.file(path) or (self._hosting.file(rewrite.destination or "") if rewrite else None)
        missing = self._hosting.file("/404.html")
        if file is None and missing is not None and "text/html" in request.headers.get("Accept", ""):
            return self._file(request, missing, 404)  # as Hosting does; what is no browser is told more
        if file is None:
            raise Problem(404, "not_found", "no file and no rewrite of firebase.json answers this path; try /status")
        return self._file(request, file)

    def _file(self, request: Request, file: Path, status: int = 200) -> Response:
        require_method(request, "GET", "HEAD")
        sent = send_file(file, request.environ, conditional=status == 200, max_age=0, response_class=Response)
        sent.headers["X-Content-Type-Options"] = "nosniff"
        sent.status_code = status
        return sent  # type: ignore[return-value]

    def _run_now(self, request: Request, function_id: str) -> Response:
        require_method(request, "POST")
        if function_id not in self._scheduler.functions:
            known = ", ".join(self._scheduler.functions)
            raise Problem(404, "not_scheduled", f"scheduled functions: {known}")
        if not self._manual.acquire(blocking=False):
            raise Problem(503, "busy", "too many runs wait already", headers={"Retry-After": "1"})
        try:
            result = self._scheduler.run(function_id)
        except Busy:
            raise Problem(503, "busy", "the run before is not over yet", headers={"Retry-After": "5"}) from None
        finally:
            self._manual.release()
        return no_store(Response(result.body, result.status, content_type=result.content_type))

    def _dev(self, request: Request, what: str) -> Response:
        if what == "slack":
            return self._slack(request)
        if what == "pagerduty":
            return self._pagerduty(request)
        if what == "webhook":
            return self._webhook(request)
        if what == "token":
            return self._token(request)
        if what.startswith("inbox/"):
            return self._mail(request, what.removeprefix("inbox/"))
        if what not in ("jwks.json", "admin-jwks.json", "clock", "inbox", "inbox.json"):
            raise Problem(404, "not_found", "there are /dev/inbox, /dev/inbox.json, /dev/clock and /dev/token")
        require_method(request, "GET", "HEAD")
        if what == "jwks.json":
            return answer(self._issuer.jwks())
        if what == "admin-jwks.json":
            return answer(self._admins.jwks())
        if what == "clock":
            return answer({"now_ms": int(self._clock.now().timestamp() * 1000), "speed": self._clock.speed})
        if what == "inbox.json":
            return answer({"messages": self._inbox.newest_first()})
        page = Response(inbox_page.page(self._all_messages()), content_type="text/html; charset=utf-8")
        page.headers["Content-Security-Policy"] = inbox_page.POLICY
        return no_store(page)

    def _token(self, request: Request) -> Response:
        """What somebody who signs in as an admin would get. It opens this server's data to whoever has it."""
        require_method(request, "POST")
        if request.remote_addr not in ("127.0.0.1", "::1"):
            raise Problem(403, "foreign_host", "only a program on this machine is given a token")
        if request.headers.get("Origin", "").lower() in self._others:
            raise Problem(403, "foreign_origin", "a page of another origin is given no token")
        token, expires = self._admins.token(self._clock.now())
        return answer({"token": token, "expiresAt": expires.isoformat()})

    def _all_messages(self) -> list[dict[str, Any]]:
        """With what has arrived in-app, which is in the store as it is in the cloud."""
        arrived = bootstrap.current().store.query(Query(COLLECTION, order=(("arrivedAt", "desc"),)))
        in_app = [
            {
                "id": doc.id,
                "kind": "in-app",
                "receivedAt": int(doc.data["arrivedAt"].timestamp() * 1000),
                "payload": doc.data,
            }
            for doc in arrived
        ]
        return sorted([*self._inbox.newest_first(), *in_app], key=lambda each: each["receivedAt"], reverse=True)

    def take_mail(self, mail: dict[str, Any]) -> None:
        self._inbox.add("mail", mail, self._clock.now())
        self._console.tell("mail", "received", f"{mail['subject']} to {mail['to']}"[:300], "bold")

    def _mail(self, request: Request, name: str) -> Response:
        """A mail's HTML, as a mail program shows it: nothing runs in it."""
        require_method(request, "GET", "HEAD")
        found = next(
            (each for each in self._inbox.newest_first() if each["id"] == name and each["kind"] == "mail"), None
        )
        if found is None:
            raise Problem(404, "not_found", "there is no mail of this name")
        shown = Response(found["payload"]["html"], content_type="text/html; charset=utf-8")
        shown.headers["Content-Security-Policy"] = inbox_page.MAIL_POLICY
        return no_store(shown)

    def _pagerduty(self, request: Request) -> Response:
        require_method(request, "POST")
        try:
            event = pagerduty.parse(request.get_data())
        except pagerduty.InvalidEvent as refusal:
            self._console.tell("pagerduty", "refused", str(refusal), "red")
            return no_store(Response(json.dumps({"status": "invalid event", "errors": [str(refusal)]}), 400))
        self._inbox.add("page", event, self._clock.now())
        what = (event.get("payload") or {}).get("summary") or event["dedup_key"]
        self._console.tell("pagerduty", event["event_action"], str(what)[:300], "bold")
        return answer(
            {"status": "success", "message": "Event processed", "dedup_key": event.get("dedup_key", "x")}, 202
        )

    def _webhook(self, request: Request) -> Response:
        require_method(request, "POST")
        try:
            message = json.loads(request.get_data())
        except (ValueError, RecursionError):
            raise Problem(400, "invalid_body", "the body must be JSON") from None
        self._inbox.add("webhook", {"text": json.dumps(message, indent=2, ensure_ascii=False)}, self._clock.now())
        self._console.tell("webhook", "received", str(request.headers.get("X-F0Ops-Id", ""))[:300], "bold")
        return no_store(Response(status=204))

    def _slack(self, request: Request) -> Response:
        require_method(request, "POST")
        try:
            if (request.content_length or 0) > slack.MAX_BODY:
                raise slack.InvalidPayload("the body is too long")
            message = slack.parse(request.get_data(), request.headers.get("Content-Type", ""))
        except slack.InvalidPayload as refusal:
            self._console.tell("slack", "refused", str(refusal), "red")
            return no_store(Response("invalid_payload", 400, content_type="text/plain"))
        self._inbox.add("slack", message, self._clock.now())
        self._console.tell("slack", "received", _line(message), "bold")
        return no_store(Response("ok", 200, content_type="text/plain"))


def _line(message: dict[str, Any]) -> str:
    text = message.get("text") or next(
        (block["text"]["text"] for block in message.get("blocks", []) if isinstance(block.get("text"), dict)),
        json.dumps(message, ensure_ascii=False),
    )
    return " ".join(str(text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").split())[:300]
