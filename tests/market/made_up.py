"""A source of prices that answers like a real one, from nothing."""

from dataclasses import dataclass, field

import pandas as pd

from workbench.market.frame import Request, SourceError, conform
from workbench.market.patience import NoBars, Unreachable

NOON = pd.Timestamp("2024-06-05 12:00", tz="UTC")  # a Wednesday


@dataclass
class Source:
    """Business days from a listing on, or hours, closed by `now`; bars can be rescaled as by a dividend."""

    listed: str = "2020-03-02"
    now: pd.Timestamp = NOON
    scale: float = 1.0
    reach: pd.Timedelta | None = None  # further back it refuses to look
    offline: bool = False
    asked: list[Request] = field(default_factory=list)

    def fetch(self, request: Request) -> pd.DataFrame:
        self.asked.append(request)
        if self.offline:
            raise Unreachable("The exchange could not be reached.")
        dates = self.dates(request.interval)
        if self.reach is not None:
            oldest = self.now - self.reach
            if request.start is not None and request.start < oldest:
                raise SourceError("The exchange does not look back so far.")
            dates = dates[dates >= oldest]
        dates = dates[dates >= request.start] if request.start is not None else dates
        dates = dates[dates <= request.end] if request.end is not None else dates
        if not len(dates):
            raise NoBars("The exchange has none.")
        value = 100 * self.scale + (dates.asi8 // 10**9 % 997) / 1000 * self.scale
        frame = pd.DataFrame(
            {"open": value, "high": value * 1.01, "low": value * 0.99, "close": value, "volume": 5.0},
            index=dates,
        )
        provenance = {
            "source": "made up",
            "ticker": request.ticker,
            "interval": request.interval,
            "adjusted": "raw",
        }
        return conform(frame, provenance)

    def online(self) -> "Source":
        """Return another that answers alike."""
        return Source(self.listed, self.now, self.scale, self.reach)

    def dates(self, interval: str) -> pd.DatetimeIndex:
        """Days close at 21:00 UTC."""
        if interval == "1h":
            return pd.date_range(
                pd.Timestamp(self.listed, tz="UTC"), self.now - pd.Timedelta("1h"), freq="h"
            ).as_unit("us")
        last = (self.now - pd.Timedelta("21h")).tz_localize(None).normalize()
        return pd.bdate_range(self.listed, last).as_unit("us")


def ask(
    start: str | None = None, end: str | None = None, interval: str = "1d", ticker: str = "ACME"
) -> Request:
    return Request(ticker, start and pd.Timestamp(start), end and pd.Timestamp(end), interval)


def same(prices: pd.DataFrame, direct: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(prices, direct)
    assert prices.attrs["provenance"]["sha256"] == direct.attrs["provenance"]["sha256"]
