"""Alerts on disk: kept whole, in order, for one sender at a time."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.gates.hysteresis import QUIET, Condition
from workbench.gates.messages import Alert, Event, Message
from workbench.gates.outbox import MOST, Outbox
from workbench.gates.spool import Remembered, Spool
from workbench.gates.turns import Turn

AT = datetime(2026, 3, 4, 5, 6, 7, 123456, tzinfo=UTC)
ME = "mailto:me@example.org"


def alert(key: str, text: str = "", event: Event = "firing") -> Alert:
    return Alert("run", key, event, "warning", f"title of {key}", text, AT)


def keep(spool: Spool, *alerts: Alert, to: tuple[str, ...] = (ME,)) -> None:
    with spool.writing():
        for each in alerts:
            spool.add(each, to)


def texts(message: Message | None) -> list[str]:
    assert message is not None
    return [each.text for each in message.alerts]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "alerts.db"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    with closing(Spool(path)) as spool:
        yield spool


def test_alerts_come_back_as_they_were_after_the_file_was_closed(path: Path):
    kept = alert("a", 'line\n"quoted" ü \U0001f600')
    with closing(Spool(path)) as spool:
        keep(spool, kept)
    with closing(Spool(path)) as again:
        message = Outbox(again, ME).next()
    assert message is not None
    assert message.alerts == (kept,)


def test_every_attempt_says_the_same_words_under_the_same_identifier(path: Path):
    with closing(Spool(path)) as spool:
        keep(spool, alert("a", "1"), alert("b", "2"))
        first = Outbox(spool, ME).next()
        keep(spool, alert("c", "3"))
    with closing(Spool(path)) as again:
        assert Outbox(again, ME).next() == first
    assert texts(first) == ["1", "2"]


def test_later_alerts_of_a_key_wait_for_the_earlier_and_those_of_others_overtake(spool: Spool):
    outbox = Outbox(spool, ME)
    keep(spool, alert("a", "1"))
    first = outbox.next()
    assert first is not None
    outbox.failed(first, "451")
    keep(spool, alert("a", "2"), alert("b", "3"))
    second = outbox.next(resting={first.identifier})
    assert texts(second) == ["3"]
    assert second is not None
    outbox.sent(second, 1.0)
    assert outbox.next(resting={first.identifier}) is None
    outbox.sent(first, 2.0)
    assert texts(outbox.next()) == ["2"]


def test_one_of_the_same_name_in_another_run_does_not_wait(spool: Spool):
    outbox = Outbox(spool, ME)
    keep(spool, alert("a", "1"))
    first = outbox.next()
    assert first is not None
    keep(spool, Alert("other run", "a", "firing", "info", "a", "2", AT))
    assert texts(outbox.next(resting={first.identifier})) == ["2"]


def test_what_was_refused_is_put_aside_seen_and_can_be_tried_again(spool: Spool):
    outbox = Outbox(spool, ME)
    keep(spool, alert("a", "1"))
    message = outbox.next()
    assert message is not None
    outbox.failed(message, "550 no", final=True)
    assert not outbox.waiting()
    assert outbox.next() is None
    (row,) = spool.undelivered().to_dict("records")
    assert (row["state"], row["reason"], row["attempts"]) == ("refused", "550 no", 1)
    assert outbox.reopen() == 1
    again = outbox.next()
    assert texts(again) == ["1"]
    assert again is not None
    assert again.identifier != message.identifier


def test_what_was_refused_and_overtaken_by_a_later_alert_of_its_key_is_not_tried_again(spool: Spool):
    outbox = Outbox(spool, ME)
    keep(spool, alert("a", "1"), alert("b", "2"))
    first = outbox.next()
    assert first is not None
    outbox.failed(first, "550 no", final=True)
    keep(spool, alert("a", "3", "resolved"))
    second = outbox.next()
    assert texts(second) == ["3"]
    assert second is not None
    outbox.sent(second, 1.0)
    assert outbox.reopen() == 1
    assert texts(outbox.next()) == ["2"]
    assert [row["key"] for row in spool.undelivered().to_dict("records") if row["state"] == "refused"] == [
        "a"
    ]


def test_each_address_has_its_own_way(spool: Spool):
    keep(spool, alert("a", "1"), to=(ME, "chat 1"))
    mail, chat = Outbox(spool, ME), Outbox(spool, "chat 1")
    message = mail.next()
    assert message is not None
    mail.sent(message, 1.0)
    assert not mail.waiting()
    assert chat.waiting()
    assert texts(chat.next()) == ["1"]
    assert spool.counts([ME]) == {"waiting": 0, "refused": 0, "sent": 1}


def test_what_was_held_back_is_counted_in_the_next_message_only(spool: Spool):
    outbox = Outbox(spool, ME)
    keep(spool, alert("a", "1"), alert("b", "2"))
    outbox.hold_back()
    keep(spool, alert("c", "3"))
    first = outbox.next()
    assert first is not None
    assert (first.held, len(first.alerts)) == (2, 3)
    outbox.sent(first, 1.0)
    keep(spool, alert("a", "4"))
    after = outbox.next()
    assert after is not None
    assert after.held == 0


def test_a_message_has_an_end_and_the_rest_follows_in_order(spool: Spool):
    outbox = Outbox(spool, ME)
    keep(spool, *(alert(f"key {n % 3}", str(n)) for n in range(MOST + 7)))
    first = outbox.next()
    assert first is not None
    assert texts(first) == [str(n) for n in range(MOST)]
    assert outbox.next(resting={first.identifier}) is None  # all keys are under way
    outbox.sent(first, 1.0)
    assert texts(outbox.next()) == [str(n) for n in range(MOST, MOST + 7)]


def test_messages_are_counted_by_the_hour_not_alerts(spool: Spool):
    outbox = Outbox(spool, ME)
    for at in (10.0, 20.0, 30.0):
        keep(spool, alert("a"), alert("b"))
        message = outbox.next()
        assert message is not None
        outbox.sent(message, at)
    assert [outbox.sent_between(start, 30.0) for start in (0.0, 10.1, 20.1, 30.1)] == [3, 2, 1, 0]
    assert outbox.sent_between(0.0, 25.0) == 2  # a clock that was set back sees none from its future


def test_conditions_come_back_and_quiet_ones_are_forgotten(path: Path):
    firing = Remembered(Condition(firing=True, streak=2, told_at=AT), "a's title")
    with closing(Spool(path)) as spool, spool.writing():
        spool.remember("run", "rule", {"a": firing, "b": Remembered(Condition(streak=1), "b")})
    with closing(Spool(path)) as spool:
        assert spool.conditions("run", "rule") == {"a": firing, "b": Remembered(Condition(streak=1), "b")}
        assert spool.conditions("run", "finding") == spool.conditions("other", "rule") == {}
        with spool.writing():
            spool.remember("run", "rule", {"b": Remembered(QUIET, "b")})
        assert list(spool.conditions("run", "rule")) == ["a"]


def test_conditions_and_alerts_are_kept_together_or_not_at_all(spool: Spool):
    def interrupted() -> None:
        with spool.writing():
            spool.remember("run", "rule", {"a": Remembered(Condition(streak=1), "a")})
            spool.add(alert("a"), [ME])
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        interrupted()
    assert spool.conditions("run", "rule") == {}
    assert not Outbox(spool, ME).waiting()
    keep(spool, alert("b"))
    assert Outbox(spool, ME).waiting()


@pytest.mark.parametrize("content", [b"a letter, not a database" * 50, None])
def test_another_file_is_refused_in_words_and_left_alone(tmp_path: Path, content: bytes | None):
    path = tmp_path / "other"
    if content is None:
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE trades (price)")
            database.commit()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"no spool of alerts.*Give another path"):
        Spool(path)
    assert path.read_bytes() == before


def test_a_forked_process_keeps_alerts_by_a_connection_of_its_own(tmp_path: Path):
    work = """
