"""Mails, as RFC 5322 has them."""

import re
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import format_datetime

from workbench.gates.messages import Message, one_line

DOMAIN = r"[A-Za-z0-9.-]+|\[[A-Za-z0-9.:]+\]"
LOCAL = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+"


def letter(message: Message, sender: str, recipient: str) -> bytes:
    """Return a mail, the same at every attempt."""
    mail = EmailMessage(policy=POLICY)
    mail["From"], mail["To"] = sender, recipient
    mail["Subject"] = one_line(message.subject)
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = f"<{message.identifier}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine answers it
    mail.set_content(message.text, cte="quoted-printable")
    return mail.as_bytes()


def is_address(text: str) -> bool:
    """Say whether text is one plain e-mail address, in ASCII and without a name beside it."""
    return re.fullmatch(f"({LOCAL})@({DOMAIN})", text) is not None
