"""A process that makes alerts and sends them: to be killed.

    python alert_child.py SPOOL PORT NAME FIRST COUNT HOW

It raises and resolves a condition, COUNT readings in turn numbered from FIRST as epochs. HOW: "stay"
until it is killed, "leave" when all is sent, or "forget" to close.
"""

import sys
import time

from workbench.gates.alerts import Alerts, Pace, Rule
from workbench.gates.smtp import Smtp


def run(spool: str, port: int, name: str, first: int, count: int, how: str) -> None:
    mail = Smtp("127.0.0.1", "bench@example.org", "me@example.org", "plain", port, timeout=20)
    rules = [Rule(key, above=1.0, fire_after=1, clear_after=1) for key in "ab"]
    pace = Pace(per_hour=1000, first_wait=0.05, longest_wait=0.2, look_every=0.02)
    alerts = Alerts([mail], spool, rules=rules, name=name, pace=pace)
    for epoch in range(first, first + count):
        alerts.observe({"a": 2.0 if epoch % 2 else 0.0, "b": 0.0 if epoch % 2 else 2.0}, epoch)
    print("observed", flush=True)
    if how == "stay":
        time.sleep(60)
    if how == "leave":
        print(alerts.close(30), flush=True)


if __name__ == "__main__":
    spool, port, name, first, count, how = sys.argv[1:]
    run(spool, int(port), name, int(first), int(count), how)