import os, sys
from test_spool import alert, keep
from workbench.gates.spool import Spool
spool = Spool(sys.argv[1])
keep(spool, alert("a", "parent"))
inherited = spool._connection
child = os.fork()
keep(spool, alert("a", "child" if child == 0 else "parent"))
if child == 0:
    os._exit(spool._connection is inherited)
_, status = os.waitpid(child, 0)
keep(spool, alert("a", "parent"))
sys.exit(os.waitstatus_to_exitcode(status))
"""
    path = tmp_path / "alerts.db"
    folders = os.pathsep.join([str(Path.cwd()), str(Path(__file__).parent)])
    subprocess.run([sys.executable, "-c", work, path], check=True, env={**os.environ, "PYTHONPATH": folders})
    with closing(Spool(path)) as spool:
        assert sorted(texts(Outbox(spool, ME).next())) == ["child", "parent", "parent", "parent"]


def test_many_may_open_and_close_a_new_spool_at_once(tmp_path: Path):
    failed = []

    def use(path: Path, ready: threading.Barrier) -> None:
        ready.wait()
        try:
            with closing(Spool(path)) as spool:
                keep(spool, alert("a"))
        except (ValueError, sqlite3.Error) as error:
            failed.append(error)

    for number in range(20):
        path, ready = tmp_path / f"{number}.db", threading.Barrier(5)
        threads = [threading.Thread(target=use, args=[path, ready]) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with closing(Spool(path)) as spool:
            assert spool.counts([ME])["waiting"] == 5
    assert failed == []


def test_one_at_a_time_has_the_turn_of_an_address(path: Path, spool: Spool):
    first, second, other = Turn(path, ME), Turn(path, ME), Turn(path, "chat 1")
    assert first.acquire()
    assert not second.acquire()
    assert other.acquire()
    first.release()
    assert second.acquire()
    second.release()
    other.release()


def test_the_turn_of_a_killed_process_is_free_at_once(path: Path, spool: Spool):
    work = """
