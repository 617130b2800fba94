"""Mail servers that answer as told."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class Manners:
    """How a server behaves: scripted answers first, each once, then 250."""

    to_helo: str = ""
    to_mail: list[str] = field(default_factory=list)
    to_rcpt: list[str] = field(default_factory=list)
    to_data: list[str] = field(default_factory=list)
    refused: frozenset[str] = frozenset()  # recipients that it doesn't know
    delay: float = 0.0  # seconds before each answer to DATA's content
    users: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Mail:
    recipient: str
    content: bytes
    encrypted: bool
    user: str | None

    @property
    def parsed(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=policy.default)  # pyright: ignore[reportReturnType]

    @property
    def subject(self) -> str:
        return str(self.parsed["Subject"])

    @property
    def text(self) -> str:
        return self.parsed.get_content()


class MailServer(Controller):
    """A real aiosmtpd in a thread of its own, on a port of the system's choice."""

    def __init__(self, manners: Manners | None = None, **options: Any):
        self.manners = manners or Manners()
        self.seen: list[Mail] = []  # every content that came, taken or not
        self.taken: list[Mail] = []
        self.busy = self.busiest = 0  # mails under way at once
        self.arrived = threading.Semaphore(0)  # released when content has come, before the answer
        self.socket = socket.create_server(("127.0.0.1", options.pop("port", 0)))
        super().__init__(self, hostname="127.0.0.1", port=self.socket.getsockname()[1], **options)

    def _create_server(self) -> Any:
        return self.loop.create_server(self._factory_invoker, sock=self.socket, ssl=self.ssl_context)

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [self.manners.to_helo] if self.manners.to_helo else responses

    async def handle_HELO(self, server: SMTP, session: Session, envelope: Envelope, hostname: str) -> str:
        session.host_name = hostname
        return self.manners.to_helo or "250 hello"

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self.manners.to_mail.pop(0) if self.manners.to_mail else "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.manners.refused:
            return "550 5.1.1 nobody of that name"
        if self.manners.to_rcpt:
            return self.manners.to_rcpt.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        user = session.auth_data.login.decode() if session.authenticated else None
        mail = Mail(envelope.rcpt_tos[0], content, session.ssl is not None, user)
        self.seen.append(mail)
        answer = self.manners.to_data.pop(0) if self.manners.to_data else "250 OK"
        self.arrived.release()
        self.busy += 1
        self.busiest = max(self.busy, self.busiest)
        try:
            await asyncio.sleep(self.manners.delay)
        finally:
            self.busy -= 1
        if answer.startswith("2"):
            self.taken.append(mail)
        return answer

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        known = self.manners.users.get(data.login.decode())
        right = known is not None and known == data.password.decode()
        # An unkind server repeats what it was told.
        words = None if right else f"535 5.7.8 no such pair: {data.login.decode()} {data.password.decode()}"
        return AuthResult(success=right, handled=right or words is None, message=words, auth_data=data)


@contextmanager
def mail_server(manners: Manners | None = None, **options: Any) -> Iterator[MailServer]:
    server = MailServer(manners, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def dripping_server(words: bytes = b"", pause: float = 0.05) -> Iterator[int]:
    """A server that says `words`, a byte at a time, then nothing; yields its port."""
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)

    def serve() -> None:
        taken = []
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            taken.append(connection)
            threading.Thread(target=drip, args=[connection], daemon=True).start()
        for connection in taken:
            connection.close()

    def drip(connection: socket.socket) -> None:
        for byte in words:
            if ended.wait(pause):
                return
            try:
                connection.send(bytes([byte]))
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        ended.set()
        thread.join()
        listener.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def server_context(certificate: Any) -> ssl.SSLContext:
    """What a server needs to show trustme's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context
