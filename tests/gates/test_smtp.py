"""Mail to a real server: taken, refused, put off, silent, slow, encrypted, with a login, no secret told."""

import base64
import re
import ssl
import traceback
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from mail_servers import (
    Manners,
    dripping_server,
    free_port,
    mail_server,
    server_context,
)

from workbench.gates.channels import Channel, NotSent, Postponed, Refused, Unreachable, is_loopback
from workbench.gates.mails import letter
from workbench.gates.messages import Alert, Message
from workbench.gates.smtp import Smtp

ME = "mailto:me@example.org"
USER, PASSWORD = "trader-7", "Tr0ub4dor&3-secret"
AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
MESSAGE = Message("id-1", (Alert("run", "key", "firing", "warning", "loss ≥ 1", "It is 2.\n.\nFrom me", AT),))


@pytest.fixture(autouse=True)
def _no_login(monkeypatch: pytest.MonkeyPatch):
    for name in ("WORKBENCH_SMTP_USER", "WORKBENCH_SMTP_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKBENCH_SMTP_USER", USER)
    monkeypatch.setenv("WORKBENCH_SMTP_PASSWORD", PASSWORD)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def cafile(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA) -> ssl.SSLContext:
    return server_context(authority.issue_cert("127.0.0.1"))


def mail_to(port: int, security="plain", **options) -> Smtp:
    options = {"timeout": 5, **options}
    return Smtp("127.0.0.1", "bench@example.org", "me@example.org", security, port, **options)


def failure(channel: Channel, wanted: type[NotSent]) -> str:
    """Return the words of the failure, having looked for secrets in all that a traceback can show."""
    with pytest.raises(NotSent) as caught:
        channel.send(MESSAGE, ME)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    everything = "".join(shown.format()) + repr(caught.value) + repr(channel)
    for secret in secrets():
        assert secret not in everything
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert type(caught.value) is wanted
    return str(caught.value)


def secrets() -> list[str]:
    pair = f"\0{USER}\0{PASSWORD}"
    return [PASSWORD, USER, *(base64.b64encode(each.encode()).decode() for each in (PASSWORD, USER, pair))]


def test_a_mail_arrives_as_it_was_written():
    with mail_server() as server:
        mail_to(server.port).send(MESSAGE, ME)
    (mail,) = server.taken
    parsed = mail.parsed
    assert mail.recipient == parsed["To"] == "me@example.org"
    assert parsed["From"] == "bench@example.org"
    assert parsed["Subject"] == "[firing] run · loss ≥ 1"
    assert parsed["Message-ID"] == "<id-1@example.org>"
    assert parsed["Date"].datetime == AT
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert mail.text.replace("\r\n", "\n") == MESSAGE.text


def test_every_attempt_sends_the_same_bytes_in_lines_that_every_server_takes():
    content = letter(MESSAGE, "bench@example.org", "me@example.org")
    assert content == letter(MESSAGE, "bench@example.org", "me@example.org")
    assert content.isascii()
    long = Message("2", (Alert("", "k", "firing", "warning", "ü" * 3000, "x" * 5000, AT),))
    lines = letter(long, "bench@example.org", "me@example.org").split(b"\r\n")
    assert max(len(line) for line in lines) <= 998  # RFC 5321
    assert not any(b"\n" in line or b"\r" in line for line in lines)


