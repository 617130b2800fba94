"""Who belongs together: columns that say of every bar which concepts its stock belonged to by then."""

import warnings

import numpy as np
import pandas as pd
from jaxtyping import Float64

from workbench.features.panels import check_index, keys_of
from workbench.features.recipes import with_step
from workbench.features.splits import timestamp

__all__ = ["with_concepts"]

PREFIX = "concept:"  # what models know such columns by
_NEEDED = ("ticker", "concept", "since")


def with_concepts(
    features: pd.DataFrame, membership: pd.DataFrame | pd.Series, since: str | None = None
) -> pd.DataFrame:
    """Add a column `concept:<name>` for every concept: 1 at bars at which the stock belongs to it, else 0.

    Models that look at a day's stocks together (HIST) read them; they are not standardised. A concept may be
    a sector, an index, an owner, a theme: whatever stocks share.

    Parameters
    ----------
    features
        From `make_features`, `alpha158` and the like, of one ticker or a panel.
    membership
        Dated, in one of three forms:

        - a frame with columns ticker, concept, since and, where it ended, until: the stock belongs from the
          bar of `since` on, and no longer at that of `until`; a column weight stands in for the 1;
        - a frame by (date, ticker) with a column a concept: each row counts from its date until the stock's
          next row;
        - a Series of concepts by ticker, such as `workbench.market.sample.sectors()`, with `since`.
    since
        From when a Series counts. Taken for earlier than it was known, it tells the model of the future: who
        stayed in the index, what became of a company. Sectors as bundled are those of 2022.

    Returns
    -------
    pd.DataFrame
        The features with the new columns behind them, in the order of the concepts' names.

    Raises
    ------
    ValueError
        The membership breaks a rule, knows none of the tickers, or a static map comes without a date.
    """
    check_index(features, "features")
    ticker = features.attrs.get("provenance", {}).get("ticker", "")
    dates, tickers = keys_of(features.index, ticker if isinstance(ticker, str) else "")
    if isinstance(membership, pd.DataFrame) and isinstance(membership.index, pd.MultiIndex):
        columns, step = _snapshots(membership, dates, tickers), None
    else:
        stretches = _stretches(membership, since, dates)
        stretches = stretches.loc[stretches["ticker"].isin(sorted(set(tickers.tolist())))]
        _refuse_strangers(stretches, tickers)
        columns = _marks(stretches, dates, tickers)
        step = {"kind": "with_concepts", "rows": _rows(stretches)}
    doubled = [name for name in columns if name in features.columns]
    if doubled:
        raise ValueError(f"features have {', '.join(doubled)} already: add the concepts once.")
    kind = np.float32 if (features.dtypes == np.float32).all() else np.float64
    added = pd.DataFrame({name: columns[name].astype(kind) for name in sorted(columns)}, index=features.index)
    result = pd.concat([features, added], axis=1)
    result.attrs = with_step(features.attrs, step)
    return result


def _stretches(
    membership: pd.DataFrame | pd.Series, since: str | None, dates: pd.DatetimeIndex
) -> pd.DataFrame:
    """Return rows ticker, concept, since, until (NaT: goes on) and weight, checked."""
    if isinstance(membership, pd.Series):
        table = _static(membership, since, dates)
    else:
        missing = [name for name in _NEEDED if name not in membership.columns]
        if missing:
            raise ValueError(
                f"membership needs the columns {', '.join(_NEEDED)}. Missing: {', '.join(missing)}. "
                "Or index it by (date, ticker), with a column a concept."
            )
        if since is not None:
            raise ValueError(
                "since is for a Series of concepts by ticker; this membership has its own dates."
            )
        table = membership.reset_index(drop=True)
    ends = table["until"] if "until" in table else pd.Series(pd.NaT, index=table.index)
    weights = table["weight"] if "weight" in table else pd.Series(1.0, index=table.index)
    clean = pd.DataFrame(
        {
            "ticker": table["ticker"].astype(str),
            "concept": table["concept"].astype(str),
            "since": _moments(pd.Series(table["since"]), dates),
            "until": _moments(pd.Series(ends), dates),
            "weight": weights.astype("float64"),
        }
    )
    _check(clean)
    return clean


