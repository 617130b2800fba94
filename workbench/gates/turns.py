"""Whose turn it is to send, among processes that share a spool."""

import hashlib
import sqlite3
from pathlib import Path


class Turn:
    """A lock that one thread of one process holds at a time, for one address of a spool.

    It is SQLite's own lock on an empty file beside the spool: the system frees it when its process ends,
    however that ends, and a forked process doesn't inherit it. So it needs no clock and no time after which
    it lapses.

    Parameters
    ----------
    spool
        Path of the spool.
    address
        The address.
    """

    def __init__(self, spool: Path, address: str):
        digest = hashlib.sha256(address.encode()).hexdigest()[:12]
        self.path = spool.with_name(f".{spool.name}.{digest}.turn")
        self._held: sqlite3.Connection | None = None

    def acquire(self) -> bool:
        """Take the turn if nobody else has it, and say whether it was taken."""
        database = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode = OFF")  # nothing is ever written
            database.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            database.close()
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                return False
            raise
        self._held = database
        return True

    def release(self) -> None:
        """Give the turn back."""
        if self._held is not None:
            self._held.close()
            self._held = None
