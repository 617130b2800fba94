"""What is told of readings and findings, before and after a restart."""

import math
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from alert_channels import QUICK, Pigeons, finding, until

from workbench.environment import ROOT
from workbench.gates.alerts import Alerts, Pace, Patience, Rule
from workbench.gates.channels import Postponed, Refused, Unreachable

START = datetime(2026, 1, 1, tzinfo=UTC)
LOSS = Rule("loss", above=1.0, fire_after=3, clear_after=2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.db"


def events(alerts: Alerts, readings: list, epoch: int = 1) -> list[list[tuple[str, str]]]:
    """Event and title of what is told after each round."""
    return [
        [(alert.event, alert.title) for alert in alerts.observe(each, epoch + i)]
        for i, each in enumerate(readings)
    ]


def test_readings_fire_and_are_resolved_by_their_rule(path: Path):
    pigeons = Pigeons()
    with Alerts([pigeons], path, rules=[LOSS], pace=QUICK) as alerts:
        rounds = [{"loss": value} for value in (2.0, 2.0, math.nan, 2.0, 0.5, 0.5)]
        found = events(alerts, rounds)
    assert found == [[], [], [("firing", "loss")], [], [], [("resolved", "loss")]]
    assert pigeons.told == [("firing", "loss"), ("resolved", "loss")]


def test_an_alert_says_what_was_measured_when_and_where(path: Path):
    with Alerts(
        [Pigeons()], path, rules=[Rule("loss", 1.0, 0.5, fire_after=1)], name="aapl", pace=QUICK
    ) as alerts:
        (alert,) = alerts.observe({"loss": 2.34567}, epoch=7, at=START)
    assert alert.subject == "[firing] aapl · loss"
    assert alert.text == "loss is 2.346; above 1 is bad, below 0.5 is good. Epoch 7."
    assert alert.at == START


def test_every_kind_of_number_is_a_reading(path: Path):
    rules = [Rule(name, above=0.5, fire_after=1) for name in "abcd"]
    with Alerts([Pigeons()], path, rules=rules, pace=QUICK) as alerts:
        told = alerts.observe({"a": 1, "b": np.float32(1), "c": torch.tensor(1.0), "d": np.int64(1)})
    assert [alert.title for alert in told] == ["a", "b", "c", "d"]


def test_a_rule_without_a_reading_and_a_reading_without_a_rule_change_nothing(path: Path):
    with Alerts([Pigeons()], path, rules=[LOSS, Rule("lr", above=1)], pace=QUICK) as alerts:
        rounds = [{"loss": 2.0, "seconds": 9.0}, {"loss": 2.0}, {"lr": 0.1}, {}, {"loss": 2.0}]
        assert events(alerts, rounds) == [[], [], [], [], [("firing", "loss")]]


def test_readings_of_which_none_has_a_rule_are_a_mistake(path: Path):
    with (
        Alerts([Pigeons()], path, rules=[LOSS], pace=QUICK) as alerts,
        pytest.raises(ValueError, match="None of the readings lss has a rule; there are rules for loss"),
    ):
        alerts.observe({"lss": 2.0})


def test_a_finding_fires_while_it_is_found_and_is_resolved_when_it_is_not(path: Path):
    patience = Patience(fire_after=2, clear_after=2)
    title = "rnn.l0 forget gate: saturation_right"
    with Alerts([Pigeons()], path, findings=patience, pace=QUICK) as alerts:
        rounds = [[finding()], [finding()], [finding()], [], [finding()], [], []]
        assert events(alerts, rounds) == [[], [("firing", title)], [], [], [], [], [("resolved", title)]]


def test_findings_are_told_apart_by_layer(path: Path):
    with Alerts([Pigeons()], path, findings=Patience(fire_after=1, clear_after=1), pace=QUICK) as alerts:
        found = events(alerts, [[finding(), finding("rnn.l1", unit=4)], [finding("rnn.l1", unit=4)]])
    first, second = "rnn.l0 forget gate: saturation_right", "rnn.l1 forget gate unit 4: saturation_right"
    assert found == [[("firing", first), ("firing", second)], [("resolved", first)]]


def test_a_place_that_stays_wrong_fires_once_whichever_signal_and_unit_are_worst(path: Path):
    ways = [replace(finding(unit=i), signal=signal) for i, signal in enumerate(("mean", "spread", "entropy"))]
    with Alerts([Pigeons()], path, findings=Patience(fire_after=3, clear_after=2), pace=QUICK) as alerts:
        told = [alerts.observe(found) for found in ([ways[0]], ways[1:], ways[::-1], ways[:1], [], [])]
    assert [[alert.event for alert in each] for each in told] == [[], [], ["firing"], [], [], ["resolved"]]
    text = told[2][0].text
    assert text.startswith("rnn.l0 forget gate unit 2: entropy is 0.98")
    assert "Also spread (forget), mean (forget) there." in text


def test_a_finding_that_is_no_number_is_told_at_once(path: Path):
    with Alerts([Pigeons()], path, pace=QUICK) as alerts:
        assert events(alerts, [[finding()]]) == [[]]
        (alert,) = alerts.observe([finding("rnn.l1", value=math.nan, deviation=math.inf)], 2)
    assert alert.text.startswith("rnn.l1 forget gate: saturation_right is nan")


def test_what_nobody_looked_for_because_of_a_nan_is_not_resolved(path: Path):
    nan = replace(finding(value=math.nan, deviation=math.inf), rule="finite")
    with Alerts([Pigeons()], path, findings=Patience(fire_after=1, clear_after=1), pace=QUICK) as alerts:
        told = events(alerts, [[finding()], [nan], [nan], [replace(nan, where="rnn.l1")], [finding()], []])
    first, second = "rnn.l0 forget gate: saturation_right", "rnn.l1 forget gate: saturation_right"
    assert told[:3] == [[("firing", first)], [("firing", first)], []]  # by the one rule, then by the other
    assert told[3:] == [
        [("firing", second), ("resolved", first)],  # of the finite check
        [("resolved", second)],
        [("resolved", first)],
    ]


def test_findings_and_readings_do_not_resolve_each_other(path: Path):
    once = Patience(fire_after=1, clear_after=1)
    with Alerts([Pigeons()], path, rules=[LOSS], findings=once, pace=QUICK) as alerts:
        alerts.observe([finding()])
        assert events(alerts, [{"loss": 0.0}, {"loss": 0.0}]) == [[], []]
        assert alerts.firing == ["rnn.l0 forget gate: saturation_right"]


@pytest.mark.parametrize("stop", range(7))
def test_a_restart_neither_forgets_nor_repeats(path: Path, stop: int):
    rounds = [{"loss": value} for value in (2.0, 2.0, 2.0, 2.0, 0.5, 0.5, 2.0)]
    wanted = [[], [], [("firing", "loss")], [], [], [("resolved", "loss")], []]
    pigeons = Pigeons()
    with Alerts([pigeons], path, rules=[LOSS], pace=QUICK) as alerts:
        found = events(alerts, rounds[:stop])
    with Alerts([pigeons], path, rules=[LOSS], pace=QUICK) as alerts:
        found += events(alerts, rounds[stop:])
    assert found == wanted
    assert pigeons.told == [("firing", "loss"), ("resolved", "loss")]


def test_runs_that_share_a_spool_are_told_apart(path: Path):
    rule = Rule("loss", above=1.0, fire_after=2)
    with (
        Alerts([Pigeons()], path, rules=[rule], name="one", pace=QUICK) as one,
        Alerts([Pigeons()], path, rules=[rule], name="two", pace=QUICK) as two,
    ):
        assert one.observe({"loss": 2.0}) == two.observe({"loss": 2.0}) == []
        assert [alert.source for alert in one.observe({"loss": 2.0})] == ["one"]
        assert one.firing == ["loss"]
        assert two.firing == []


def test_it_is_told_again_after_the_time_that_the_rule_says(path: Path):
    rule = Rule("loss", above=1.0, fire_after=1, repeat=timedelta(hours=2))
    with Alerts([Pigeons()], path, rules=[rule], pace=QUICK) as alerts:
        told = [alerts.observe({"loss": 2.0}, at=START + timedelta(minutes=50 * i)) for i in range(4)]
    assert [[alert.event for alert in each] for each in told] == [["firing"], [], [], ["still firing"]]


def test_every_address_gets_every_alert(path: Path):
    loft, cellar = Pigeons(("loft", "roof")), Pigeons(("cellar",), name="mice")
    with Alerts([loft, cellar], path, rules=[Rule("loss", 1.0, fire_after=1)], pace=QUICK) as alerts:
        alerts.observe({"loss": 2.0})
    assert sorted(address for address, _ in loft.came) == ["loft", "roof"]
    assert [address for address, _ in cellar.came] == ["cellar"]


def test_a_message_put_off_does_not_block_the_others_and_its_key_stays_in_order(path: Path):
    rules = [Rule(name, above=1.0, fire_after=1, clear_after=1) for name in "ab"]
    pigeons = Pigeons()
    pace = Pace(per_hour=1000, first_wait=100, longest_wait=100, look_every=0.02)
    alerts = Alerts([pigeons], path, rules=rules, pace=pace)
    pigeons.errors = [Postponed("451 later")]
    alerts.observe({"a": 2.0})
    until(lambda: not pigeons.errors)
    alerts.observe({"a": 0.0, "b": 2.0})
    until(lambda: pigeons.told == [("firing", "b")])
    alerts.retry()
    until(lambda: len(pigeons.told) == 3)
    alerts.close()
    assert pigeons.told == [("firing", "b"), ("firing", "a"), ("resolved", "a")]


def test_what_was_refused_is_seen_blocks_nothing_and_can_be_tried_again(
    path: Path, caplog: pytest.LogCaptureFixture
):
    rules = [Rule(name, above=1.0, fire_after=1) for name in "ab"]
    pigeons = Pigeons(errors=[Refused("550 no such loft")])
    with Alerts([pigeons], path, rules=rules, pace=QUICK) as alerts:
        alerts.observe({"a": 2.0})
        until(lambda: not pigeons.errors)
        alerts.observe({"b": 2.0})
        until(lambda: pigeons.told == [("firing", "b")])
        until(lambda: len(alerts.undelivered) == 1)
        (row,) = alerts.undelivered.to_dict("records")
        assert (row["title"], row["state"], row["reason"]) == ("a", "refused", "550 no such loft")
        assert "An alert to loft was refused for good: 550 no such loft" in caplog.text
        assert alerts.retry() == 1
        until(lambda: pigeons.told == [("firing", "b"), ("firing", "a")])
    assert alerts.undelivered.empty
    alerts.close()


def test_a_channel_that_breaks_is_tried_again_and_its_words_are_not_kept(
    path: Path, caplog: pytest.LogCaptureFixture
):
    pigeons = Pigeons(errors=[RuntimeError("the password is hunter2")])
    pigeons.open.clear()
    with Alerts([pigeons], path, rules=[Rule("a", above=1.0, fire_after=1)], pace=QUICK) as alerts:
        alerts.observe({"a": 2.0})
        pigeons.open.set()
        until(lambda: pigeons.told)
    assert "The channel failed with RuntimeError." in caplog.text
    assert "Alerts reach loft again." in caplog.text
    assert "hunter2" not in caplog.text + repr(alerts)
    assert b"hunter2" not in path.read_bytes()
    alerts.close()


def test_a_wrong_setting_is_not_tried_again_until_somebody_asks(path: Path):
    pigeons = Pigeons(errors=[Unreachable("535 wrong password", settings=True)])
    with Alerts([pigeons], path, rules=[Rule("a", above=1.0, fire_after=1)], pace=QUICK) as alerts:
        alerts.observe({"a": 2.0})
        until(lambda: not pigeons.errors)
        until(lambda: list(alerts.undelivered["reason"]) == ["535 wrong password"])
        assert list(alerts.undelivered["state"]) == ["waiting"]
        assert pigeons.told == []
        assert alerts.retry() == 1
        until(lambda: pigeons.told == [("firing", "a")])


def test_no_more_messages_go_out_than_the_limit_and_the_next_says_what_was_held_back(path: Path):
    rules = [Rule(name, above=1.0, fire_after=1) for name in "abcd"]
    pigeons, now = Pigeons(), datetime.now(UTC)
    pace = Pace(per_hour=2, look_every=0.02)
    alerts = Alerts([pigeons], path, rules=rules, pace=pace)
    for count, name in enumerate("abcd", start=1):
        alerts.observe({name: 2.0})
        until(lambda count=count: len(pigeons.came) == min(count, 2))
    assert alerts.close() == 2
    assert pigeons.told == [("firing", "a"), ("firing", "b")]
    with alerts._spool.writing() as database:  # an hour later
        database.execute("UPDATE deliveries SET sent_at = ?", (now.timestamp() - 3601,))
    alerts.start()
    until(lambda: len(pigeons.came) == 3)
    alerts.close()
    _, message = pigeons.came[-1]
    assert message.held == 2
    assert [alert.title for alert in message.alerts] == ["c", "d"]
    assert "2 of these were held back" in message.text


def test_after_closing_alerts_are_kept_and_starting_again_sends_them(path: Path):
    pigeons = Pigeons()
    alerts = Alerts([pigeons], path, rules=[Rule("a", above=1.0, fire_after=1)], pace=QUICK)
    assert alerts.close() == 0
    alerts.observe({"a": 2.0})
    assert pigeons.told == []
    assert alerts.start() is alerts
    assert alerts.close() == 0
    assert pigeons.told == [("firing", "a")]
    assert alerts.close() == 0


def test_closing_waits_no_longer_than_asked_and_says_what_still_waits(path: Path):
    rules = [Rule(name, above=1.0, fire_after=1) for name in "ab"]
    pigeons = Pigeons()
    pigeons.open.clear()
    alerts = Alerts([pigeons], path, rules=rules, pace=QUICK)
    alerts.observe({"a": 2.0})
    (thread,) = (sender._thread for sender in alerts._senders)
    until(lambda: alerts.undelivered["attempts"].sum() == 0)
    alerts.observe({"b": 2.0})
    assert alerts.close(0.05) == 2
    pigeons.open.set()
    thread.join(20)
    assert not thread.is_alive()
    assert len(pigeons.came) <= 1  # what was under way goes on, and nothing follows
    with Alerts([pigeons], path, rules=rules, pace=QUICK):
        until(lambda: sorted(pigeons.told) == [("firing", "a"), ("firing", "b")])


def test_closing_tries_what_rests_once_more(path: Path):
    pigeons = Pigeons(errors=[Unreachable("down")])
    alerts = Alerts([pigeons], path, rules=[Rule("a", above=1.0, fire_after=1)], pace=Pace(first_wait=100))
    alerts.observe({"a": 2.0})
    until(lambda: not pigeons.errors)
    assert alerts.close() == 0
    assert pigeons.told == [("firing", "a")]


def test_closing_tries_a_message_that_was_put_off_once_more_and_not_for_ever(path: Path):
    pigeons = Pigeons(errors=[Postponed("451"), Postponed("451 again")])
    alerts = Alerts([pigeons], path, rules=[Rule("a", above=1.0, fire_after=1)], pace=Pace(first_wait=100))
    alerts.observe({"a": 2.0})
    until(lambda: len(pigeons.errors) == 1)
    assert alerts.close() == 1
    assert pigeons.errors == []
    assert pigeons.told == []


def test_a_spool_that_cannot_be_used_for_a_while_is_told_once_and_then_used_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    pigeons, failures = Pigeons(), []

    def full(*_: object) -> None:
        failures.append(1)
        raise sqlite3.OperationalError("database or disk is full")

    with Alerts([pigeons], path, rules=[Rule("a", above=1.0, fire_after=1)], pace=QUICK) as alerts:
        with monkeypatch.context() as patch:
            patch.setattr("workbench.gates.outbox.Outbox.next", full)
            alerts.observe({"a": 2.0})
            until(lambda: len(failures) > 2)
        until(lambda: pigeons.told == [("firing", "a")])
    assert caplog.text.count("can't be used now: database or disk is full") == 1


def test_a_test_says_in_words_what_became_of_it(path: Path):
    loft = Pigeons(("loft", "roof", "barn"), errors=[Refused("550 no such loft"), ValueError("hunter2")])
    with Alerts([loft], path, name="aapl", pace=QUICK) as alerts:
        outcome = alerts.test()
    assert outcome == {
        "loft": "550 no such loft", "roof": "The channel failed with ValueError.", "barn": "sent",
    }  # fmt: skip
    ((_, message),) = loft.came
    assert message.subject == "[test] aapl · a test of alerts"


def test_it_shows_where_it_sends_and_how_much_waits(path: Path):
    pigeons = Pigeons()
    with Alerts([pigeons], path, rules=[Rule("a", above=1.0, fire_after=1)], pace=QUICK) as alerts:
        alerts.observe({"a": 2.0})
        until(lambda: pigeons.told)
        until(lambda: repr(alerts) == "Alerts to loft by alerts.db: 0 waiting, 0 refused, 1 sent")


def test_what_makes_no_sense_is_refused_in_words(path: Path):
    with pytest.raises(ValueError, match="Alerts need a channel"):
        Alerts([], path)
    with pytest.raises(ValueError, match="there once; got the addresses loft, loft"):
        Alerts([Pigeons(), Pigeons()], path)
    with pytest.raises(ValueError, match="the rules loss, loss"):
        Alerts([Pigeons()], path, rules=[LOSS, LOSS])
    with pytest.raises(ValueError, match="at least one message an hour"):
        Pace(per_hour=0)
    with pytest.raises(ValueError, match="first is not the longest"):
        Pace(first_wait=10, longest_wait=1)
    with (
        Alerts([Pigeons()], path, rules=[LOSS], pace=QUICK) as alerts,
        pytest.raises(ValueError, match="at must have a time zone"),
    ):
        alerts.observe({"loss": 2.0}, at=datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("given", "came"),
    [("Pigeons()", "Pigeons alone"), ("'me@example.org'", "str alone"), ("['me@example.org']", "str")],
)
def test_what_is_no_list_of_channels_is_refused_in_words(given: str, came: str, path: Path):
    code = (  # elsewhere the tests' own check of types comes first
        "from alert_channels import Pigeons; from workbench.gates.alerts import Alerts\n"
        f"try: Alerts({given}, {str(path)!r})\nexcept TypeError as error: print(error)"
    )
    places = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "gates")])
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": places}
    )
    assert ran.stdout == (
        f"Alerts take a list of channels, such as [Smtp('mail.example.org', …)]; got {came}.\n"
    ), ran.stderr
    assert not path.exists()
