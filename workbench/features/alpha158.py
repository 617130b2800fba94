"""Alpha158: the 158 columns of bars, prices and trailing windows that quant finance compares models on."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float32

from workbench.features.alphaformulas import OF_ONE_BAR, OF_WINDOWS, Ticker
from workbench.features.fields import Fields, chosen_columns
from workbench.features.panels import rows_by_ticker
from workbench.features.trailing import Column

__all__ = ["ALPHA158_20", "LENGTHS", "alpha158"]

LENGTHS = (5, 10, 20, 30, 60)
ALPHA158_20 = (
    *("RESI5", "WVMA5", "RSQR5", "KLEN", "RSQR10", "CORR5", "CORD5", "CORR10", "ROC60", "RESI10"),
    *("VSTD5", "RSQR60", "CORR60", "WVMA60", "STD5", "RSQR20", "CORD60", "CORD10", "CORR20", "KLOW"),
)
"""The 20 columns of the setting that gives sequence models 20 bars of 20 columns."""

_BAR = ("open", "high", "low", "close")
_NEEDS: dict[str, tuple[str, ...]] = {  # fields that a column, or each of a family of five, is made of
    **dict.fromkeys(("KMID", "KLEN", "KMID2", "KUP", "KUP2", "KLOW", "KLOW2", "KSFT", "KSFT2"), _BAR),
    **{f"{name.upper()}0": (name, "close") for name in ("open", "high", "low", "vwap")},
    **dict.fromkeys(("MAX", "IMAX"), ("high", "close")),
    **dict.fromkeys(("MIN", "IMIN"), ("low", "close")),
    **dict.fromkeys(("RSV", "IMXD"), ("high", "low", "close")),
    **dict.fromkeys(("CORR", "CORD", "WVMA"), ("close", "volume")),
    **dict.fromkeys(("VMA", "VSTD", "VSUMP", "VSUMN", "VSUMD"), ("volume",)),
}
_PARTS: dict[str, tuple[str, int | None]] = {  # column: family, d
    **{name: (name, None) for name in OF_ONE_BAR},
    **{f"{name}{d}": (name, d) for name in OF_WINDOWS for d in LENGTHS},
}


def alpha158(prices: pd.DataFrame, columns: Iterable[str] | None = None) -> pd.DataFrame:
    """Make the 158 columns of Alpha158 (Microsoft's qlib), each from its ticker's bars up to that row.

    o, h, l, c, v are open, high, low, close and volume, ε = 1e-12, Δ the change from the bar before; d is 5,
    10, 20, 30 and 60. Sums, means, std (ddof 1), max, min, quantiles, ranks are of up to the last d bars.

    ==========================  ==========================================================================
    columns                     formula
    ==========================  ==========================================================================
    KMID KLEN                   (c − o) / o, (h − l) / o
    KUP KLOW KSFT               (h − max(o, c)) / o, (min(o, c) − l) / o, (2c − h − l) / o
    KMID2 KUP2 KLOW2 KSFT2      the same over h − l + ε
    OPEN0 HIGH0 LOW0 VWAP0      o / c, h / c, l / c, vwap / c
    ROCd MAd STDd               c of d bars ago / c, mean c / c, std c / c
    BETAd RSQRd RESId           least-squares line through c: slope / c, r², today's residual / c
    MAXd MINd                   max h / c, min l / c
    QTLUd QTLDd RANKd           quantiles 0.8 and 0.2 of c, / c; rank of c as a share, ties in the middle
    RSVd                        (c − min l) / (max h − min l + ε)
    IMAXd IMINd IMXDd           place of the highest h, the lowest l: 1/d oldest … 1 today; their difference
    CORRd CORDd                 correlation of c and ln(v + 1); of c / c₋₁ and ln(v / v₋₁ + 1)
    CNTPd CNTNd CNTDd           share of bars with Δc > 0, with Δc < 0; their difference
    SUMPd SUMNd SUMDd           Σ max(Δc, 0) / (Σ |Δc| + ε), Σ max(−Δc, 0) / (Σ |Δc| + ε); their difference
    VMAd VSTDd                  mean v / (v + ε), std v / (v + ε)
    WVMAd                       std(|c / c₋₁ − 1| v) / (mean(|c / c₋₁ − 1| v) + ε)
    VSUMPd VSUMNd VSUMDd        SUMP, SUMN and SUMD of v
    ==========================  ==========================================================================

    RSQR, CORR and CORD are NaN where a standard deviation is at most 2e-5: closes should be about 1 or more.
    On a bar without trades ε makes VMA and VSTD huge, which `processors.RobustZScore` clips.

    Parameters
    ----------
    prices
        One ticker or a panel. Without a column `vwap`, (h + l + c) / 3 stands in, named VWAP0_hlc3.
    columns
        Names of some, such as `ALPHA158_20`; None is all that the known fields of the prices permit.

    Returns
    -------
    pd.DataFrame
        Float32, index and attrs of `prices`; NaN where a figure needs bars before the first.
        `attrs["features"]` tells the kind, and which of the 158 are `left_out` for want of a field.

    Raises
    ------
    PriceError
        Prices are not finite, positive, unique in date and sorted.
    ValueError
        A column is unknown, named twice, or needs a field that the prices lack.
    """
    fields = Fields.of(prices)
    names = {_named(column, fields): column for column in _PARTS}
    needs = {name: _needed(column) for name, column in names.items()}
    wanted = chosen_columns(columns, needs, fields, "alpha158")
    values = np.empty((len(prices), len(wanted)), dtype=np.float32)
    for rows in rows_by_ticker(prices):
        values[rows] = _table(fields.rows(rows), [names[name] for name in wanted])
    features = pd.DataFrame(values, index=prices.index, columns=wanted, copy=False)
    features.attrs = {**prices.attrs, "features": fields.told("alpha158", needs)}
    return features


def _named(column: str, fields: Fields) -> str:
    return f"{column}{fields.vwap_suffix}" if column == "VWAP0" else column


def _needed(column: str) -> tuple[str, ...]:
    return _NEEDS.get(_PARTS[column][0], ("close",))


def _table(fields: dict[str, Column], columns: Sequence[str]) -> Float32[np.ndarray, "bar column"]:
    parts = [_PARTS[column] for column in columns]
    ticker = Ticker(fields, sorted({d for _, d in parts if d is not None}))
    table = np.empty((len(fields["close"]), len(columns)), dtype=np.float32)
    for place, (name, d) in enumerate(parts):
        table[:, place] = OF_ONE_BAR[name](ticker) if d is None else OF_WINDOWS[name](ticker, d)
    return table
