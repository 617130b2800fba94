"""How long does training wait for an alert, while the mail server is silent?

    python benchmarks/alert_spool.py

`Alerts.observe` with nothing to tell, one alert and fifty, to a server that takes connections and says
nothing, and to one that is up; beside it a mail sent from the training itself to the server that is up (the
silent one would take its whole timeout). The spool lies on the disk of this folder. Rounds are interleaved;
milliseconds are of the clock, since what is waited for is the disk; ratios are medians of the rounds' ratios,
also of one thread's CPU time. Prints a table and writes results/alert_spool.json.
"""

import argparse
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import record

from workbench.gates.alerts import Alerts, Pace, Rule
from workbench.gates.messages import Message
from workbench.gates.smtp import Smtp

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "gates"))
from mail_servers import mail_server

FLIPPING = [Rule(f"reading {i}", above=1.0, fire_after=1, clear_after=1) for i in range(51)]
COUNTED = Rule("counted", above=1.0, fire_after=10**9)  # bad each time, so its row of readings is written
PACE = Pace(per_hour=1_000_000, longest_wait=4)
Times = tuple[float, float]  # seconds of the clock, of this thread's processor time


def alerts_to(port: int, folder: str, name: str) -> Alerts:
    """Alerts of a spool of their own to a server on this machine."""
    mail = Smtp("127.0.0.1", "bench@example.org", "me@example.org", "plain", port, timeout=60)
    return Alerts([mail], Path(folder) / f"{name}.db", rules=[*FLIPPING, COUNTED], pace=PACE)


def timed(act: Callable[[], object]) -> Times:
    """Return the seconds that an act takes."""
    clock, processor = time.perf_counter(), time.thread_time()
    act()
    return time.perf_counter() - clock, time.thread_time() - processor


def one_round(silent: Alerts, up: Alerts, number: int) -> dict[str, Times]:
    """Time each act once; readings change sides every round, so each tells an alert."""
    value = 2.0 if number % 2 == 0 else 0.0
    one, fifty = {"reading 50": value}, {rule.name: value for rule in FLIPPING[:50]}
    (alert,) = up.observe({"reading 0": value})
    (mail,) = up.channels
    return {
        "nothing, silent": timed(lambda: silent.observe({"counted": 2.0})),
        "one, silent": timed(lambda: silent.observe(one)),
        "fifty, silent": timed(lambda: silent.observe(fifty)),
        "one, up": timed(lambda: up.observe(one)),
        "sent at once, up": timed(
            lambda: mail.send(Message(f"direct-{number}", (alert,)), mail.addresses[0])
        ),
    }


def measured(rounds: int) -> dict[str, list[Times]]:
    """Return the times of each act, a round each."""
    taken: dict[str, list[Times]] = {}
    with (
        tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
        mail_server() as server,
    ):
        silent = alerts_to(listener.getsockname()[1], folder, "silent")
        up = alerts_to(server.port, folder, "up")
        for number in range(rounds):
            for name, times in one_round(silent, up, number).items():
                taken.setdefault(name, []).append(times)
            time.sleep(0.05)  # the sender of the server that is up catches up
        waiting = silent.undelivered
        if len(waiting) < 51 * rounds:
            raise RuntimeError(f"The silent server has answered: only {len(waiting)} alerts wait.")
        silent.close(0)
        up.close()
    return {name: times[1:] for name, times in taken.items()}  # the first round loads code


def ratio(taken: dict[str, list[Times]], over: str, under: str, which: int) -> float:
    """Return the median of the rounds' ratios, by the clock (0) or of processor time (1)."""
    return statistics.median(a[which] / b[which] for a, b in zip(taken[over], taken[under], strict=True))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=201)
    taken = measured(parser.parse_args().rounds)
    rows = {}
    for name, times in taken.items():
        clock = sorted(1e3 * each for each, _ in times)
        rows[name] = {
            "median_ms": statistics.median(clock),
            "ninety_percent_ms": clock[int(0.9 * len(clock))],
            "most_ms": clock[-1],
            "processor_ms": 1e3 * statistics.median(each for _, each in times),
        }
        print(f"{name:18}" + "".join(f"{label:>20} {value:7.2f}" for label, value in rows[name].items()))
    ratios = {
        f"{over} ÷ {under}, {clock}": ratio(taken, over, under, which)
        for over, under in [
            ("one, silent", "one, up"),
            ("sent at once, up", "one, up"),
            ("fifty, silent", "one, silent"),
        ]
        for which, clock in enumerate(["clock", "processor"])
    }
    for name, value in ratios.items():
        print(f"{name:45} {value:7.2f}")
    write = {"rounds": len(taken["one, up"]), "milliseconds": rows, "ratios": ratios}
    record.write("alert_spool", write, packages=("aiosmtpd",))


if __name__ == "__main__":
    main()
