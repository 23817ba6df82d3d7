"""Anthropic's and OpenAI's servers, as far as their clients can tell: JSON, streams, gzip, and what goes wrong."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANTHROPIC_USAGE = {
    "input_tokens": 21, "cache_read_input_tokens": 188086, "cache_creation_input_tokens": 456,
    "cache_creation": {"ephemeral_5m_input_tokens": 356, "ephemeral_1h_input_tokens": 100},
    "output_tokens": 393, "service_tier": "standard",
}  # fmt: skip
CHAT_USAGE = {
    "prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 64, "audio_tokens": 0,
                                  "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
}  # fmt: skip
RESPONSES_USAGE = {
    "input_tokens": 328, "input_tokens_details": {"cached_tokens": 128}, "output_tokens": 52,
    "output_tokens_details": {"reasoning_tokens": 12}, "total_tokens": 380,
}  # fmt: skip
SAID = "the canary sings 7319"


def message(model: str, usage: Any) -> dict[str, Any]:
    return {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant", "model": model,
        "content": [{"type": "text", "text": SAID}], "stop_reason": "end_turn", "stop_sequence": None, "usage": usage,
    }  # fmt: skip


def message_events(model: str) -> Iterator[dict[str, Any]]:
    begun = {**ANTHROPIC_USAGE, "output_tokens": 1}
    yield {"type": "message_start", "message": {**message(model, begun), "content": [], "stop_reason": None}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield {"type": "ping"}
    for word in SAID.split():
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 393},
    }
    yield {"type": "message_stop"}


def chat(model: str) -> dict[str, Any]:
    said = {"role": "assistant", "content": SAID, "refusal": None}
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion", "created": 1741569952,
        "model": model, "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": "stop"}],
        "usage": CHAT_USAGE, "service_tier": "default",
    }  # fmt: skip


def chat_chunks(model: str, *, with_usage: bool) -> Iterator[dict[str, Any]]:
    same = {"id": "chatcmpl-123456", "object": "chat.completion.chunk", "created": 1, "model": model}
    for word in SAID.split():
        choices = [{"index": 0, "delta": {"content": word}, "finish_reason": None}]
        yield {**same, "choices": choices, **({"usage": None} if with_usage else {})}
    if with_usage:
        yield {**same, "choices": [], "usage": CHAT_USAGE}


def answered(model: str, *, done: bool = True) -> dict[str, Any]:
    said = {"type": "output_text", "text": SAID, "annotations": []}
    return {
        "id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b", "object": "response", "created_at": 1741476542,
        "status": "completed" if done else "in_progress", "error": None, "incomplete_details": None,
        "instructions": None, "model": model, "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto",
        "tools": [], "top_p": 1.0, "metadata": {}, "service_tier": "default",
        "output": [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [said]}]
        if done else [],
        "usage": RESPONSES_USAGE if done else None,
    }  # fmt: skip


def response_events(model: str) -> Iterator[dict[str, Any]]:
    yield {"type": "response.created", "sequence_number": 0, "response": answered(model, done=False)}
    for n, word in enumerate(SAID.split(), 1):
        yield {"type": "response.output_text.delta", "sequence_number": n, "item_id": "msg_1", "output_index": 0,
               "content_index": 0, "delta": word, "logprobs": []}  # fmt: skip
    yield {"type": "response.completed", "sequence_number": 9, "response": answered(model)}


class Provider(ThreadingHTTPServer):
    """`fail`: a status that the next requests are answered with; `packed`: answers are gzipped."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fail: int | None = None
        self.packed = False
        self.bodies: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Provider
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are written apart, and clients acknowledge late

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        model = body["model"]
        if self.server.fail is not None:
            error = {"type": "error", "error": {"type": "api_error", "message": "planted"}}
            self._send(json.dumps(error).encode(), "application/json", self.server.fail)
            return
        if self.path.endswith("/messages"):
            whole, events = message(model, ANTHROPIC_USAGE), message_events(model)
        elif self.path.endswith("/chat/completions"):
            asked = bool((body.get("stream_options") or {}).get("include_usage"))
            whole, events = chat(model), chat_chunks(model, with_usage=asked)
        else:
            whole, events = answered(model), response_events(model)
        if not body.get("stream"):
            self._send(json.dumps(whole).encode(), "application/json")
            return
        text = "".join(f"event: {e.get('type', 'chunk')}\ndata: {json.dumps(e)}\n\n" for e in events)
        if self.path.endswith("/chat/completions"):
            text = "".join(line + "\n" for line in text.splitlines() if not line.startswith("event:"))
            text += "data: [DONE]\n\n"
        self._send(text.encode(), "text/event-stream")

    def _send(self, body: bytes, kind: str, status: int = 200) -> None:
        body = gzip.compress(body) if self.server.packed else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("request-id", "req_018EeWyXxfu5pfWkrYcMdjWG")
        if self.server.packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for start in range(0, len(body), 200):
            self.wfile.write(body[start : start + 200])
            time.sleep(0)


@contextmanager
def provider() -> Iterator[Provider]:
    server = Provider()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
