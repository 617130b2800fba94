"""A Yahoo listing's clock, and which of its bars are final."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from workbench.market.frame import bar_seconds, is_intraday

SETTLING = pd.Timedelta(
    30, "min"
)  # the longest delay of a feed: 20 minutes, and room for the closing auction
_NEW_YORK = {
    "ASE",
    "BTS",
    "NCM",
    "NGM",
    "NMS",
    "NYQ",
    "PCX",
}  # Yahoo's codes of exchanges that keep XNYS hours


@dataclass(frozen=True)
class Listing:
    """What Yahoo says about a ticker beside its prices.

    Parameters
    ----------
    timezone
        Of the exchange; sessions are dated by it.
    currency
        Of the prices, "GBp" being pence; None where Yahoo gives none.
    calendar
        Days with bars: "XNYS", "24/7" or None where it isn't known.
    opens, shuts
        The present or last regular session; None where Yahoo gives none.
    last_trade
        How far the feed has come; None where Yahoo doesn't say.
    """

    timezone: str
    currency: str | None
    calendar: str | None
    opens: pd.Timestamp | None
    shuts: pd.Timestamp | None
    last_trade: pd.Timestamp | None

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "Listing":
        """Read the metadata of a yfinance history."""
        session = (metadata.get("currentTradingPeriod") or {}).get("regular") or {}
        calendar = "XNYS" if metadata.get("exchangeName") in _NEW_YORK else None
        return cls(
            timezone=metadata["exchangeTimezoneName"],
            currency=metadata.get("currency"),
            calendar="24/7" if metadata.get("instrumentType") == "CRYPTOCURRENCY" else calendar,
            opens=_moment(session.get("start")),
            shuts=_moment(session.get("end"), "5min"),  # 23:59 means midnight
            last_trade=_moment(metadata.get("regularMarketTime")),
        )


def _moment(value: pd.Timestamp | int | None, up_to: str = "s") -> pd.Timestamp | None:
    if value is None:
        return None
    stamp = pd.Timestamp(value, unit="s", tz="UTC") if isinstance(value, int) else value
    return cast(pd.Timestamp, stamp.ceil(up_to))


def closed(starts: pd.DatetimeIndex, interval: str, listing: Listing, now: pd.Timestamp) -> np.ndarray:
    """Which bars are final: a boolean array (bar,).

    A bar is final once the feed shows a trade at or after its end, or 30 minutes after its end, since a feed
    may lag by 20. A day ends with its session, or at midnight where Yahoo doesn't give the session.

    Parameters
    ----------
    starts
        Session dates without a timezone, or intraday bar starts with one.
    interval
        "1d" or shorter.
    """
    intraday = is_intraday(interval)
    zone = "UTC" if intraday else listing.timezone
    begun = (starts.tz_convert("UTC") if intraday else starts).tz_localize(None)
    ends = begun + pd.Timedelta(bar_seconds(interval), "s")
    if listing.opens is not None and listing.shuts is not None:
        opens, shuts = _local(listing.opens, zone), _local(listing.shuts, zone)
        first = opens if intraday else opens.normalize()
        at_hand = np.asarray((begun >= first) & (begun < shuts) & (ends > shuts))
        ends = ends.where(~at_hand, shuts)
    settled = cast(pd.Timestamp, now - SETTLING)
    if listing.last_trade is not None:
        settled = max(settled, min(listing.last_trade, now))
    return np.asarray(ends <= _local(settled, zone))


def _local(moment: pd.Timestamp, zone: str) -> pd.Timestamp:
    return moment.tz_convert(zone).tz_localize(None)
