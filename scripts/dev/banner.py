"""What the terminal shows at the start: where everything is, and a line to copy."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from scripts.dev.server import Plan
from scripts.ops.client import LOCAL

_METRIC = '{"name":"api_latency","value":123,"labels":{"endpoint":"/api/orders"},"timestamp":%s,"aggregation":"p95"}'


def banner(plan: Plan, key: str, last: datetime | None) -> str:
    """`key` is the folder's ingest key, `last` how far a fast clock has come in the folder."""
    paint, url, now = plan.console.paint, plan.url, plan.clock.now()
    own_slack = plan.settings.slack_webhook_url == f"{url}/dev/slack"
    scheduled = [f for f in plan.functions if f.schedule]
    lines = [
        "",
        f"{paint('F0 Ops runs here.', 'bold')} Ctrl-C stops it.",
        "",
        f"  Status page   {url}/status",
        f"  Health        {url}/api/status/healthz",
        f"  Inbox         {url}/dev/inbox  {'' if own_slack else '(Slack messages go to your webhook)'}".rstrip(),
        f"  Metrics       {_look(url)}",
        f"  Data folder   {plan.folder.path}",
    ]
    if plan.schedules:
        lines.append(f"  Schedules     {', '.join(f'{f.id} {f.schedule}' for f in scheduled)}")
    if scheduled:
        lines.append(f"  Run one now   curl -X POST {url}/_scheduler/{scheduled[0].id}")
    if plan.clock.start is not None:
        lines.append(f"  Clock         {now:%Y-%m-%d %H:%M:%S} UTC, at {plan.clock.speed:g} times the real speed")
    if last is not None and last > now + timedelta(minutes=1):
        warning = (
            f"  Careful       A fast clock has come to {last:%Y-%m-%d %H:%M} UTC in this folder; alerts rest until\n"
            "                then. To begin anew, remove the folder or choose another one."
        )
        lines.append(paint(warning, "yellow"))
    return "\n".join([*lines, "", "  Send a metric:", "", _curl(plan, key), "", paint("  Times are UTC.", "dim"), ""])


def _look(url: str) -> str:
    """The command that draws a metric, which takes the usual address by itself."""
    command = "./ops metrics api_latency"
    return command if url == LOCAL else f"{command} --url {url}"


def _curl(plan: Plan, key: str) -> str:
    known = hashlib.sha256(key.encode()).hexdigest() in plan.settings.ingest_keys
    real = plan.clock.start is None
    moment = "'$(date +%s)000'" if real else str(int(plan.clock.now().timestamp() * 1000))
    body = f"""{{"batchId":"try-'$(date +%s)'","metrics":[{_METRIC % moment}]}}"""
    return (
        f"  curl -i {plan.url}/api/metrics \\\n"
        f"    -H 'Authorization: Bearer {key if known else 'YOUR-INGEST-KEY'}' \\\n"
        "    -H 'Content-Type: application/json' \\\n"
        f"    -d '{body}'"
    )
