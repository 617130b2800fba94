"""What a set of windows holds, in one line and in one table."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from workbench.features.windows import Windows

__all__ = ["headline", "overview"]


def headline(windows: "Windows") -> str:
    """Return size, ticker, dates and label balance on one line."""
    size = f"{len(windows)} × {windows.lookback} bars × {windows.n_features} features"
    parts = [size, *_tickers(windows), *_dates(windows), f"{windows.task}: {_balance(windows)}"]
    return f"Windows({', '.join(parts)})"


def overview(windows: "Windows") -> pd.DataFrame:
    """Return a row a ticker (and one for all of several): windows, dates, labels.

    Class shares are in percent of the known labels, returns in percent a horizon.
    """
    rows = {
        ticker: _row(windows[windows.tickers == ticker]) for ticker in sorted(set(windows.tickers.tolist()))
    }
    if len(rows) != 1:
        rows["all"] = _row(windows)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("ticker")


def _row(windows: "Windows") -> dict[str, object]:
    known = windows.label_dates.notna()
    dated = len(windows) > 0
    return {
        "windows": len(windows),
        "first decision": windows.dates.min() if dated else pd.NaT,
        "last decision": windows.dates.max() if dated else pd.NaT,
        **_shares(windows),
        "not yet known": int((~known).sum()),
    }


def _shares(windows: "Windows") -> dict[str, float]:
    y = windows.y.numpy()[np.asarray(windows.label_dates.notna())]
    if windows.task == "classification":
        return {f"{name} [%]": _percent(y == number) for number, name in enumerate(windows.classes)}
    spread = float(np.std(y, ddof=1)) if len(y) > 1 else np.nan
    return {
        "mean return [%]": _percent(y),
        "sd of returns [%]": round(100 * spread, 2),
        "positive [%]": _percent(y > 0),
    }


def _percent(hits: np.ndarray) -> float:
    return round(float(100 * hits.mean()), 2) if len(hits) else np.nan


def _tickers(windows: "Windows") -> list[str]:
    tickers = sorted(set(windows.tickers.tolist()))
    if len(tickers) > 1:
        return [f"{len(tickers)} tickers"]
    return [ticker for ticker in tickers if ticker]


def _dates(windows: "Windows") -> list[str]:
    if len(windows) == 0:
        return []
    intraday = (windows.dates != windows.dates.normalize()).any()
    style = "%Y-%m-%d %H:%M" if intraday else "%Y-%m-%d"
    return [f"{windows.dates.min():{style}} → {windows.dates.max():{style}}"]


def _balance(windows: "Windows") -> str:
    shares = _shares(windows)
    unknown = int(windows.label_dates.isna().sum())
    waiting = f", {unknown} not yet known" if unknown else ""
    if unknown == len(windows):
        return f"{unknown} not yet known" if unknown else "no windows"
    if windows.task == "classification":
        return (
            ", ".join(f"{share:.0f} % {name.removesuffix(' [%]')}" for name, share in shares.items())
            + waiting
        )
    return f"mean {shares['mean return [%]']:+.2f} %, sd {shares['sd of returns [%]']:.2f} %{waiting}"
