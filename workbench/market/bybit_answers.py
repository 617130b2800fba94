"""What Bybit's answers mean: bars, or an error in words that say what to do next."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.market.frame import SourceError
from workbench.market.patience import Unreachable

_BLOCKED = (
    "Wait 10 minutes if you asked very often; otherwise Bybit does not serve this address (it refuses the "
    "United States and some other countries): use source='yahoo' with a ticker such as BTC-USD."
)
_BUSY = {10000: "timed out", 10016: "has an internal fault", 10006: "counts too many requests"}


@dataclass(frozen=True)
class Answer:
    """Bars of one request and when they were true.

    Parameters
    ----------
    bars
        Start in milliseconds since 1970 UTC → open, high, low, close, volume, turnover; in no order.
    time
        The exchange's clock in milliseconds since 1970 UTC.
    pause
        Seconds to wait before the next request, because the allowance is used up.
    """

    bars: dict[int, tuple[float, ...]]
    time: int
    pause: float


def read(status: int, headers: Mapping[str, str], body: str, name: str) -> Answer:
    """Bars in an HTTP answer about `name`; anything else is a `SourceError` that explains it."""
    _check_status(status, headers, name)
    try:
        content = json.loads(body)
    except json.JSONDecodeError as error:
        raise Unreachable(
            f"Bybit's answer about {name} is not JSON ({error}): a page of a proxy or of a login, or a "
            f"broken connection. It begins {body[:60]!r}. Try again, and look at the network if it stays so."
        ) from error
    try:
        _check_code(content, headers, name)
        return Answer(_numbers(content["result"]["list"]), int(content["time"]), _pause(headers, content))
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"Bybit's answer about {name} has an unexpected shape ({type(error).__name__}: {error}). It "
            f"begins {body[:60]!r}. Its interface may have changed: look for a newer workbench."
        ) from error


def _check_status(status: int, headers: Mapping[str, str], name: str) -> None:
    if status == 403:
        raise Unreachable(f"Bybit refuses this address (HTTP 403, asked for {name}). {_BLOCKED}", again=False)
    if status == 429 or status >= 500:
        raise Unreachable(
            f"Bybit could not answer about {name} (HTTP {status}). Try again in a few minutes.",
            wait=_seconds(headers.get("Retry-After")),
        )
    if status != 200:
        raise SourceError(
            f"Bybit refused the request for {name} with HTTP {status}. Its interface may have moved: "
            "look for a newer version of the workbench."
        )


def _check_code(content: Any, headers: Mapping[str, str], name: str) -> None:
    code, said = content["retCode"], content["retMsg"]
    if code == 0:
        return
    if code in _BUSY:
        raise Unreachable(
            f"Bybit {_BUSY[code]} (code {code}: {said}, asked for {name}). Try again in a minute.",
            wait=_until_reset(headers, content) if code == 10006 else None,
        )
    if code == 10009:
        raise Unreachable(f"Bybit refuses this address (code {code}: {said}). {_BLOCKED}", again=False)
    if code == 10029 or "symbol" in said.lower():
        raise SourceError(
            f"Bybit has no {name} (code {code}: {said}). Symbols are written like BTCUSDT (spot, linear) or "
            "BTCUSD (inverse): look yours up at bybit.com and mind the category."
        )
    raise SourceError(
        f"Bybit refused the request for {name} (code {code}: {said}). Check ticker, interval and dates."
    )


def _numbers(listed: Any) -> dict[int, tuple[float, ...]]:
    for row in listed:
        if len(row) != 7:
            raise ValueError(f"a bar has 7 values, not {row!r}")
    return {int(start): tuple(map(float, values)) for start, *values in listed}


def _pause(headers: Mapping[str, str], content: Any) -> float:
    if headers.get("X-Bapi-Limit-Status") != "0":
        return 0.0
    return _until_reset(headers, content) or 0.0


def _until_reset(headers: Mapping[str, str], content: Any) -> float | None:
    """Seconds until requests are allowed again, by the exchange's own clock; None when it doesn't say."""
    reset = headers.get("X-Bapi-Limit-Reset-Timestamp")
    return None if reset is None else max(0.0, (int(reset) - int(content["time"])) / 1000)


def _seconds(retry_after: str | None) -> float | None:
    """Wait that a Retry-After header asks for; its rarer form, a date, counts as not said."""
    return float(retry_after) if retry_after is not None and retry_after.strip().isdecimal() else None
