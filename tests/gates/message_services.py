"""A local service that takes messages by HTTP, as chat services do."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Service:
    port: int
    status: int
    came: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # path and content
    answering: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        service: Service = self.server.service  # pyright: ignore[reportAttributeAccessIssue]
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        service.came.append((self.path, content))
        service.answering.wait(30)
        self.send_response(service.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def message_service(status: int = 200, silent: bool = False) -> Iterator[Service]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a client that was ended hears no answer
    service = Service(server.server_port, status)
    server.service = service  # pyright: ignore[reportAttributeAccessIssue]
    if not silent:
        service.answering.set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        service.answering.set()
        server.shutdown()
        thread.join()
        server.server_close()
