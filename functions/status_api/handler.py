"""The public status: pages, health answer, Statuspage's API v2, feeds and badges, all from the one snapshot."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from flask import Request, Response

from functions.status_api import answers
from functions.status_api.answers import Headers, Ready
from shared.api.client_address import Clients
from shared.api.http import Problem, require_method
from shared.api.rate_limit import RateLimit, load_limits
from shared.status.cache import Served
from shared.status_page import healthz, view

if TYPE_CHECKING:
    from shared.bootstrap import App
    from shared.status_page.past import Whole

HEALTHZ = "/api/status/healthz"
BADGE = "/api/status/badge.svg"
SCRIPT = "/status-badge.js"
FEEDS = {"/history.atom": "application/atom+xml", "/history.rss": "application/rss+xml"}
EVERYWHERE = frozenset((HEALTHZ, BADGE, SCRIPT, *FEEDS))  # and the API v2: for pages of other sites too
BELOW = "/status/"  # what is not there is told as a page too: it is a person who mistyped it
HISTORY = "/status/history"
INCIDENTS = "/status/incidents/"
V2 = "/api/v2/"
_SCRIPT_CACHING = "public, max-age=300, s-maxage=300, stale-while-revalidate=86400"
_EMBEDDED: Headers = [*answers.CORS, *answers.BARE, ("Cross-Origin-Resource-Policy", "cross-origin")]


def handle(request: Request, app: App) -> Response:
    path = request.path.rstrip("/") or "/"
    everywhere = path in EVERYWHERE or path.startswith(V2)
    try:
        wait = app.part(_Gate).seconds_to_wait(request)
        if wait and not everywhere and "text/html" in request.headers.get("Accept", ""):
            return _too_many(request, app.snapshot_cache.served(), wait)
        if wait:
            told = f"more requests in a minute than one client may make: wait {wait} s"
            raise Problem(429, "too_many_requests", told, headers={"Retry-After": str(wait)})
        if everywhere and request.method == "OPTIONS":
            return answers.preflight()
        require_method(request, "GET", "HEAD", *(["OPTIONS"] if everywhere else []))
        return _answer(request, path, app, app.snapshot_cache.served(), app.clock())
    except Problem as problem:
        if everywhere:
            problem.headers = {**problem.headers, **dict(answers.CORS)}
        raise


class _Gate:
    """What counts the requests of this instance by client."""

    def __init__(self, app: App) -> None:
        limits = load_limits(app.settings.config_dir)
        self._clients = Clients(limits.proxies)
        self._limit = RateLimit(limits.status_requests_per_minute, app.passing)

    def seconds_to_wait(self, request: Request) -> int:
        client = self._clients.of(request.environ.get("HTTP_X_FORWARDED_FOR"), request.remote_addr)
        return self._limit.seconds_to_wait(client)


def _too_many(request: Request, served: Served, wait: int) -> Response:
    """For who sees it: many people can have one address, and it is in an outage that they all look."""
    from shared.status_page import page

    made = _once(
        served, "too many", str(wait),
        lambda: (page.render_wait(served, wait), "text/html; charset=utf-8", page.headers(served)),
    )  # fmt: skip
    answer = answers.send(request, made, 429)
    answer.headers["Retry-After"] = str(wait)
    return answer


def _answer(request: Request, path: str, app: App, served: Served, now: datetime) -> Response:
    show = PATHS.get(path) or next((PATHS[start] for start in (BELOW, V2) if path.startswith(start)), None)
    if show is None:
        raise Problem(404, "not_found", "there is nothing at this address")
    return show(request, path, app, served, now)


def _once(
    served: Served,
    key: str,
    stamp: str,
    make: Callable[[], tuple[bytes, str, Headers]],
    caching: str = answers.CACHING,
) -> Ready:
    """What `make` gives, made once for each snapshot and `stamp`: what else it depends on."""
    known: tuple[str, Ready] | None = served.prepared.get(key)
    if known is None or known[0] != stamp:
        known = served.prepared[key] = (stamp, answers.prepare(*make(), caching=caching))
    return known[1]


def _healthz(request: Request, path: str, app: App, served: Served, now: datetime) -> Response:
    """200, and 503 while nothing could ever be read; with `?strict=1` also during an outage."""
    status = 200 if served.reachable or served.snapshot else 503
    if status == 200 and request.query_string and _is_strict_outage(request, served):
        status = 503
    age = healthz.age(served, now)
    known: tuple[int, Ready] | None = served.prepared.get("healthz answer")
    if known is None or known[0] != age:  # made anew once a second
        body, headers = healthz.body(served, age), [*answers.BARE, *answers.CORS]
        ready = answers.prepare(body, "application/json", headers, etag=_health_tag(served, age), pack=False)
        known = served.prepared["healthz answer"] = (age, ready)
    return answers.send(request, known[1], status)


def _health_tag(served: Served, age: int) -> str:
    """The snapshot's seq. An outdated one has another tag, or who asks with the tag would never learn its age."""
    if not served.enabled:
        return 'W/"disabled"'
    old = served.snapshot is not None and age >= view.OUTDATED.total_seconds()
    return f'W/"{served.seq}-old"' if old else f'W/"{served.seq}"'


def _is_strict_outage(request: Request, served: Served) -> bool:
    return bool(
        request.args.get("strict") == "1"
        and served.enabled
        and served.snapshot
        and served.snapshot["overall"] == "outage"
    )


def _page(request: Request, path: str, app: App, served: Served, now: datetime) -> Response:
    from shared.status_page import page

    path = "/status" if path == "/" else path

    def ready(key: str, make: Callable[[], bytes], stamp: str = "") -> Ready:
        # A page is made once for each snapshot and minute, since its age is in words.
        stamp = page.age(served, now) + stamp
        return _once(served, key, stamp, lambda: (make(), "text/html; charset=utf-8", page.headers(served)))

    status = 200 if served.reachable or served.snapshot else 503
    if path == "/status":
        return answers.send(request, ready(path, lambda: page.render(served, now)), status)
    complete = True
    if path == HISTORY:
        whole = _whole(app, served)
        number = page.history_page(whole, request.args.get("page", "1"))
        if number is not None:
            html = _once(
                whole, f"{path} {number}", page.age(served, now),
                lambda: (page.render_history(whole, now, number), "text/html; charset=utf-8", page.headers(served)),
            )  # fmt: skip
            return answers.send(request, html, status)
    name = path.removeprefix(INCIDENTS) if path.startswith(INCIDENTS) else ""
    event = page.event(served, name) if name else None
    if event is None and name:
        whole = _whole(app, served)
        event, complete = page.event(whole, name), whole.complete
    if event is None:  # one answer for all that is not there, or it would fill the memory
        if not (served.enabled and served.snapshot):
            return answers.send(request, ready("missing", lambda: page.render(served, now)), status)
        key = "missing" if complete else "unread"
        missing = ready(key, lambda: page.render_missing(served, now, complete=complete))
        return answers.send(request, missing, 404 if complete else 503)
    from shared.status_page.timelines import Timelines

    told = app.part(Timelines).whole(served, event)
    stamp = f" {told.get('earlierUpdates', 0)}"  # fewer, once they could be read
    if request.args.get("updates") == "all":  # it may be large, so only the last one that was asked for stays
        everything = ready("all updates", lambda: page.render_timeline(served, now, told), f"{stamp} {name}")
        return answers.send(request, everything, status)
    return answers.send(request, ready(path, lambda: page.render_event(served, now, told), stamp), status)


def _whole(app: App, served: Served) -> Whole:
    """What is served, with what has left the snapshot: one read more for each change of that."""
    from shared.status_page.past import Past

    return app.part(Past).whole(served)


def _v2(request: Request, path: str, app: App, served: Served, now: datetime) -> Response:
    from shared.status_page import statuspage_v2

    name = path.removeprefix(V2)
    if name not in statuspage_v2.NAMES:
        raise Problem(404, "not_found", "there is nothing at this address")
    _require_view(served)
    if name in statuspage_v2.LONG:
        served = _whole(app, served)
    snapshot = served.snapshot
    if snapshot is None:
        raise Problem(503, "no_data", "nothing has been measured yet", headers={"Retry-After": "60"})
    old = view.outdated(snapshot, now)

    def make() -> tuple[bytes, str, Headers]:
        body = statuspage_v2.V2(snapshot, app.settings.public_url, outdated=old).answer(name)
        return json.dumps(body, ensure_ascii=False).encode(), "application/json; charset=utf-8", headers

    headers = [*answers.BARE, *answers.CORS]
    return answers.send(request, _once(served, path, str(old), make))


def _feed(request: Request, path: str, app: App, served: Served, now: datetime) -> Response:
    from shared.status_page import feeds

    if served.enabled:
        _require_view(served)
    whole = _whole(app, served)

    def make() -> tuple[bytes, str, Headers]:
        found = feeds.feed(whole, app.settings.public_url)
        body = feeds.atom(found) if path.endswith("atom") else feeds.rss(found)
        return body, f"{FEEDS[path]}; charset=utf-8", [*answers.BARE, *answers.CORS]

    return answers.send(request, _once(whole, path, "", make))


def _badge(request: Request, path: str, app: App, served: Served, now: datetime) -> Response:
    from shared.status_page import badge

    state = badge.word(served, now)
    drawn = _once(served, path, state, lambda: (badge.picture(state), "image/svg+xml", _EMBEDDED))
    return answers.send(request, drawn)


def _script(request: Request, path: str, app: App, served: Served, now: datetime) -> Response:
    from shared.status_page import badge

    ready = _once(
        served, path, "", lambda: (badge.script(served), "text/javascript; charset=utf-8", _EMBEDDED),
        caching=_SCRIPT_CACHING if served.enabled else answers.CACHING,
    )  # fmt: skip
    return answers.send(request, ready)


def _require_view(served: Served) -> None:
    """For answers that have no form of their own in which to say that there is nothing to be said."""
    if not served.enabled:
        raise Problem(503, "disabled", "the status page is switched off", headers={"Retry-After": "60"})
    if served.snapshot is None and not served.reachable:
        raise Problem(503, "status_unknown", "the status cannot be read at the moment", headers={"Retry-After": "5"})


# Nothing else is answered. What ends with a slash goes on with a name, but for the root. Each imports what it needs
# when it is first asked for: healthz answers without the template engine.
PATHS: Mapping[str, Callable[[Request, str, App, Served, datetime], Response]] = {
    "/": _page,
    "/status": _page,
    HISTORY: _page,
    INCIDENTS: _page,
    BELOW: _page,
    HEALTHZ: _healthz,
    V2: _v2,
    **dict.fromkeys(FEEDS, _feed),
    BADGE: _badge,
    SCRIPT: _script,
}
