"""/dev/inbox: the messages as their reader would have seen them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from scripts.dev import mrkdwn

_STYLE = """
:root { color-scheme: light dark;
  --ground: #f6f6f4; --card: #fff; --ink: #1d1c1d; --soft: #5c5b60; --line: #dcdbd7; --link: #1160a8; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #17181a; --card: #212327; --ink: #e9e8e6; --soft: #a5a6ab; --line: #383b41; --link: #82b8f0; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.4rem; margin: 0; }
.lead { color: var(--soft); margin: .25rem 0 1.5rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .9rem 1rem;
  margin: 0 0 1rem; overflow-wrap: anywhere; }
.meta { display: flex; flex-wrap: wrap; gap: 0 .6rem; color: var(--soft); font-size: .85rem; margin-bottom: .35rem; }
h2 { font-size: 1.1rem; margin: .2rem 0 .4rem; }
article p { margin: .4rem 0; }
.fields { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(13rem, 100%), 1fr)); gap: .5rem 1.25rem;
  margin: .6rem 0; }
.context { color: var(--soft); font-size: .85rem; }
hr { border: 0; border-top: 1px solid var(--line); }
a { color: var(--link); }
iframe { width: 100%; height: 34rem; border: 1px solid var(--line); border-radius: .4rem; }
summary { cursor: pointer; color: var(--soft); }
code, pre { font: .875em/1.5 ui-monospace, monospace; background: var(--ground); border-radius: .25rem; }
code { padding: .1em .3em; }
pre { padding: .6rem; white-space: pre-wrap; }
.empty { color: var(--soft); text-align: center; padding: 3rem 1rem;
  border: 1px dashed var(--line); border-radius: .6rem; }
"""
_SCRIPT = """
const shown = document.body.dataset.newest;
setInterval(async () => {
  if (document.hidden) return;
  try {
    const { messages } = await (await fetch("/dev/inbox.json")).json();
    if ((messages[0]?.id ?? "") !== shown) location.reload();
  } catch { /* the server is away; the page stays as it is */ }
}, 3000);
"""


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


MAIL_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"


def page(messages: Sequence[dict[str, Any]]) -> str:
    """`messages` as `Inbox` gives them, newest first."""
    count = f"{len(messages)} message{'' if len(messages) == 1 else 's'}, newest first" if messages else ""
    body = "\n".join(_article(message) for message in messages)
    empty = '<p class="empty">Nothing was sent yet. When an alert begins or ends, its message appears here.</p>'
    newest = messages[0]["id"] if messages else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Inbox of the local server</title>
<style>{_STYLE}</style>
</head>
<body data-newest="{escape(newest)}">
<main>
<h1>Inbox</h1>
<p class="lead">Messages that had no real address to go to. {count}</p>
{body or empty}
</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _article(message: dict[str, Any]) -> str:
    moment = datetime.fromtimestamp(message["receivedAt"] / 1000, UTC)
    payload = message["payload"]
    if message["kind"] != "slack":
        return _framed(message, moment, _OTHERS[message["kind"]](payload, message["id"]))
    blocks = list(payload.get("blocks", []))
    for attachment in payload.get("attachments", []) if isinstance(payload.get("attachments"), list) else []:
        if isinstance(attachment, dict):
            blocks += attachment.get("blocks", [])
    content = "\n".join(_block(block) for block in blocks) or f"<p>{mrkdwn.html(str(payload.get('text', '')))}</p>"
    return _framed(message, moment, content)


def _framed(message: dict[str, Any], moment: datetime, content: str) -> str:
    return f"""<article>
<div class="meta"><span>{escape(message["kind"].capitalize())}</span>
<time datetime="{moment.isoformat()}">{moment:%d %b %Y, %H:%M:%S} UTC</time></div>
{content}
</article>"""


def _mail(mail: dict[str, Any], name: str) -> str:
    """The HTML in a frame of its own, which may run nothing and load nothing."""
    frame = f'<iframe sandbox title="{escape(mail["subject"])}" src="/dev/inbox/{escape(name)}"></iframe>'
    plain = f"<details><summary>As text</summary><pre>{escape(mail['text'])}</pre></details>"
    return f'<h2>{escape(mail["subject"])}</h2><p class="context">to {escape(mail["to"])}</p>{frame}{plain}'


def _event(event: dict[str, Any], _: str) -> str:
    payload = event.get("payload") or {}
    title = payload.get("summary") or event.get("dedup_key", "")
    details = json.dumps(event, indent=2, ensure_ascii=False)
    head = f"<h2>{escape(event['event_action'].capitalize())}: {escape(str(title))}</h2>"
    return f"{head}<details><summary>The event</summary><pre>{escape(details)}</pre></details>"


def _webhook(payload: dict[str, Any], _: str) -> str:
    return f"<details open><summary>The body</summary><pre>{escape(payload['text'])}</pre></details>"


def _in_app(document: dict[str, Any], _: str) -> str:
    return f"<h2>{escape(document['title'])}</h2><p>{escape(document['message'])}</p>"


_OTHERS = {"mail": _mail, "page": _event, "webhook": _webhook, "in-app": _in_app}


def _block(block: dict[str, Any]) -> str:
    kind = block.get("type")
    if kind == "header":
        return f"<h2>{_text(block['text'])}</h2>"
    if kind == "section":
        text = f"<p>{_text(block['text'])}</p>" if "text" in block else ""
        fields = "".join(f"<div>{_text(field)}</div>" for field in block.get("fields", []))
        return text + (f'<div class="fields">{fields}</div>' if fields else "")
    if kind == "context":
        return f'<p class="context">{" ".join(_text(element) for element in block["elements"])}</p>'
    if kind == "actions":
        return f"<p>{' · '.join(_button(element) for element in block['elements'])}</p>"
    if kind == "divider":
        return "<hr>"
    return f"<pre>{escape(json.dumps(block, indent=2, ensure_ascii=False))}</pre>"


def _text(value: dict[str, Any]) -> str:
    text = str(value.get("text", value.get("alt_text", "")))
    return mrkdwn.html(text) if value.get("type") == "mrkdwn" else mrkdwn.plain(text)


def _button(element: dict[str, Any]) -> str:
    label = str((element.get("text") or {}).get("text", element["type"]))
    return mrkdwn.link(str(element.get("url", "")), label)