def _static(concepts: pd.Series, since: str | None, dates: pd.DatetimeIndex) -> pd.DataFrame:
    if since is None:
        raise ValueError(
            "A Series of concepts by ticker doesn't say from when it counts: pass since=, the date on which "
            "it was known. Earlier than that it would tell the model of the future."
        )
    begin = timestamp(since, dates.tz)
    known = concepts.attrs.get("as_of")
    if known is not None and begin < timestamp(known, dates.tz):
        warnings.warn(
            f"The {concepts.name or 'concept'}s are those of {known}, and count from {begin:%Y-%m-%d}: until "
            f"{known} they know what became of the companies, so what is learnt from them may flatter.",
            stacklevel=4,
        )
    return pd.DataFrame(
        {"ticker": concepts.index.astype(str), "concept": concepts.to_numpy(), "since": begin}
    )


def _moments(column: pd.Series, dates: pd.DatetimeIndex) -> pd.Series:
    moments = pd.Series(pd.to_datetime(column), index=column.index)
    return moments.dt.tz_localize(dates.tz) if moments.dt.tz is None and dates.tz is not None else moments


def _check(table: pd.DataFrame) -> None:
    faults = {
        "since must be a date": table["since"].isna(),
        "until must come after since": table["until"] <= table["since"],
        "weight must be a finite number from 0 up": ~np.isfinite(table["weight"]) | (table["weight"] < 0),
    }
    ordered = table.sort_values(["ticker", "concept", "since"], kind="stable")
    before = ordered.groupby(["ticker", "concept"])[["since", "until"]].shift(1)
    overlap = before["since"].notna() & ~(before["until"] <= ordered["since"])
    faults["stretches of one ticker and concept must not overlap"] = overlap.reindex(table.index)
    for fault, rows in faults.items():
        if rows.any():
            raise ValueError(
                f"membership: {fault}. Got, among others,\n{table.loc[rows].head(3).to_string()}"
            )


def _refuse_strangers(stretches: pd.DataFrame, tickers: np.ndarray) -> None:
    if stretches.empty:
        names = ", ".join(sorted(set(tickers.tolist()))[:5])
        raise ValueError(f"membership knows none of the features' tickers ({names or 'unnamed'}).")


def _marks(
    stretches: pd.DataFrame, dates: pd.DatetimeIndex, tickers: np.ndarray
) -> dict[str, Float64[np.ndarray, " row"]]:
    rows_of = {str(name): np.flatnonzero(tickers == name) for name in set(tickers.tolist())}
    found: dict[str, np.ndarray] = {}
    for ticker, concept, since, until, weight in stretches.itertuples(index=False):
        column = found.setdefault(f"{PREFIX}{concept}", np.zeros(len(dates)))
        rows = rows_of[ticker]
        own = dates[rows]
        belongs = np.asarray(own >= since) & (True if until is pd.NaT else np.asarray(own < until))
        column[rows[belongs]] = weight
    return found


def _rows(stretches: pd.DataFrame) -> list[list[str | float | None]]:
    return [
        [ticker, concept, since.isoformat(), None if until is pd.NaT else until.isoformat(), weight]
        for ticker, concept, since, until, weight in stretches.itertuples(index=False)
    ]


def _snapshots(
    membership: pd.DataFrame, dates: pd.DatetimeIndex, tickers: np.ndarray
) -> dict[str, Float64[np.ndarray, " row"]]:
    """Return at each bar the stock's latest row up to it, 0 before its first."""
    check_index(membership, "membership")
    values = membership.to_numpy(dtype="float64")
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("membership by (date, ticker) must hold finite numbers from 0 up, such as 0 and 1.")
    known, whose = keys_of(membership.index)
    found = np.zeros((len(dates), values.shape[1]))
    strangers = True
    for ticker in set(tickers.tolist()):
        rows, theirs = np.flatnonzero(tickers == ticker), np.flatnonzero(whose == ticker)
        latest = known[theirs].searchsorted(dates[rows], side="right") - 1
        there = latest >= 0
        found[rows[there]] = values[theirs[latest[there]]] if len(theirs) else 0.0
        strangers &= len(theirs) == 0
    _refuse_strangers(pd.DataFrame() if strangers else membership, tickers)
    return {f"{PREFIX}{name}": found[:, place] for place, name in enumerate(membership.columns)}
