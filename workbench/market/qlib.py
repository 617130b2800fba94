"""To and from Microsoft's qlib: its folders of binary daily data, and the Series its evaluation takes.

A folder holds `calendars/day.txt` (a date a line), `instruments/<market>.txt` (instrument, first and last
day, by tabs) and `features/<instrument>/<field>.day.bin`: float32, little-endian, the first being where in
the calendar the second belongs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

from workbench.market.frame import COLUMNS, PRICE_COLUMNS, PriceError, Request, clip, conform
from workbench.market.loading import Moment, moment_of
from workbench.market.names import suggestion

__all__ = ["load_qlib", "qlib_membership", "to_qlib"]

_FACTOR = "factor"  # adjusted prices ÷ those traded


def load_qlib(
    folder: str | PathLike[str],
    instruments: str | Sequence[str] = "all",
    start: Moment = None,
    end: Moment = None,
    extra: Sequence[str] = (),
) -> pd.DataFrame:
    """Load the daily bars of a qlib data folder as a panel.

    Prices are adjusted as they lie there, by `factor`, and volumes the other way. Days on which an instrument
    has no price, as when trading in it was suspended, are absent.

    Parameters
    ----------
    folder
        What qlib calls `provider_uri`, such as "~/.qlib/qlib_data/cn_data".
    instruments
        A list of names, or a market: a file in `instruments/`, such as "csi300". Of a market come all who
        ever belonged to it, with all their bars: `qlib_membership` says who belonged when.
    start, end
        First and last date, both included, as in `load_panel`.
    extra
        Fields to keep beside those of the contract, such as "vwap", as further columns.

    Returns
    -------
    pd.DataFrame
        As `load_panel` returns. Fields that the folder lacks are NaN, and not among `provenance["fields"]`.

    Raises
    ------
    PriceError
        The folder, a market, an instrument or a field is not there, a file is damaged, or the prices break
        the contract; the message names the file.
    """
    data = _Folder.of(folder)
    names = data.chosen(instruments)
    fields = data.fields(names, extra)
    request = Request(", ".join(names[:3]), moment_of("start", start), moment_of("end", end))
    columns = [*COLUMNS, *extra]
    frames = {name: data.bars(name, fields).reindex(columns=columns) for name in names}
    panel = pd.concat(frames, names=["ticker", "date"]).swaplevel().sort_index()
    prices = clip(conform(panel.loc[:, list(COLUMNS)], data.provenance(names, fields)), request)
    for name in extra:
        prices[name] = panel[name].reindex(prices.index)
    return prices


def qlib_membership(folder: str | PathLike[str], market: str) -> pd.DataFrame:
    """Return who belonged to a market when: a row a stretch, with ticker, concept, since and until.

    `concept` is the market's name, so that `with_concepts` takes the frame as it is. `until` is the first day
    after the stretch.
    """
    stretches = _Folder.of(folder).market(market)
    table = stretches.assign(concept=market, until=stretches["last"] + pd.Timedelta(days=1))
    return table.loc[:, ["ticker", "concept", "since", "until"]].reset_index(drop=True)


def to_qlib(predictions: pd.DataFrame, column: str | None = None) -> pd.Series:
    """Return what `predict` returned as the signal that qlib's evaluation and strategies take.

    Parameters
    ----------
    predictions
        From `predict`. One ticker's frame must name it in its provenance.
    column
        What to rank by, such as "buy"; None is the forecast, or of classes how far buy is above sell.

    Returns
    -------
    pd.Series
        Named "score", by (datetime, instrument).

    Raises
    ------
    ValueError
        There is no such column, or nobody says which ticker it is.
    """
    index = predictions.index
    if isinstance(index, pd.MultiIndex):
        index = index.set_names(["datetime", "instrument"])
    else:
        ticker = predictions.attrs.get("provenance", {}).get("ticker")
        if not isinstance(ticker, str):
            raise ValueError(
                "predictions of one ticker must name it in attrs['provenance']['ticker']. "
                f"Got {ticker!r}: take the frame straight from predict."
            )
        names = ["datetime", "instrument"]
        index = pd.MultiIndex.from_arrays([index, np.full(len(index), ticker)], names=names)
    return pd.Series(_score(predictions, column), index=index, name="score").sort_index()


def _score(predictions: pd.DataFrame, column: str | None) -> Float64[np.ndarray, " row"]:
    there = [str(name) for name in predictions.columns]
    if column is None and {"buy", "sell"} <= set(there):
        return (predictions["buy"] - predictions["sell"]).to_numpy(dtype="float64")
    wanted = "forecast" if column is None else column
    if wanted not in there:
        raise ValueError(f"column must be one of {', '.join(there)}. Got {wanted!r}.")
    return predictions[wanted].to_numpy(dtype="float64")


@dataclass(frozen=True)
class _Folder:
    """A qlib folder of daily data, and all its trading days."""

    path: Path
    calendar: pd.DatetimeIndex

    @classmethod
    def of(cls, folder: str | PathLike[str]) -> "_Folder":
        """Open a folder, reading its calendar."""
        path = Path(folder).expanduser()
        file = path / "calendars" / "day.txt"
        if not file.is_file():
            raise PriceError(
                f"{path} is no qlib folder of daily data: there is no calendars/day.txt. "
                "Give the folder that qlib.init calls provider_uri."
            )
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        dates = _dates(file, lines)
        if not dates.is_unique or not dates.is_monotonic_increasing or len(dates) == 0:
            raise PriceError(f"{file} must list each trading day once, from old to new. It has {len(lines)}.")
        return cls(path, dates)

    def market(self, name: str) -> pd.DataFrame:
        """Rows ticker, since, last of a file of instruments."""
        file = self.path / "instruments" / f"{name.lower()}.txt"
        if not file.is_file():
            known = sorted(found.stem for found in (self.path / "instruments").glob("*.txt"))
            raise PriceError(
                f"{file} is not there; markets here: {', '.join(known) or 'none'}."
                f"{suggestion(name, known)} Instruments are given as a list of names."
            )
        rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        short = [row for row in rows if len(row) < 3]
        if short or not rows:
            raise PriceError(
                f"{file} must hold lines of instrument, first day and last day, separated by tabs. "
                f"Got {short[0] if short else 'no line'}."
            )
        dates = [_dates(file, [row[place].strip() for row in rows]) for place in (1, 2)]
        tickers = [row[0].strip().upper() for row in rows]
        return pd.DataFrame({"ticker": tickers, "since": dates[0], "last": dates[1]})

    def chosen(self, instruments: str | Iterable[str]) -> list[str]:
        """Names of the instruments asked for, in upper case and order."""
        if isinstance(instruments, str):
            return sorted(set(self.market(instruments)["ticker"]))
        names = sorted({name.upper() for name in instruments})
        if not names:
            raise PriceError("instruments must name at least one, or a market such as 'all'.")
        return names

    def fields(self, names: Sequence[str], extra: Sequence[str]) -> list[str]:
        """Fields of the contract that the instruments have, and the extra ones; all have one, or none has."""
        having = {
            field: [name for name in names if self._file(name, field).is_file()]
            for field in (*COLUMNS, *extra)
        }
        for field, those in having.items():
            needed = field in ("close", *extra)
            if len(those) < len(names) and (those or needed):
                lacking = next(name for name in names if name not in those)
                raise PriceError(f"{self._file(lacking, field)} is not there.{self._instead(lacking)}")
        return [field for field, those in having.items() if those]

    def _instead(self, name: str) -> str:
        known = sorted(found.name.upper() for found in (self.path / "features").glob("*"))
        near = suggestion(name, known) if name not in known else ""
        return f"{near} Leave {name} out, or complete the folder; it has {len(known)} instruments."

    def bars(self, name: str, fields: Sequence[str]) -> pd.DataFrame:
        """Bars of one instrument by date, days without any price left out."""
        found = pd.DataFrame({field: self._series(name, field) for field in fields})
        priced = [field for field in fields if field in PRICE_COLUMNS]
        return found.loc[found[priced].notna().any(axis=1)].rename_axis("date")

    def _series(self, name: str, field: str) -> pd.Series:
        file = self._file(name, field)
        content = file.read_bytes()
        values = np.frombuffer(content[: len(content) // 4 * 4], dtype="<f4").astype("float64")
        whole = len(values) > 0 and len(content) % 4 == 0 and values[0] >= 0 and values[0] % 1 == 0
        if not whole or int(values[0]) + len(values) - 1 > len(self.calendar):
            raise PriceError(
                f"{file} is damaged, or of another calendar: it must hold float32 numbers, the first its "
                f"place in the calendar of {len(self.calendar)} days, then a value a day. It has "
                f"{len(content)} bytes{f' and begins with {values[0]:g}' if len(values) else ''}: dump it."
            )
        begin = int(values[0])
        return pd.Series(values[1:], index=self.calendar[begin : begin + len(values) - 1])

    def _file(self, name: str, field: str) -> Path:
        folder = self.path / "features"
        for case in (name.lower(), name):
            if (folder / case).is_dir():
                return folder / case / f"{field.lower()}.day.bin"
        return folder / name.lower() / f"{field.lower()}.day.bin"

    def provenance(self, names: Sequence[str], fields: Sequence[str]) -> dict[str, Any]:
        """What `conform` is told."""
        known = all(self._file(name, _FACTOR).is_file() for name in names)
        fetched = (self.path / "calendars" / "day.txt").stat().st_mtime
        return {
            "source": "qlib",
            "ticker": list(names),
            "interval": "1d",
            "adjusted": "by the folder's factor" if known else "as in the folder, which tells no factor",
            "fields": [field for field in COLUMNS if field in fields],
            "fetched_at": datetime.fromtimestamp(fetched, UTC).isoformat(timespec="seconds"),
            "folder": self.path.name,
        }


def _dates(file: Path, texts: Sequence[str]) -> pd.DatetimeIndex:
    try:
        return pd.DatetimeIndex(pd.to_datetime(list(texts), format="%Y-%m-%d")).as_unit("us")
    except ValueError as error:
        raise PriceError(f"{file} must hold dates such as 2008-01-31: {error}.") from error
