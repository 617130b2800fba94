"""Secrets are nowhere but on the wire, whatever goes wrong."""

import base64
import gc
import logging
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from alert_channels import QUICK, until
from mail_servers import Manners, dripping_server, free_port, mail_server, server_context
from message_services import message_service

from workbench.gates.alerts import Alerts, Rule
from workbench.gates.channels import Channel
from workbench.gates.chat import Chat
from workbench.gates.smtp import Smtp

USER, PASSWORD, TOKEN = "trader-7", "Tr0ub4dor&3-secret", "xoxb-Token-91827364"
RULES = [Rule("a", above=1.0, fire_after=1)]


def spellings() -> list[str]:
    plain = [USER, PASSWORD, TOKEN, f"\0{USER}\0{PASSWORD}"]
    encoded = [base64.b64encode(each.encode()).decode().rstrip("=") for each in plain]
    return [*plain, quote(PASSWORD, safe=""), *encoded]


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)  # of the root, so of all libraries too


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKBENCH_SMTP_USER", USER)
    monkeypatch.setenv("WORKBENCH_SMTP_PASSWORD", PASSWORD)


def check_nowhere(folder: Path, alerts: Alerts, *texts: str) -> None:
    """Search all files, what is shown, and what was logged."""
    shown = [repr(alerts), str(alerts.undelivered.to_dict()), *map(repr, alerts.channels), *texts]
    for spelling in spellings():
        for text in shown:
            assert spelling not in text
        for path in folder.rglob("*"):
            with suppress(FileNotFoundError):  # SQLite's own come and go
                assert spelling.encode() not in path.read_bytes(), path
    assert list(folder.glob("alerts.db*"))


def trial(channel: Channel, folder: Path, caplog: pytest.LogCaptureFixture, arrives: bool = False) -> str:
    """Send an alert and a test, look everywhere, and return the test's words."""
    alerts = Alerts([channel], folder / "alerts.db", rules=RULES, pace=QUICK)
    (outcome,) = alerts.test().values()
    alerts.observe({"a": 2.0})
    until(lambda: alerts.undelivered.empty if arrives else (alerts.undelivered["attempts"] > 0).all())
    check_nowhere(folder, alerts, outcome, caplog.text)
    alerts.close(1)
    check_nowhere(folder, alerts, outcome, caplog.text)
    return outcome


def mail_to(port: int, security="starttls", **options) -> Smtp:
    options = {"timeout": 2, **options}
    return Smtp("127.0.0.1", "bench@example.org", "me@example.org", security, port, **options)


@pytest.mark.parametrize("right", [True, False])
def test_logging_in(tmp_path: Path, caplog: pytest.LogCaptureFixture, right: bool):
    authority = trustme.CA()
    cafile = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(cafile))
    users = {USER: PASSWORD if right else "another"}
    with mail_server(
        Manners(users=users), tls_context=server_context(authority.issue_cert("127.0.0.1"))
    ) as server:
        server.SMTP_kwargs["authenticator"] = server.authenticate
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # the server's own
        outcome = trial(mail_to(server.port, cafile=str(cafile)), tmp_path, caplog, arrives=right)
    assert outcome == "sent" if right else "refused with 535" in outcome
    for mail in server.seen:
        assert not any(spelling.encode() in mail.content for spelling in spellings())


def test_a_server_that_is_away_silent_or_unencrypted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert "Connection refused" in trial(mail_to(free_port()), tmp_path / "away", caplog)
    with dripping_server() as port:
        assert "no answer" in trial(mail_to(port, timeout=0.2), tmp_path / "silent", caplog)
    with mail_server() as server:
        assert "does not offer" in trial(mail_to(server.port), tmp_path / "plain", caplog)
    away = Smtp("mail.example.org", "bench@example.org", "me@example.org", "plain")
    assert "without encryption" in trial(away, tmp_path / "unencrypted", caplog)


@pytest.mark.parametrize("status", [200, 500, 403])
def test_chat(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, status: int):
    with message_service(status) as service:
        address = f"json://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{service.port}/{TOKEN}"
        monkeypatch.setenv("WORKBENCH_CHAT_URLS", address)
        outcome = trial(Chat(), tmp_path, caplog, arrives=status == 200)
    assert (outcome == "sent") is (status == 200)
    assert all(path == f"/{TOKEN}" for path, _ in service.came)


def test_no_thread_dies_of_it_and_no_error_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    died, fresh = [], "of-this-test-alone-5150"
    monkeypatch.setenv("WORKBENCH_SMTP_PASSWORD", fresh)
    monkeypatch.setattr("threading.excepthook", died.append)
    with mail_server(Manners(users={USER: "another"}), auth_require_tls=False) as server:
        server.SMTP_kwargs["authenticator"] = server.authenticate
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)
        trial(mail_to(server.port, "plain"), tmp_path, caplog)
    assert died == []
    assert sys.exc_info() == (None, None, None)
    errors = [
        each for each in gc.get_objects() if issubclass(type(each), BaseException) and each.__traceback__
    ]
    for error in errors:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        assert fresh not in shown
