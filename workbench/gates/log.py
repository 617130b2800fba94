"""What a monitor saw, on disk: an .npz and a .parquet an epoch, each written whole or not at all."""

import json
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.files import replacing
from workbench.gates.findings import Finding
from workbench.gates.packing import packed, unpacked
from workbench.gates.snapshots import Snapshot
from workbench.gates.states import GateStates
from workbench.gates.tables import finding_of, read_about, read_snapshot, write_tables

FORMAT = "attention-workbench gate log 1"
CARD, END = "log.json", "end.json"
STARTS = ("first_weights",)  # marks that tell trainings apart only at their start


class GateLog:
    """The log of one training, while it runs or after; any process may read it.

    An epoch is there as soon as its .parquet is, which is written after its .npz. Reading never writes.

    Parameters
    ----------
    folder
        Where it lies, or is to lie.

    Notes
    -----
    `0007.npz` holds the probe's gates in 8 bits, c and h in float16, uncompressed; `0007.parquet` the signals
    of every unit, weight, feature and lag, and as JSON in its metadata the epoch's figures, its findings and
    the record of the epochs since the one before; `log.json` what was watched; `end.json` the record of the
    epochs after the last that was looked at, once training is over.
    """

    def __init__(self, folder: str | PathLike[str]):
        self.folder = Path(folder)
        self._read: dict[str, tuple[int, Any]] = {}  # by file, when it was written and what it held

    @classmethod
    def open(cls, folder: str | PathLike[str]) -> "GateLog":
        """Return the log in a folder, to be read.

        Raises
        ------
        FileNotFoundError
            There is none.
        ValueError
            It is no log of this version.
        """
        log = cls(folder)
        if not (log.folder / CARD).exists():
            raise FileNotFoundError(
                f"{log.folder} holds no log of gates: {CARD} is missing. A GateMonitor with this folder, "
                "given to fit(callbacks=[…]), writes one."
            )
        log.card()
        return log

    def __repr__(self) -> str:
        state = "over" if self.over else "going on, or cut off"
        return f"GateLog of {len(self.epochs)} epochs in {self.folder}, its training {state}"

    def card(self) -> dict[str, Any]:
        """Return what was watched: the format, the training's marks, and the probe's dates and tickers."""
        card = json.loads((self.folder / CARD).read_text(encoding="utf-8"))
        if card.get("format") != FORMAT:
            raise ValueError(f"{self.folder / CARD} is not of a gate log of this version ({FORMAT}).")
        return card

    @property
    def epochs(self) -> list[int]:
        """Epochs that were looked at, ascending."""
        return sorted(int(path.stem) for path in self.folder.glob("[0-9]*.parquet"))

    @property
    def over(self) -> bool:
        """Whether the training came to its end, be it finished, early or cancelled."""
        return (self.folder / END).exists()

    def snapshot(self, epoch: int) -> Snapshot:
        """Return the signals of an epoch; KeyError names those that there are."""
        return self._cached(self._file(epoch, ".parquet"), read_snapshot)

    def states(self, epoch: int) -> GateStates:
        """Return the probe's states of an epoch, gates within 0.002, candidates within 0.004 (float32)."""
        with np.load(self._file(epoch, ".npz"), allow_pickle=False) as arrays:
            return unpacked(arrays)

    @property
    def snapshots(self) -> list[Snapshot]:
        """All snapshots, oldest first."""
        return [self.snapshot(epoch) for epoch in self.epochs]

    @property
    def units(self) -> pd.DataFrame:
        """Signals of units over all epochs, by (epoch, layer, unit)."""
        return self._over_epochs("units")

    @property
    def weights(self) -> pd.DataFrame:
        """Signals of weights over all epochs, by (epoch, parameter, gate)."""
        return self._over_epochs("weights")

    @property
    def inputs(self) -> pd.DataFrame:
        """Signals of the probe's features over all epochs, by (epoch, feature)."""
        return self._over_epochs("inputs")

    @property
    def lags(self) -> pd.DataFrame:
        """Signals of lags over all epochs, by (epoch, lag)."""
        return self._over_epochs("lags")

    @property
    def findings(self) -> list[Finding]:
        """What was found in all epochs, oldest first."""
        return [finding_of(plain) for epoch in self.epochs for plain in self._about(epoch)["findings"]]

    @property
    def record(self) -> pd.DataFrame:
        """A row an epoch, looked at or not.

        `taken` says whether it was looked at and `why` why not; `steps` how many steps it had and `sampled`
        in how many of them gradients and updates were measured; `overhead` what watching had cost by then,
        as a share of training's own time. The epoch's figures follow.
        """
        return record_frame(self.rows)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The record as it is written: a dict an epoch, its figures in a dict of their own."""
        rows = [row for epoch in self.epochs for row in self._about(epoch)["record"]]
        if self.over:
            rows += json.loads((self.folder / END).read_text(encoding="utf-8"))["record"]
        return rows

    def write(
        self,
        snapshot: Snapshot,
        states: GateStates,
        findings: Sequence[Finding],
        record: Sequence[Mapping[str, Any]],
    ) -> None:
        """Write an epoch, in place of what was there of it."""
        with replacing(self._path(snapshot.epoch, ".npz")) as path:
            np.savez(path, **packed(states))  # pyright: ignore[reportArgumentType]  (no array is named so)
        more = {"findings": [finding.to_dict() for finding in findings], "record": list(record)}
        write_tables(self._path(snapshot.epoch, ".parquet"), snapshot, more)

    def begin(self, key: Mapping[str, Any], probe: Mapping[str, Any], done: int) -> list[dict[str, Any]]:
        """Make the folder ready to go on after `done` epochs.

        What was written of later epochs is removed: the training, resumed from its last checkpoint, comes to
        them again.

        Parameters
        ----------
        key
            What a training is recognised by; plain values.
        probe
            What is looked at; plain values.
        done
            Epochs that are over. With 0 the log is begun anew.

        Returns
        -------
        list of dict
            What the record had of the epochs that are over.

        Raises
        ------
        ValueError
            The folder holds the log of another training.
        """
        told = json.loads(json.dumps(dict(key)))
        if (self.folder / CARD).exists():
            told |= self._checked(told, done)
        rows = [row for row in self.rows if row["epoch"] <= done]
        for epoch in self.epochs:
            if epoch > done:
                for suffix in (".parquet", ".npz"):  # the epoch is gone with the first of them
                    self._path(epoch, suffix).unlink(missing_ok=True)
        for path in self.folder.glob("[0-9]*.npz"):  # written by a process that was killed before the rest
            if not path.with_suffix(".parquet").exists():
                path.unlink()
        for name in (".[0-9]*-*", ".log-*", ".end-*"):  # and what it was about to write
            for path in self.folder.glob(name):
                path.unlink()
        (self.folder / END).unlink(missing_ok=True)
        with replacing(self.folder / CARD) as path:
            card = {"format": FORMAT, "key": told, "probe": dict(probe)}
            path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        return rows

    def end(self, record: Sequence[Mapping[str, Any]], costs: Mapping[str, float]) -> None:
        """Say that training is over, with the record since the last epoch that was looked at."""
        with replacing(self.folder / END) as path:
            path.write_text(json.dumps({"record": list(record), "costs": dict(costs)}) + "\n", "utf-8")

    def _checked(self, key: Mapping[str, Any], done: int) -> dict[str, Any]:
        """Return the marks that the folder's log has, unless they are of another training."""
        told = self.card()["key"]
        of_start = () if done == 0 else STARTS  # a training that goes on has other weights by now
        different = [name for name in key if name not in of_start and key[name] != told.get(name)]
        if different:
            raise ValueError(
                f"{self.folder} holds the log of another training: {', '.join(different)} differ. Choose "
                "another folder for this GateMonitor, or delete that one."
            )
        return told

    def _path(self, epoch: int, suffix: str) -> Path:
        return self.folder / f"{epoch:04d}{suffix}"

    def _file(self, epoch: int, suffix: str) -> Path:
        path = self._path(epoch, suffix)
        if not path.exists():
            known = ", ".join(map(str, self.epochs)) or "none"
            raise KeyError(f"epoch {epoch} was not looked at. In {self.folder} there are: {known}.")
        return path

    def _about(self, epoch: int) -> dict[str, Any]:
        return self._cached(self._file(epoch, ".parquet"), read_about)

    def _cached(self, path: Path, read: Callable[[Path], Any]) -> Any:
        """Read a file once, and again only if it was written anew."""
        name, written = f"{read.__name__} {path.name}", path.stat().st_mtime_ns
        if self._read.get(name, (None, None))[0] != written:
            self._read[name] = written, read(path)
        return self._read[name][1]

    def _over_epochs(self, table: str) -> pd.DataFrame:
        frames = {epoch: getattr(self.snapshot(epoch), table) for epoch in self.epochs}
        if not frames:
            raise ValueError(f"no epoch is written yet in {self.folder}: wait for the first to end.")
        return pd.concat(frames, names=["epoch"])  # pyright: ignore[reportCallIssue, reportArgumentType]


def record_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the record's rows by epoch, their figures as columns."""
    flat = [{**{k: v for k, v in row.items() if k != "figures"}, **row["figures"]} for row in rows]
    columns = ["epoch", "taken", "why", "steps", "sampled", "overhead"]
    frame = pd.DataFrame(flat) if flat else pd.DataFrame(columns=columns)
    return frame.set_index("epoch")
