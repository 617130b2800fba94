"""Alerts to a real mail server that is up, away, busy, silent, or knows some recipients only."""

from pathlib import Path

import pytest
from alert_channels import QUICK, finding, said, until
from mail_servers import MailServer, Manners, dripping_server, free_port, mail_server

from workbench.gates.alerts import Alerts, Patience, Rule
from workbench.gates.smtp import Smtp

RULES = [Rule(name, above=1.0, fire_after=1, clear_after=1) for name in "ab"]
ROUNDS = [{"a": 2.0, "b": 2.0}, {"a": 0.0}, {"a": 2.0, "b": 0.0}]
OF_A, OF_B = ["firing", "resolved", "firing"], ["firing", "resolved"]


@pytest.fixture(autouse=True)
def _no_login(monkeypatch: pytest.MonkeyPatch):
    for name in ("WORKBENCH_SMTP_USER", "WORKBENCH_SMTP_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def alerts_to(
    port: int, path: Path, to: tuple[str, ...] = ("me@example.org",), timeout: float = 5.0
) -> Alerts:
    mail = Smtp("127.0.0.1", "bench@example.org", to, "plain", port, timeout=timeout)
    return Alerts([mail], path / "alerts.db", rules=RULES, findings=Patience(fire_after=1), pace=QUICK)


def observe_all(alerts: Alerts) -> None:
    for epoch, readings in enumerate(ROUNDS, start=1):
        alerts.observe(readings, epoch)


def check_arrival(server: MailServer, to: str = "me@example.org", once: bool = True) -> None:
    """Each alert arrived, in order; exactly once where no confirmation was lost."""
    found = said([mail.text for mail in server.taken if mail.recipient == to])
    kept = found if once else list(dict.fromkeys(found))
    assert [event for event, title, _ in kept if title == "a"] == OF_A
    assert [event for event, title, _ in kept if title == "b"] == OF_B


def test_to_a_server_that_is_up(tmp_path: Path):
    with mail_server() as server, alerts_to(server.port, tmp_path) as alerts:
        assert alerts.test() == {"mailto:me@example.org": "sent"}
        observe_all(alerts)
    assert server.taken.pop(0).subject == "[test] a test of alerts"
    check_arrival(server)


def test_a_finding_is_mailed_with_what_was_found_and_where(tmp_path: Path):
    with mail_server() as server, alerts_to(server.port, tmp_path) as alerts:
        alerts.observe([finding()], epoch=4)
        until(lambda: server.taken)
    (mail,) = server.taken
    assert mail.subject == "[firing] rnn.l0 forget gate: saturation_right"
    assert "rnn.l0 forget gate: saturation_right is 0.98, 0.1 while all was well" in mail.text
    assert "Epoch 4." in mail.text


def test_to_a_server_that_is_away_and_comes_back(tmp_path: Path):
    port = free_port()
    alerts = alerts_to(port, tmp_path)
    observe_all(alerts)
    until(lambda: (alerts.undelivered["attempts"] > 1).any())
    assert alerts.undelivered["reason"].str.contains("Connection refused").any()
    assert alerts.close() == 5
    with mail_server(port=port) as server:
        with alerts_to(port, tmp_path):
            pass
        check_arrival(server)


@pytest.mark.parametrize(
    "manners",
    [
        Manners(to_data=["451 4.3.0 later"] * 4),
        Manners(to_rcpt=["450 4.2.1 greylisted"] * 3),
        Manners(to_mail=["421 4.3.2 closing"] * 2),
        Manners(to_data=["250 OK", "451 later", "250 OK", "451 later"], to_mail=["250 OK", "450 later"]),
    ],
)
def test_to_a_server_that_puts_off(tmp_path: Path, manners: Manners):
    with mail_server(manners) as server:
        with alerts_to(server.port, tmp_path) as alerts:
            observe_all(alerts)
            until(lambda: alerts.undelivered.empty)
        check_arrival(server)
    by_identifier = {mail.parsed["Message-ID"]: mail.content for mail in server.seen}
    assert all(by_identifier[mail.parsed["Message-ID"]] == mail.content for mail in server.seen)


def test_to_a_silent_server_which_observing_does_not_wait_for(tmp_path: Path):
    with dripping_server() as port:
        alerts = alerts_to(port, tmp_path, timeout=60.0)
        observe_all(alerts)  # would take minutes
        assert len(alerts.undelivered) == 5
        assert alerts.close(0.1) == 5
    with mail_server() as server:
        with alerts_to(server.port, tmp_path):
            until(lambda: len(said([mail.text for mail in server.taken])) == 5)
        check_arrival(server)


def test_to_a_server_so_slow_that_its_answers_come_too_late(tmp_path: Path):
    manners = Manners(delay=1.0)
    with mail_server(manners) as server:
        with alerts_to(server.port, tmp_path, timeout=0.3) as alerts:
            observe_all(alerts)
            until(lambda: len(server.seen) == 2)
            manners.delay = 0.0
            until(lambda: alerts.undelivered.empty)
        check_arrival(server, once=False)


def test_to_recipients_of_whom_one_is_unknown(tmp_path: Path):
    to = ("gone@example.org", "me@example.org")
    with mail_server(Manners(refused=frozenset(to[:1]))) as server:
        with alerts_to(server.port, tmp_path, to) as alerts:
            assert alerts.test() == {
                "mailto:gone@example.org": "127.0.0.1 (sending): the recipient was not accepted: "
                "550 5.1.1 nobody of that name",
                "mailto:me@example.org": "sent",
            }
            observe_all(alerts)
            until(lambda: alerts._spool.counts(alerts.addresses) == {"waiting": 0, "refused": 5, "sent": 5})
            assert set(alerts.undelivered["address"]) == {"mailto:gone@example.org"}
            assert alerts.undelivered["reason"].str.contains("550 5.1.1 nobody").all()
            server.manners.refused = frozenset()
            assert alerts.retry() == 5
            until(lambda: alerts.undelivered.empty)
        server.taken.pop(0)
        for address in to:
            check_arrival(server, address)


def test_what_is_written_beside_the_spool_holds_no_message(tmp_path: Path):
    with mail_server() as server, alerts_to(server.port, tmp_path) as alerts:
        observe_all(alerts)
        until(lambda: alerts.undelivered.empty)
    beside = [path for path in tmp_path.iterdir() if not path.name.startswith("alerts.db")]
    assert all(path.suffix == ".turn" and path.stat().st_size == 0 for path in beside)
