"""A local HTTP server that answers as told."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Reply:
    body: Any  # text, or what is written as JSON
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0  # bytes that the header promises and the connection doesn't deliver

    @property
    def content(self) -> bytes:
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass
class Server:
    """Scripted answers first, each once; then `answer` for every request."""

    url: str
    answer: Callable[[str, dict[str, str]], Reply] = lambda path, query: Reply("not told what to answer", 500)
    script: list[Reply] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def reply(self, target: str) -> Reply:
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        self.asked.append((parts.path, query))
        return self.script.pop(0) if self.script else self.answer(parts.path, query)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        reply = self.server.told.reply(self.path)  # pyright: ignore[reportAttributeAccessIssue]
        content = reply.content
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) + reply.cut))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass
