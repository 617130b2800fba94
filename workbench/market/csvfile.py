"""A user's own prices, read from a CSV file; whatever is not understood is refused, never guessed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.market.adjustment import adjusted
from workbench.market.csvdates import stamps
from workbench.market.csvtable import ADJUSTED, Table, read_table
from workbench.market.faults import REPAIRS, row_faults
from workbench.market.frame import COLUMNS, Request, clip, conform


def tickers() -> list[str]:
    """Return no names: the ticker of this source is the path of a file."""
    return []


def fetch(request: Request) -> pd.DataFrame:
    """Prices of the CSV file whose path is the request's ticker.

    The file is UTF-8 with one header line and one bar a line, separated by commas, semicolons or tabs.
    Columns, whatever their case: Date (or Datetime, Time, Timestamp), Open, High, Low, Close, Volume, and
    optionally Adj Close, by which the others are then adjusted as `adjusted` does. A column of which every
    cell is empty is taken for unknown and stays NaN. Other columns are left out, and named in the provenance.

    Dates are ISO 8601. Bars of a day or longer carry a date, or a midnight; intraday bars a time with its
    offset from UTC. Rows may come in any order; each date once.

    Returns
    -------
    DataFrame
        Conforming prices. The provenance holds the file's name, not its folder, and its SHA-256; its ticker
        is the name without the suffix.

    Raises
    ------
    PriceError
        Names the file, and the line and column where there is one, and the repair.
    """
    path = Path(request.ticker).expanduser()
    table = read_table(path)
    columns = {name: table.numbers(name) for name in (*COLUMNS, ADJUSTED) if name in table.columns}
    frame = pd.DataFrame(columns, index=stamps(table, request.interval))
    _refuse_faults(table, frame)
    prices, described = _adjusted(table, frame.sort_index())
    return clip(conform(prices, described | _described(path, table, request, prices)), request)


def _refuse_faults(table: Table, frame: pd.DataFrame) -> None:
    """Refuse what `conform` would, naming the line; rows out of order are sorted, so they may pass."""
    for fault, bad in row_faults(frame, _fields(frame)).items():
        if bad.any() and fault != "dates out of order":
            rows = np.flatnonzero(bad)
            row = int(rows[0])
            more = f" So are {len(rows) - 1} more lines." if len(rows) > 1 else ""
            told = ", ".join(f"{name} {frame[name].iloc[row]:g}" for name in COLUMNS)
            raise table.error(row, None, f"{fault}: {frame.index[row]}, {told}.{more} {REPAIRS[fault]}")


def _fields(frame: pd.DataFrame) -> list[str]:
    return [name for name in COLUMNS if bool(frame[name].notna().any())]


def _described(path: Path, table: Table, request: Request, prices: pd.DataFrame) -> dict[str, Any]:
    notes = [f"columns left out: {', '.join(table.unknown)}"] if table.unknown else []
    fields = _fields(prices)
    if len(fields) < len(COLUMNS):
        notes.append(f"empty columns: {', '.join(name for name in COLUMNS if name not in fields)}")
    described = {
        "source": "csv",
        "ticker": path.stem,
        "interval": request.interval,
        "fetched_at": datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds"),
        "fields": fields,
        "file": path.name,
        "file_sha256": table.sha256,
    }
    return described | ({"note": "; ".join(notes)} if notes else {})


def _adjusted(table: Table, frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    if ADJUSTED not in frame.columns or bool(frame[ADJUSTED].isna().all()):
        return frame.loc[:, list(COLUMNS)], {"adjusted": "as in the file"}
    positive = table.numbers(ADJUSTED) > 0
    if not positive.all():
        repair = "expected a positive price. Correct the cell or delete its line."
        raise table.error(int(positive.argmin()), ADJUSTED, repair)
    prices, splits = adjusted(frame)
    return prices, {"adjusted": "splits and dividends", "splits": splits}
