"""The sender's side of the spool: which message goes to an address next."""

import uuid
from collections.abc import Collection

from workbench.gates.messages import Alert, Message
from workbench.gates.spool import Spool, moment

MOST = 50  # alerts a message
OPEN = """
SELECT message, MIN(alert) AS first FROM deliveries
WHERE address = ? AND state = 'waiting' AND message IS NOT NULL GROUP BY message ORDER BY first
"""
FREE = """
SELECT alert FROM deliveries JOIN alerts ON alert = number
WHERE address = ?1 AND state = 'waiting' AND message IS NULL AND (source, key) NOT IN (
  SELECT source, key FROM deliveries JOIN alerts ON alert = number
  WHERE address = ?1 AND state = 'waiting' AND message IS NOT NULL)
ORDER BY alert LIMIT ?2
"""
REOPENED = """
UPDATE deliveries SET state = 'waiting', message = NULL
WHERE address = ?1 AND state = 'refused' AND NOT EXISTS (
  SELECT 1 FROM deliveries AS other JOIN alerts AS later ON other.alert = later.number
  JOIN alerts AS mine ON mine.number = deliveries.alert
  WHERE other.address = ?1 AND other.state != 'refused' AND other.message IS NOT NULL
  AND later.number > mine.number AND later.source = mine.source AND later.key = mine.key)
"""
CONTENT = """
SELECT source, key, event, severity, title, text, at, held FROM deliveries JOIN alerts ON alert = number
WHERE address = ? AND message = ? ORDER BY number
"""


class Outbox:
    """Alerts for one address.

    All that waits travels in one message. What a message holds is decided once, and kept before it is first
    tried, so that every attempt says the same words under the same identifier. While a message waits, later
    alerts of its keys wait too; those of other keys may overtake it.
    """

    def __init__(self, spool: Spool, address: str):
        self.spool = spool
        self.address = address

    def waiting(self) -> bool:
        """Say whether anything waits."""
        query = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE address = ? AND state = 'waiting')"
        return bool(self.spool.read(query, (self.address,))[0][0])

    def sent_between(self, start: float, end: float) -> int:
        """Return how many messages have arrived between two times, in seconds since 1970."""
        query = "SELECT COUNT(DISTINCT message) FROM deliveries WHERE address = ? AND sent_at BETWEEN ? AND ?"
        return self.spool.read(query, (self.address, start, end))[0][0]

    def next(self, resting: Collection[str] = ()) -> Message | None:
        """Return the message to try next, other than those that rest; None if there is none."""
        for identifier, _ in self.spool.read(OPEN, (self.address,)):
            if identifier not in resting:
                return self._message(identifier)
        return self._sealed()

    def hold_back(self) -> None:
        """Mark what waits in no message yet as held back by the limit on messages."""
        where = "address = ? AND state = 'waiting' AND message IS NULL AND held = 0"
        if self.spool.read(f"SELECT 1 FROM deliveries WHERE {where} LIMIT 1", (self.address,)):
            self._write(f"UPDATE deliveries SET held = 1 WHERE {where}", self.address)

    def sent(self, message: Message, at: float) -> None:
        """Note that a message has arrived."""
        changes = "state = 'sent', sent_at = ?, attempts = attempts + 1, reason = ''"
        where = "address = ? AND message = ?"
        self._write(f"UPDATE deliveries SET {changes} WHERE {where}", at, self.address, message.identifier)

    def failed(self, message: Message, reason: str, final: bool = False) -> None:
        """Note that a message has not arrived and why, and whether it was refused for good."""
        changes = "state = ?, reason = ?, attempts = attempts + 1"
        where = "address = ? AND message = ?"
        state = "refused" if final else "waiting"
        self._write(
            f"UPDATE deliveries SET {changes} WHERE {where}", state, reason, self.address, message.identifier
        )

    def reopen(self) -> int:
        """Let what was refused for good wait again, in a new message, and return how many alerts that are.

        What a later alert of the same key has overtaken stays as it is: it would arrive out of order.
        """
        with self.spool.writing() as database:
            return database.execute(REOPENED, (self.address,)).rowcount

    def _sealed(self) -> Message | None:
        """Put what is free to go into a message."""
        if not self.spool.read(FREE, (self.address, 1)):
            return None
        identifier = str(uuid.uuid4())  # of the system's randomness: a model's seed is left alone
        with self.spool.writing() as database:
            alerts = database.execute(FREE, (self.address, MOST)).fetchall()
            change = "UPDATE deliveries SET message = ? WHERE alert = ? AND address = ?"
            database.executemany(change, [(identifier, alert, self.address) for (alert,) in alerts])
        return self._message(identifier) if alerts else None

    def _message(self, identifier: str) -> Message:
        rows = self.spool.read(CONTENT, (self.address, identifier))
        alerts = tuple(Alert(*row[:6], at=moment(row[6])) for row in rows)
        return Message(identifier, alerts, sum(row[7] for row in rows))

    def _write(self, statement: str, *values: object) -> None:
        with self.spool.writing() as database:
            database.execute(statement, values)
