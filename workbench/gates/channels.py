"""What alerts go out by, and how it says that they didn't."""

import ipaddress
from typing import Protocol, runtime_checkable

from workbench.gates.messages import Message


class NotSent(Exception):
    """A message did not arrive, as far as is known. The text says why and holds no secret."""


class Refused(NotSent):
    """It never will: this message was refused for good."""


class Postponed(NotSent):
    """This message was not taken now; others may be."""


class Unreachable(NotSent):
    """Nothing can be sent to this address now.

    Parameters
    ----------
    text
        Why.
    settings
        Whether somebody must first mend a setting: it is tried again after an hour, or when asked to.
    """

    def __init__(self, text: str, settings: bool = False):
        super().__init__(text)
        self.settings = settings


@runtime_checkable
class Channel(Protocol):
    """Anything that can send a message to addresses. Write your own by offering these three.

    `send` is called from a thread of its own. It must end by itself within some time, and return only if the
    message was taken. What it raises is kept and shown, so the text of its errors must hold no secret; of
    errors other than the above only the type is kept, and the address is tried again later.
    """

    @property
    def name(self) -> str:
        """Of the channel, in a word."""
        ...

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where messages go, each for itself. Kept and shown, so no secrets; the same after a restart."""
        ...

    def send(self, message: Message, address: str) -> None:
        """Send, or raise `Refused`, `Postponed` or `Unreachable`."""
        ...


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine itself."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