import sys
from pathlib import Path
from workbench.gates.turns import Turn
turn = Turn(Path(sys.argv[1]), "mailto:me@example.org")
print(turn.acquire(), flush=True)
sys.stdin.read()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    child = subprocess.Popen(
        [sys.executable, "-c", work, path], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"True\n"
        turn = Turn(path, ME)
        assert not turn.acquire()
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert turn.acquire()
        turn.release()


STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.just("make"))
    | st.tuples(
        st.just(""), st.sampled_from(["send", "put off", "refuse", "retry", "reopen the file", "hold"])
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_alerts_of_a_key_arrive_once_and_in_order(steps: list[tuple[str, str]]):
    folder = Path(tempfile.mkdtemp())
    spool = Spool(folder / "alerts.db")
    outbox, resting, made, came = Outbox(spool, ME), set(), [], []

    def attempt(what: str) -> bool:
        message = outbox.next(resting)
        if message is None:
            return False
        if what == "send":
            outbox.sent(message, 1.0)
            came.extend(message.alerts)
        elif what == "refuse":
            outbox.failed(message, "550", final=True)
        else:
            outbox.failed(message, "451")
            resting.add(message.identifier)
        return True

    for key, what in steps:
        if what == "make":
            made.append(alert(key, str(len(made))))
            keep(spool, made[-1])
        elif what == "reopen the file":
            spool.close()
            spool = Spool(folder / "alerts.db")
            outbox = Outbox(spool, ME)
            resting.clear()
        elif what == "hold":
            outbox.hold_back()
        elif what == "retry":
            outbox.reopen()
        else:
            attempt(what)
    resting.clear()
    while attempt("send"):
        pass
    counts = spool.counts([ME])
    spool.close()
    shutil.rmtree(folder)
    assert len(came) == len({each.text for each in came}) == counts["sent"]
    assert counts["refused"] == len(made) - len(came)
    for key in "abc":
        numbers = [int(each.text) for each in came if each.key == key]
        assert numbers == sorted(numbers)