def test_nothing_in_an_alert_becomes_a_header():
    evil = "loss\r\nBcc: all@example.org\r\n\r\nhello\u2028Cc: all@example.org"
    message = Message("1", (Alert(evil, evil, "firing", "warning", evil, evil, AT),))
    with mail_server() as server:
        mail_to(server.port).send(message, ME)
    (mail,) = server.taken
    names = {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type", "MIME-Version"}
    assert {name for name in mail.parsed if not name.startswith("X-")} - names == {
        "Content-Transfer-Encoding"
    }
    assert [mail.recipient] == ["me@example.org"]


@pytest.mark.parametrize(
    ("manners", "wanted", "words"),
    [
        (Manners(refused=frozenset(["me@example.org"])), Refused, "550 5.1.1 nobody of that name"),
        (Manners(to_helo="554 5.7.1 not from here"), Unreachable, "we were not accepted: 554 5.7.1 not from"),
        (Manners(to_rcpt=["451 4.3.0 later"]), Unreachable, "recipient was not accepted: 451 4.3.0 later"),
        (Manners(to_mail=["553 5.1.8 who are you"]), Refused, "553 5.1.8 who are you"),
        (Manners(to_mail=["450 busy"]), Unreachable, "450 busy"),
        (Manners(to_mail=["530 5.7.0 log in first"]), Unreachable, "530.*set WORKBENCH_SMTP_USER"),
        (Manners(to_data=["451 4.3.0 later"]), Postponed, "451 4.3.0 later"),
        (Manners(to_data=["554 5.6.0 not this one"]), Refused, "554 5.6.0 not this one"),
        (Manners(to_data=["421 4.3.2 closing"]), Unreachable, "421 4.3.2 closing"),
    ],
)
def test_an_answer_of_4xx_is_for_now_and_one_of_5xx_for_good(manners: Manners, wanted, words: str):
    with mail_server(manners) as server:
        told = failure(mail_to(server.port), wanted)
    assert re.search(words, told)
    assert server.taken == []


def test_a_server_that_is_not_there_is_named():
    port = free_port()
    told = failure(mail_to(port), Unreachable)
    assert told == "127.0.0.1 (connecting): Connection refused."


def test_a_name_that_nobody_knows_is_tried_again():
    channel = Smtp("mail.invalid", "a@b.org", "me@example.org", "plain")
    assert failure(channel, Unreachable).startswith(
        "mail.invalid (connecting): there is no host of this name, or no network ("
    )


def test_a_server_that_does_not_speak_tls_is_told_in_words():
    with mail_server() as server:
        told = failure(Smtp("127.0.0.1", "a@b.org", "me@example.org", "tls", server.port), Unreachable)
    assert told.startswith("127.0.0.1 (connecting): it does not speak TLS here (wrong version number)")
    assert "Look at port and security" in told


def test_a_silent_server_is_given_up_after_the_timeout():
    with dripping_server() as port:
        told = failure(mail_to(port, timeout=0.3), Unreachable)
    assert told == "127.0.0.1 (connecting): no answer within 0.3 s, or the connection was closed."


@pytest.mark.parametrize(
    ("security", "words"), [("plain", b"220 "), ("tls", b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb")]
)
def test_a_server_that_drips_is_given_up_too(security: str, words: bytes):
    with dripping_server(words + b"x" * 4000, pause=0.05) as port:
        channel = mail_to(port, security, timeout=0.3)
        assert failure(channel, Unreachable).endswith("or the connection was closed.")


def test_a_slow_server_is_waited_for():
    with mail_server(Manners(delay=0.5)) as server:
        mail_to(server.port).send(MESSAGE, ME)
    assert len(server.taken) == 1


def test_an_answer_that_comes_too_late_counts_as_none():
    with mail_server(Manners(delay=1.0)) as server:
        assert "(sending): no answer" in failure(mail_to(server.port, timeout=0.2), Unreachable)
    assert len(server.seen) == 1


def test_a_mail_that_was_taken_is_sent_whatever_happens_in_taking_leave(monkeypatch: pytest.MonkeyPatch):
    async def hang_up(self, *_: object) -> None:
        self.transport.abort()

    monkeypatch.setattr("aiosmtpd.smtp.SMTP.smtp_QUIT", hang_up)
    with mail_server() as server:
        mail_to(server.port).send(MESSAGE, ME)
    assert len(server.taken) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.usefixtures("login")
def test_it_logs_in_over_an_encrypted_connection(security: str, certificate: ssl.SSLContext, cafile: str):
    if security == "tls":  # aiosmtpd doesn't see that it is encrypted from the start
        options = {"ssl_context": certificate, "auth_require_tls": False}
    else:
        options = {"tls_context": certificate, "require_starttls": True, "auth_required": True}
    with mail_server(Manners(users={USER: PASSWORD}), **options) as server:
        server.SMTP_kwargs["authenticator"] = server.authenticate
        mail_to(server.port, security, cafile=cafile).send(MESSAGE, ME)
    (mail,) = server.taken
    assert mail.user == USER
    if security == "starttls":
        assert mail.encrypted
    assert not any(secret.encode() in mail.content for secret in secrets())


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.usefixtures("login")
@pytest.mark.parametrize("wrong", ["authority", "name", "system"])
def test_a_certificate_that_is_not_to_be_trusted_ends_it_before_the_login(
    security: str, wrong: str, authority: trustme.CA, cafile: str
):
    issuer = trustme.CA() if wrong == "authority" else authority
    shown = server_context(issuer.issue_cert("elsewhere.example.org" if wrong == "name" else "127.0.0.1"))
    tls = {"ssl_context": shown} if security == "tls" else {"tls_context": shown}
    with mail_server(Manners(users={USER: PASSWORD}), **tls) as server:
        logins = []
        server.SMTP_kwargs["authenticator"] = lambda *given: logins.append(given)
        channel = mail_to(server.port, security, cafile=None if wrong == "system" else cafile)
        told = failure(channel, Unreachable)
    assert "its certificate is not to be trusted: " in told
    assert logins == server.seen == []


@pytest.mark.usefixtures("login")
def test_a_server_without_encryption_is_told_nothing():
    with mail_server(auth_require_tls=False) as server:
        logins = []
        server.SMTP_kwargs["authenticator"] = lambda *given: logins.append(given)
        told = failure(mail_to(server.port, "starttls"), Unreachable)
    assert told.endswith("(encrypting): the server does not offer what security='starttls' needs.")
    assert logins == server.seen == []


@pytest.mark.usefixtures("login")
def test_a_wrong_password_is_told_without_it_though_the_server_repeats_it(
    certificate: ssl.SSLContext, cafile: str
):
    with mail_server(Manners(users={USER: "another"}), tls_context=certificate) as server:
        server.SMTP_kwargs["authenticator"] = server.authenticate
        told = failure(mail_to(server.port, "starttls", cafile=cafile), Unreachable)
    assert told == (
        "127.0.0.1 (logging in): refused with 535. Look at WORKBENCH_SMTP_USER and WORKBENCH_SMTP_PASSWORD."
    )


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize("secret", range(5))
def test_secrets_that_a_server_repeats_are_blotted_out(secret: int):
    answer = f"554 5.6.0 rejected {secrets()[secret]} indeed"
    with mail_server(Manners(to_data=[answer], users={USER: PASSWORD}), auth_require_tls=False) as server:
        server.SMTP_kwargs["authenticator"] = server.authenticate
        assert failure(mail_to(server.port), Refused).endswith("554 5.6.0 rejected *** indeed")


def test_a_password_that_is_not_ascii_is_told_without_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKBENCH_SMTP_USER", USER)
    monkeypatch.setenv("WORKBENCH_SMTP_PASSWORD", f"{PASSWORD}ü")
    with mail_server(Manners(users={USER: PASSWORD}), auth_require_tls=False) as server:
        server.SMTP_kwargs["authenticator"] = server.authenticate
        told = failure(mail_to(server.port), Unreachable)
    assert told == "127.0.0.1 (logging in): user name and password must be ASCII."


@pytest.mark.usefixtures("login")
def test_a_server_that_knows_no_login_is_not_sent_to():
    with mail_server() as server:  # offers AUTH only when encrypted
        told = failure(mail_to(server.port), Unreachable)
    assert told.startswith("127.0.0.1 (logging in): SMTPNotSupportedError. Look at")
    assert server.seen == []


@pytest.mark.usefixtures("login")
def test_a_password_never_travels_in_the_clear_but_within_this_machine():
    channel = Smtp("mail.example.org", "a@b.org", "me@example.org", "plain")
    assert failure(channel, Unreachable).startswith(
        "Logging in at mail.example.org without encryption would show"
    )


@pytest.mark.parametrize("given", ["WORKBENCH_SMTP_USER", "WORKBENCH_SMTP_PASSWORD"])
def test_half_a_login_is_no_login(monkeypatch: pytest.MonkeyPatch, given: str):
    monkeypatch.setenv(given, PASSWORD)
    assert f"{given} is set and WORKBENCH_SMTP_" in failure(mail_to(1), Unreachable)


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_file_of_authorities_that_is_none_is_named(tmp_path: Path, content: bytes | None):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    told = failure(mail_to(1, "tls", cafile=str(path)), Unreachable)
    assert told.startswith(f"cafile {path} can't be used")


@pytest.mark.parametrize(
    ("host", "is_this_machine"),
    [
        ("localhost", True), ("LOCALHOST.", True), ("127.0.0.1", True), ("127.9.8.7", True), ("::1", True),
        ("localhost.example.org", False), ("128.0.0.1", False), ("127.0.0.1.example.org", False),
        ("0.0.0.0", False),
    ],
)  # fmt: skip
def test_what_is_this_machine(host: str, is_this_machine: bool):
    assert is_loopback(host) is is_this_machine


def test_it_is_a_channel_with_an_address_for_each_recipient():
    channel = Smtp("mail.example.org", "a@b.org", ["c@d.org", "e@f.org"])
    assert isinstance(channel, Channel)
    assert channel.addresses == ("mailto:c@d.org", "mailto:e@f.org")
    assert channel.name == "mail"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"host": f"me:{PASSWORD}@mail.example.org"},
            "host must be the name or number of a mail server alone",
        ),
        ({"host": "smtp://mail.example.org"}, "host must be"),
        ({"host": ""}, "host must be"),
        ({"host": "mail.example.org:25"}, "host has no port in it"),
        ({"port": 0}, "port must be a number from 1 to 65535, or None; got 0"),
        ({"to": []}, "at least one address"),
        ({"to": "me"}, "such as 'me@example.org'; got 'me'"),
        ({"to": "me@example.org\nBcc: all@example.org"}, "such as 'me@example.org'"),
        ({"to": "a@b.org,c@d.org"}, "such as 'me@example.org'"),
        ({"sender": "Me <me@example.org>"}, "such as 'me@example.org'"),
        ({"sender": "mü@example.org"}, "such as 'me@example.org'"),
        ({"timeout": 0}, "above 0 seconds; got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(change: dict, words: str):
    settings = {"host": "mail.example.org", "sender": "a@b.org", "to": "me@example.org", **change}
    with pytest.raises(ValueError, match=words) as caught:
        Smtp(**settings)
    assert PASSWORD not in str(caught.value)
