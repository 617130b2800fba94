"""Alerts on disk, from the moment they are made until they have arrived."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.gates.hysteresis import QUIET, Condition
from workbench.gates.messages import Alert

VERSION = 1
BUSY = 10.0  # seconds that a writer waits for another; each takes milliseconds
TABLES = """
CREATE TABLE conditions (
  source TEXT, kind TEXT, key TEXT, title TEXT, firing INTEGER, streak INTEGER, told_at REAL,
  PRIMARY KEY (source, kind, key)) WITHOUT ROWID;
CREATE TABLE alerts (
  number INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT, key TEXT, event TEXT, severity TEXT, title TEXT,
  text TEXT, at REAL);
CREATE TABLE deliveries (
  alert INTEGER REFERENCES alerts, address TEXT, state TEXT DEFAULT 'waiting', message TEXT,
  held INTEGER DEFAULT 0, attempts INTEGER DEFAULT 0, reason TEXT DEFAULT '', sent_at REAL,
  PRIMARY KEY (alert, address)) WITHOUT ROWID;
CREATE INDEX by_state ON deliveries (address, state, alert);
CREATE INDEX by_time ON deliveries (address, sent_at);
"""
STATE = "SELECT (SELECT user_version FROM pragma_user_version), (SELECT COUNT(*) FROM sqlite_master)"
UNDELIVERED = """
SELECT at, source, key, event, title, address, state, attempts, reason
FROM deliveries JOIN alerts ON alert = number WHERE state != 'sent' ORDER BY number, address
"""


@dataclass(frozen=True)
class Remembered:
    """A condition and what it is about, in a few words."""

    condition: Condition
    title: str


class Spool:
    """A SQLite database in write-ahead mode: several threads and processes may use it at once.

    Its connection is made when first needed, and anew in a forked process.

    Parameters
    ----------
    path
        Of the file, made if missing. Must be on a disk of this machine.

    Raises
    ------
    ValueError
        If the file is something else.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = os.getpid()
        with self._lock:
            self._connected()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Do all of a block, or nothing of it, with no other writer in between."""
        with self._lock:
            database = self._connected()
            try:
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # it may not have begun, or a full disk may have ended it
                    database.execute("ROLLBACK")
                raise

    def read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self._lock:
            return self._connected().execute(query, values).fetchall()

    def conditions(self, source: str, kind: str) -> dict[str, Remembered]:
        """Return what is remembered, by key. Keys that are quiet and have no readings in a row are not."""
        rows = self.read(
            "SELECT key, title, firing, streak, told_at FROM conditions WHERE source = ? AND kind = ?",
            (source, kind),
        )
        return {
            key: Remembered(Condition(bool(firing), streak, None if told is None else moment(told)), title)
            for key, title, firing, streak, told in rows
        }

    def remember(self, source: str, kind: str, changed: Mapping[str, Remembered]) -> None:
        """Keep conditions; call it within `writing`."""
        database = self._connected()
        for key, kept in changed.items():
            condition = kept.condition
            if condition == QUIET:
                where = "source = ? AND kind = ? AND key = ?"
                database.execute(f"DELETE FROM conditions WHERE {where}", (source, kind, key))
                continue
            told = None if condition.told_at is None else condition.told_at.timestamp()
            database.execute(
                "INSERT OR REPLACE INTO conditions VALUES (?, ?, ?, ?, ?, ?, ?)",
                (source, kind, key, kept.title, condition.firing, condition.streak, told),
            )

    def add(self, alert: Alert, addresses: Sequence[str]) -> None:
        """Keep an alert for each address; call it within `writing`."""
        database = self._connected()
        row = database.execute(
            "INSERT INTO alerts (source, key, event, severity, title, text, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                alert.source,
                alert.key,
                alert.event,
                alert.severity,
                alert.title,
                alert.text,
                alert.at.timestamp(),
            ),
        )
        for address in addresses:
            database.execute(
                "INSERT INTO deliveries (alert, address) VALUES (?, ?)", (row.lastrowid, address)
            )

    def undelivered(self) -> pd.DataFrame:
        """Return a row for each alert and address that it hasn't reached, oldest first."""
        columns = ["at", "source", "key", "event", "title", "address", "state", "attempts", "reason"]
        frame = pd.DataFrame(self.read(UNDELIVERED), columns=columns)
        frame["at"] = pd.to_datetime(frame["at"].astype(float), unit="s", utc=True)
        return frame

    def counts(self, addresses: Sequence[str]) -> dict[str, int]:
        """Return how many alerts wait, were refused and were sent, of these addresses."""
        marks = ", ".join("?" * len(addresses))
        rows = self.read(
            f"SELECT state, COUNT(*) FROM deliveries WHERE address IN ({marks}) GROUP BY state", addresses
        )
        return {"waiting": 0, "refused": 0, "sent": 0} | dict(rows)

    def close(self) -> None:
        """Close the connection; another is made if need be."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._process == os.getpid():
            return self._connection
        self._process = os.getpid()  # a connection of the process that this one was forked from is left alone
        self.path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + BUSY
        while True:
            try:
                self._connection = _opened(self.path)
            except sqlite3.OperationalError as error:
                # While another makes the file or closes it as its last user, SQLite does not wait by itself.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return self._connection


def _opened(path: Path) -> sqlite3.Connection:
    """Return a new connection that is ready."""
    database = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        _prepare(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    """Set a new connection up, or say what is wrong with the file."""
    try:
        version, tables = database.execute(STATE).fetchone()
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise ValueError(f"{path} is no spool of alerts but something else. Give another path.") from None
    if version not in (0, VERSION) or (version == 0 and tables):
        raise ValueError(
            f"{path} is a database, but no spool of alerts of version {VERSION}. Give another path."
        )
    mode = database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise ValueError(
            f"{path} can't be kept in SQLite's write-ahead mode (it stays in {mode!r}). "
            "Put the spool on a disk of this machine."
        )
    database.execute("PRAGMA synchronous = FULL")  # an alert that was kept outlives a power cut
    if version == 0:
        database.execute("BEGIN IMMEDIATE")
        if database.execute(STATE).fetchone()[0] == 0:  # no other process was faster
            for statement in TABLES.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")


def moment(seconds: float) -> datetime:
    """Return a time kept as seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
