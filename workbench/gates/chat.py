"""Alerts to chat channels, by apprise."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field

from workbench.gates.channels import NotSent, Unreachable, is_loopback
from workbench.gates.messages import Message

CHILD = "import sys; sys.path[:] = {path!r}; from workbench.gates.chat import answer; answer()"
SETTINGS = {
    "unknown": "apprise does not understand it",
    "missing": "it is no longer there",
    "unverified": "verify=no would send it to whoever answers",
    "unencrypted": "its password would travel unencrypted",
}


@dataclass(frozen=True)
class Chat:
    """Send alerts to Slack, Telegram, Matrix, Discord, ntfy and whatever else apprise knows.

    The addresses are apprise's URLs (https://github.com/caronc/apprise/wiki), which hold passwords and
    tokens. So they are read from an environment variable, separated by spaces, whenever they are needed, and
    kept nowhere: the spool calls them "chat 1", "chat 2" … apprise runs in a process of its own, which ends
    when the time is over, and in which stay its log and its errors. Whether it failed for good apprise
    doesn't say, so it is always tried again.

    Attributes
    ----------
    variable
        Name of the environment variable.
    timeout
        Seconds that an attempt may take.

    Raises
    ------
    ImportError
        If apprise isn't installed.
    ValueError
        If the variable isn't set.
    """

    variable: str = "WORKBENCH_CHAT_URLS"
    timeout: float | int = 30
    addresses: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        if importlib.util.find_spec("apprise") is None:
            raise ImportError(
                "Alerts to chat channels need apprise: install attention-workbench[chat], or send by Smtp."
            )
        count = len(os.environ.get(self.variable, "").split())
        if not count:
            raise ValueError(
                f"Chat reads its addresses from the environment variable {self.variable}, which is not set. "
                "Set it to apprise's URLs, separated by spaces."
            )
        if not self.timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds; got {self.timeout}.")
        object.__setattr__(self, "addresses", tuple(f"chat {number}" for number in range(1, count + 1)))

    @property
    def name(self) -> str:
        """What the channel is called."""
        return "chat"

    def send(self, message: Message, address: str) -> None:
        """Send a message, or raise why it was not taken."""
        problem = self._problem(message, address)
        if problem is not None:
            raise problem

    def _problem(self, message: Message, address: str) -> NotSent | None:
        question = {
            "variable": self.variable,
            "number": int(address.rpartition(" ")[2]),
            "title": message.subject,
            "body": message.text,
        }
        command = [sys.executable, "-c", CHILD.format(path=sys.path)]
        try:
            child = subprocess.run(
                command,
                input=json.dumps(question).encode(),
                capture_output=True,
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Unreachable(f"{address}: no answer within {self.timeout} s.")
        outcome = child.stdout.decode("ascii", "replace").strip()
        if outcome == "sent":
            return None
        if outcome in SETTINGS:
            return Unreachable(f"{address} of {self.variable}: {SETTINGS[outcome]}.", settings=True)
        if outcome == "not sent":
            return Unreachable(
                f"{address}: apprise could not send it; is the address right, and the service up?"
            )
        return Unreachable(f"{address}: apprise failed (its process ended with {child.returncode}).")


def answer() -> None:
    """Send what standard input asks for and write what became of it, in the process that `Chat` starts."""
    question = json.load(sys.stdin)
    out, sys.stdout = sys.stdout, sys.stderr  # plugins may print
    out.write(_outcome(question))


def _outcome(question: dict[str, str | int]) -> str:
    import apprise

    urls = os.environ.get(str(question["variable"]), "").split()
    if int(question["number"]) > len(urls):
        return "missing"
    asset = apprise.AppriseAsset(storage_mode=apprise.PersistentStoreMode.MEMORY)  # nothing on disk
    service = apprise.Apprise.instantiate(urls[int(question["number"]) - 1], asset=asset)
    if not isinstance(service, apprise.NotifyBase):
        return "unknown"
    if not service.verify_certificate:
        return "unverified"
    if service.password and _unencrypted(service):
        return "unencrypted"
    service.overflow_mode = apprise.OverflowMode.SPLIT  # a service with short messages gets several
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    sent = sender.notify(
        body=str(question["body"]), title=str(question["title"]), body_format=apprise.NotifyFormat.TEXT
    )
    return "sent" if sent else "not sent"


def _unencrypted(service: object) -> bool:
    """Say whether a service would be spoken to in the clear, over a network."""
    plain = getattr(service, "protocol", None) or ()
    schema = getattr(service, "schema", "")
    if schema not in ((plain,) if isinstance(plain, str) else plain):
        return False
    return not is_loopback(str(getattr(service, "host", "") or ""))
