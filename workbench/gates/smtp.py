"""Alerts by e-mail."""

import base64
import os
import re
import smtplib
import socket
import ssl
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from workbench.gates.channels import NotSent, Postponed, Refused, Unreachable, is_loopback
from workbench.gates.mails import is_address, letter
from workbench.gates.messages import Message, clipped, one_line

Security = Literal["starttls", "tls", "plain"]

PORTS: dict[Security, int] = {"starttls": 587, "tls": 465, "plain": 25}
WHOLE = 3.0  # an attempt takes at most so many times the timeout, however slowly the server answers
NEEDS_LOGIN = 530  # RFC 4954: authentication required


@dataclass(frozen=True)
class Smtp:
    """Send alerts by e-mail.

    User name and password are read from environment variables whenever they are needed, and kept nowhere.
    Where neither is set, it sends without logging in.

    Attributes
    ----------
    host
        Of the mail server.
    sender
        Address that the mails come from.
    to
        Address or addresses that they go to. Each gets mails of its own.
    security
        "starttls": encrypted after a first exchange; "tls": from the start; "plain": not at all. The server's
        certificate is checked. Logging in without encryption is refused unless the host is this machine.
    port
        None: 587, 465 or 25, as `security` has it.
    cafile
        File of the authorities that may have signed the server's certificate; None: those of the system.
    timeout
        Seconds that each answer may take; a whole attempt takes at most three times as long.
    user_variable, password_variable
        Names of the environment variables.

    Examples
    --------
    >>> Smtp("mail.example.org", sender="workbench@example.org", to="me@example.org").addresses
    ('mailto:me@example.org',)
    """

    host: str
    sender: str
    to: str | Sequence[str]
    security: Security = "starttls"
    port: int | None = None
    cafile: str | None = None
    timeout: float | int = 20
    user_variable: str = "WORKBENCH_SMTP_USER"
    password_variable: str = "WORKBENCH_SMTP_PASSWORD"

    def __post_init__(self) -> None:
        if re.fullmatch(r"[^:]+:\d+", self.host):
            raise ValueError("host has no port in it: give port=… beside it.")
        if self.port is not None and not (type(self.port) is int and 0 < self.port < 65536):
            raise ValueError(f"port must be a number from 1 to 65535, or None; got {self.port!r}.")
        if not re.fullmatch(r"[A-Za-z0-9._:-]+", self.host):  # not shown: it may hold a password
            raise ValueError(
                "host must be the name or number of a mail server alone, such as 'mail.example.org'."
            )
        if self.security not in PORTS:
            raise ValueError(f"security must be one of {', '.join(PORTS)}; got {self.security!r}.")
        if not self.timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds; got {self.timeout}.")
        if not self.recipients:
            raise ValueError("to must name at least one address.")
        for address in (self.sender, *self.recipients):
            if not is_address(address):
                raise ValueError(f"Expected an e-mail address such as 'me@example.org'; got {address!r}.")

    @property
    def recipients(self) -> tuple[str, ...]:
        """Addresses that mails go to."""
        return (self.to,) if isinstance(self.to, str) else tuple(self.to)

    @property
    def name(self) -> str:
        """What the channel is called."""
        return "mail"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses as the spool has them."""
        return tuple(f"mailto:{address}" for address in self.recipients)

    def send(self, message: Message, address: str) -> None:
        """Send a message, or raise why it was not taken."""
        problem = self._problem(message, address.removeprefix("mailto:"))
        if problem is not None:
            raise problem  # made anew: what smtplib raised has the password in its frames

    def _problem(self, message: Message, recipient: str) -> NotSent | None:
        """Try to send, and return what went wrong."""
        unsafe = self._unsafe()
        if unsafe is not None:
            return unsafe
        content = letter(message, self.sender, recipient)
        server = self._server()
        watch = threading.Timer(WHOLE * self.timeout, _cut, [server])
        watch.daemon = True
        watch.start()
        step = "connecting"
        try:
            for name, work in self._steps(server, content, recipient):
                step = name
                work()
        except (OSError, ValueError) as error:  # all of smtplib's are OSErrors; else a password isn't ASCII
            told = self._told(error, step)
            _forget(error)
            return told
        finally:
            watch.cancel()
            server.close()
        return None

    def _unsafe(self) -> Unreachable | None:
        """Say which setting forbids to try."""
        given = [name for name in (self.user_variable, self.password_variable) if os.environ.get(name)]
        if len(given) == 1:
            other = ({self.user_variable, self.password_variable} - set(given)).pop()
            return Unreachable(f"{given[0]} is set and {other} is not. Set both, or neither.", settings=True)
        if given and self.security == "plain" and not is_loopback(self.host):
            return Unreachable(
                f"Logging in at {self.host} without encryption would show the password to the network. Use "
                f"security='starttls' or 'tls', or unset {self.user_variable} and {self.password_variable}.",
                settings=True,
            )
        if self.cafile is not None:
            try:
                self._context()
            except OSError as error:
                words = f"cafile {self.cafile} can't be used ({error.strerror})."
                return Unreachable(words, settings=True)
        return None

    def _server(self) -> smtplib.SMTP:
        if self.security == "tls":
            server = smtplib.SMTP_SSL(timeout=self.timeout, context=self._context())
        else:
            server = smtplib.SMTP(timeout=self.timeout)
        # The name that the certificate must have: connect() alone doesn't set it.
        server._host = self.host  # pyright: ignore[reportAttributeAccessIssue]
        return server

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.cafile)

    def _steps(
        self, server: smtplib.SMTP, content: bytes, recipient: str
    ) -> list[tuple[str, Callable[[], object]]]:
        steps: list[tuple[str, Callable[[], object]]] = [("connecting", lambda: self._connect(server))]
        if self.security == "starttls":
            steps.append(("encrypting", lambda: server.starttls(context=self._context())))
        if os.environ.get(self.user_variable):
            steps.append(("logging in", lambda: self._log_in(server)))
        steps.append(("sending", lambda: server.sendmail(self.sender, [recipient], content)))
        # It has arrived: what goes wrong in taking leave is no reason to send it again.
        return [*steps, ("leaving", lambda: _leave(server))]

    def _connect(self, server: smtplib.SMTP) -> None:
        code, answer = server.connect(self.host, PORTS[self.security] if self.port is None else self.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, answer)

    def _log_in(self, server: smtplib.SMTP) -> None:
        server.login(os.environ[self.user_variable], os.environ[self.password_variable])

    def _told(self, error: OSError | ValueError, step: str) -> NotSent:
        """Say in words, without secrets, what an error of smtplib means."""
        place = f"{self.host} ({step})"
        if isinstance(error, ssl.SSLCertVerificationError):
            return Unreachable(
                f"{place}: its certificate is not to be trusted: {error.verify_message}.", settings=True
            )
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            code, answer = next(iter(error.recipients.values()))
            return self._answered(
                code, answer, f"{place}: the recipient was not accepted", Unreachable, Refused
            )
        if step != "logging in" and isinstance(error, smtplib.SMTPResponseException):
            mail = isinstance(error, smtplib.SMTPSenderRefused | smtplib.SMTPDataError)
            later = Postponed if isinstance(error, smtplib.SMTPDataError) else Unreachable
            what = f"{place}: {'the mail was' if mail else 'we were'} not accepted"
            final = Refused if mail else Unreachable
            return self._answered(error.smtp_code, error.smtp_error, what, later, final)
        if isinstance(error, smtplib.SMTPServerDisconnected | TimeoutError):
            return Unreachable(f"{place}: no answer within {self.timeout} s, or the connection was closed.")
        if step == "logging in":
            return self._not_logged_in(error, place)
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return Unreachable(
                f"{place}: the server does not offer what security={self.security!r} needs.", True
            )
        return Unreachable(f"{place}: {_words(error)}.")

    def _not_logged_in(self, error: OSError | ValueError, place: str) -> Unreachable:
        """Say why logging in failed, without the server's words: it was just told the password."""
        code = error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else None
        if code is not None and code < 500:
            return Unreachable(f"{place}: put off by the server with {code}.")
        if isinstance(error, UnicodeError):
            return Unreachable(f"{place}: user name and password must be ASCII.", settings=True)
        reason = type(error).__name__ if code is None else f"refused with {code}"
        return Unreachable(
            f"{place}: {reason}. Look at {self.user_variable} and {self.password_variable}.", settings=True
        )

    def _answered(
        self, code: int, answer: bytes | str, what: str, later: type[NotSent], final: type[NotSent]
    ) -> NotSent:
        """Sort an answer by its code: 4xx is for `later`, 5xx is `final`."""
        words = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
        text = f"{what}: {code} {self._scrubbed(words)}"
        if code == NEEDS_LOGIN:
            return Unreachable(
                f"{text} (set {self.user_variable} and {self.password_variable})", settings=True
            )
        if code == 421:  # the server closes the connection
            return Unreachable(text)
        return final(text) if code >= 500 else later(text)

    def _scrubbed(self, text: str) -> str:
        """Return a server's words on one line, with whatever it repeats of the secrets blotted out."""
        user, password = (os.environ.get(name, "") for name in (self.user_variable, self.password_variable))
        told = [password, user, f"\0{user}\0{password}"]
        encoded = [base64.b64encode(secret.encode()).decode() for secret in told]
        for secret in sorted({*told, *encoded} - {"", "AAA="}, key=len, reverse=True):
            text = text.replace(secret, "***")
        return clipped(one_line(text), 200)


def _words(error: OSError | ValueError) -> str:
    """Say what the system has against a connection; it knows no secrets."""
    if isinstance(error, socket.gaierror):
        return f"there is no host of this name, or no network ({error.strerror})"
    if isinstance(error, ssl.SSLError):
        told = clipped(str(error.reason or error.strerror).replace("_", " ").lower(), 100)
        repair = "Look at port and security: 'starttls' has port 587 as a rule"
        return f"it does not speak TLS here ({told}). {repair}"
    words = error.strerror if isinstance(error, OSError) else None
    return words or type(error).__name__


def _forget(error: BaseException | None) -> None:
    """Empty the frames an error went through: smtplib's know the password, and keep the error in a ring."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        error = error.__context__


def _cut(server: smtplib.SMTP) -> None:
    """End a connection from another thread; an encrypted socket's own shutdown would also unwrap it."""
    if server.sock is not None:
        with suppress(OSError):
            socket.socket.shutdown(server.sock, socket.SHUT_RDWR)


def _leave(server: smtplib.SMTP) -> None:
    with suppress(OSError):
        server.quit()
