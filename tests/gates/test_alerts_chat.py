"""Chat by apprise, against a local service."""

import importlib.util
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alert_channels import QUICK, said, until
from mail_servers import free_port
from message_services import message_service

from workbench.gates.alerts import Alerts, Rule
from workbench.gates.channels import Channel, Unreachable
from workbench.gates.chat import Chat, answer
from workbench.gates.messages import Alert, Message

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
MESSAGE = Message("1", (Alert("", "loss", "firing", "warning", "loss <b>ü</b>", "It is 2.", AT),))
RULES = [Rule(name, above=1.0, fire_after=1, clear_after=1) for name in "ab"]


def addresses(monkeypatch: pytest.MonkeyPatch, *urls: str) -> None:
    monkeypatch.setenv("WORKBENCH_CHAT_URLS", "  ".join(urls))


def test_a_message_arrives_as_it_was_written(monkeypatch: pytest.MonkeyPatch):
    with message_service() as service:
        addresses(monkeypatch, f"json://127.0.0.1:{service.port}/one", f"json://127.0.0.1:{service.port}/two")
        chat = Chat()
        assert chat.addresses == ("chat 1", "chat 2")
        assert isinstance(chat, Channel)
        chat.send(MESSAGE, "chat 2")
    ((path, content),) = service.came
    assert path == "/two"
    assert content["title"] == "[firing] loss <b>ü</b>"
    assert content["message"].rstrip() == MESSAGE.text.rstrip()


@pytest.mark.parametrize("status", [403, 500])
def test_one_that_is_not_taken_is_tried_again(monkeypatch: pytest.MonkeyPatch, status: int):
    with message_service(status) as service:
        addresses(monkeypatch, f"json://127.0.0.1:{service.port}/")
        with pytest.raises(Unreachable, match="chat 1: apprise could not send it"):
            Chat().send(MESSAGE, "chat 1")


def test_a_silent_service_is_given_up_after_the_timeout_and_its_process_ended(
    monkeypatch: pytest.MonkeyPatch,
):
    with message_service(silent=True) as service:
        addresses(monkeypatch, f"json://127.0.0.1:{service.port}/?rto=60")
        with pytest.raises(Unreachable, match="chat 1: no answer within 3 s"):
            Chat(timeout=3).send(MESSAGE, "chat 1")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nosuch://somewhere/", "apprise does not understand it"),
        ("jsons://127.0.0.1:1/?verify=no", "verify=no would send it to whoever answers"),
        ("json://me:secret@mail.example.org/", "its password would travel unencrypted"),
    ],
)
def test_an_address_that_must_first_be_mended_is_told_by_its_number(
    monkeypatch: pytest.MonkeyPatch, url: str, words: str
):
    addresses(monkeypatch, url)
    with pytest.raises(Unreachable) as caught:
        Chat().send(MESSAGE, "chat 1")
    assert str(caught.value) == f"chat 1 of WORKBENCH_CHAT_URLS: {words}."
    assert caught.value.settings


def test_an_address_that_was_taken_out_is_missed(monkeypatch: pytest.MonkeyPatch):
    addresses(monkeypatch, "json://127.0.0.1:1/", "json://127.0.0.1:1/")
    chat = Chat()
    addresses(monkeypatch, "json://127.0.0.1:1/")
    with pytest.raises(Unreachable, match="chat 2 of WORKBENCH_CHAT_URLS: it is no longer there"):
        chat.send(MESSAGE, "chat 2")


def test_what_a_service_prints_is_not_taken_for_its_answer(monkeypatch: pytest.MonkeyPatch):
    def printing(question: dict) -> str:
        print("not sent", question)
        return "sent"

    out = io.StringIO()
    monkeypatch.setattr("workbench.gates.chat._outcome", printing)
    monkeypatch.setattr("sys.stdin", io.StringIO("{}"))
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    answer()
    assert out.getvalue() == "sent"


def test_without_addresses_it_says_where_they_belong(monkeypatch: pytest.MonkeyPatch):
    addresses(monkeypatch)
    with pytest.raises(ValueError, match="environment variable WORKBENCH_CHAT_URLS, which is not set"):
        Chat()


def test_without_apprise_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    addresses(monkeypatch, "json://127.0.0.1/")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "apprise" else found(name))
    with pytest.raises(ImportError, match=r"install attention-workbench\[chat\], or send by Smtp"):
        Chat()


def test_alerts_reach_a_service_that_fails_and_recovers_each_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with message_service(500) as service:
        addresses(monkeypatch, f"json://127.0.0.1:{service.port}/")
        with Alerts([Chat()], tmp_path / "alerts.db", rules=RULES, pace=QUICK) as alerts:
            alerts.observe({"a": 2.0})
            until(lambda: service.came)
            alerts.observe({"a": 0.0, "b": 2.0})
            service.status = 200
            until(lambda: alerts.undelivered.empty)
    taken = said([content["message"] + "\n" for _, content in service.came])
    assert [(event, title) for event, title, _ in dict.fromkeys(taken)] == [
        ("firing", "a"), ("resolved", "a"), ("firing", "b"),
    ]  # fmt: skip


def test_a_service_that_is_away_does_not_keep_the_others_waiting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with message_service() as service:
        addresses(monkeypatch, f"json://127.0.0.1:{free_port()}/", f"json://127.0.0.1:{service.port}/")
        with Alerts([Chat()], tmp_path / "alerts.db", rules=RULES, pace=QUICK) as alerts:
            alerts.observe({"a": 2.0})
            until(lambda: len(service.came) == 1)
            alerts.observe({"a": 0.0})
            until(lambda: len(service.came) == 2)
            until(lambda: set(alerts.undelivered["address"]) == {"chat 1"})
