"""Processes that are killed while they send, and processes that share a spool."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from alert_channels import said
from mail_servers import Manners, mail_server

from workbench.gates.spool import Spool

CHILD = Path(__file__).with_name("alert_child.py")


def started(
    spool: Path, port: int, first: int, count: int, how: str, name: str = ""
) -> subprocess.Popen[bytes]:
    command = [sys.executable, CHILD, spool, str(port), name, str(first), str(count), how]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


def killed(child: subprocess.Popen[bytes]) -> None:
    with child:
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL


def left(child: subprocess.Popen[bytes]) -> list[bytes]:
    """Lines of a process that ended by itself."""
    with child:
        assert child.stdout is not None
        lines = child.stdout.read().split()
    assert child.returncode == 0
    return lines


def epochs(texts: list[str], key: str) -> list[tuple[str, int]]:
    """Event and epoch of each alert of a key, the second and later times it came left out."""
    found = [
        (event, int(text.rpartition("Epoch ")[2].rstrip(".")))
        for event, title, text in said(texts)
        if title == key
    ]
    return list(dict.fromkeys(found))


def test_a_process_killed_between_a_mail_and_its_confirmation_is_made_up_for_in_order(tmp_path: Path):
    path, manners = tmp_path / "alerts.db", Manners(delay=60)
    with mail_server(manners) as server:
        child = started(path, server.port, first=1, count=5, how="stay")
        assert server.arrived.acquire(timeout=30)  # the content is there, the answer is not
        assert child.stdout is not None
        assert child.stdout.readline() == b"observed\n"
        killed(child)
        with closing(Spool(path)) as spool:
            waiting = spool.undelivered()
        assert len(waiting) == 9  # a: 1 to 5; b: 2 to 5
        assert set(waiting["state"]) == {"waiting"}
        manners.delay = 0
        assert left(started(path, server.port, first=6, count=1, how="leave")) == [b"observed", b"0"]
    first, again = server.seen[:2]
    assert first.content == again.content  # the same Message-ID and words
    texts = [mail.text for mail in server.seen]
    pairs = [("firing" if epoch % 2 else "resolved", epoch) for epoch in range(1, 7)]
    assert epochs(texts, "a") == pairs
    assert epochs(texts, "b") == [
        ("firing" if epoch % 2 == 0 else "resolved", epoch) for epoch in range(2, 7)
    ]
    assert epochs([mail.text for mail in server.taken], "a") == pairs


def test_one_killed_again_and_again_loses_nothing(tmp_path: Path):
    path, manners = tmp_path / "alerts.db", Manners(delay=0.05, to_data=["451 later"] * 2)
    with mail_server(manners) as server:
        for run in range(3):
            child = started(path, server.port, first=1 + 2 * run, count=2, how="stay")
            assert child.stdout is not None
            assert child.stdout.readline() == b"observed\n"
            server.arrived.acquire(timeout=0.3 if run else 30)
            killed(child)
        assert left(started(path, server.port, first=7, count=0, how="leave")) == [b"observed", b"0"]
    texts = [mail.text for mail in server.taken]
    assert epochs(texts, "a") == [("firing" if epoch % 2 else "resolved", epoch) for epoch in range(1, 7)]
    assert len({mail.parsed["Message-ID"] for mail in server.taken}) == len(
        {mail.content for mail in server.taken}
    )


def test_processes_that_share_a_spool_send_each_mail_once_and_one_at_a_time(tmp_path: Path):
    path, manners = tmp_path / "alerts.db", Manners(delay=0.2)
    with mail_server(manners) as server:
        children = [started(path, server.port, 1, 4, "leave", name) for name in ("one", "two")]
        for child in children:
            assert left(child)[0] == b"observed"
        assert left(started(path, server.port, 1, 0, "leave")) == [b"observed", b"0"]
    assert server.busiest == 1
    assert len({mail.parsed["Message-ID"] for mail in server.taken}) == len(server.taken)
    texts = [mail.text for mail in server.taken]
    for name in ("one", "two"):
        assert epochs(texts, f"{name} · a") == [
            ("firing", 1),
            ("resolved", 2),
            ("firing", 3),
            ("resolved", 4),
        ]
    assert len(said(texts)) == 2 * (4 + 3)


def test_a_process_that_forgets_to_close_still_sends_when_it_ends(tmp_path: Path):
    with mail_server(Manners(delay=0.2)) as server:
        assert left(started(tmp_path / "alerts.db", server.port, 1, 3, "forget")) == [b"observed"]
    texts = [mail.text for mail in server.taken]
    assert epochs(texts, "a") == [("firing", 1), ("resolved", 2), ("firing", 3)]
