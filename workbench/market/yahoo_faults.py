"""What a failure inside yfinance means, in words that say what to do next."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from workbench.market.frame import Request, SourceError
from workbench.market.patience import NoBars, Unreachable

_ELSEWHERE = "use source='sample', which needs no network"
_SHAPES = (AttributeError, IndexError, KeyError, TypeError, ValueError)  # yfinance reading what isn't there


@contextmanager
def translated(request: Request) -> Iterator[None]:
    """Turn every failure of yfinance within the block into a `SourceError` about this request."""
    import peewee
    from yfinance.exceptions import YFException, YFRateLimitError

    try:
        yield
    except YFRateLimitError as error:
        raise Unreachable(
            f"Yahoo answered {request.ticker} with HTTP 429: too many requests from this address. "
            f"Wait some minutes before you ask again, or {_ELSEWHERE}."
        ) from error
    except YFException as error:
        raise _refused(error, request) from error
    except json.JSONDecodeError as error:
        raise Unreachable(
            f"Yahoo's answer about {request.ticker} is not JSON ({error}): an error or consent page, or a "
            f"connection that broke. Try again in a few minutes, or {_ELSEWHERE}."
        ) from error
    except peewee.PeeweeException as error:
        raise SourceError(
            f"yfinance's own cache failed while {request.ticker} was asked for ({error}). "
            "Close other programs that use it, or delete the folder py-yfinance in your cache folder."
        ) from error
    except OSError as error:  # both HTTP libraries under yfinance derive their errors from it
        raise _unanswered(error, request) from error
    except _SHAPES as error:
        if isinstance(
            error.__context__, OSError
        ):  # without curl_cffi, yfinance stumbles while it handles one
            raise _unanswered(error.__context__, request) from error
        raise SourceError(
            f"Yahoo's answer about {request.ticker} has an unexpected shape ({type(error).__name__}: {error}"
            "). Yahoo may have changed its interface: upgrade yfinance, and try again tomorrow."
        ) from error


def _refused(error: Exception, request: Request) -> SourceError:
    """Meaning of what yfinance itself says about the request."""
    from yfinance.exceptions import YFDataException, YFPricesMissingError, YFTzMissingError

    said = str(getattr(error, "yahoo_reason", None) or error)
    asked = f"{request.interval} bars of {request.ticker} from {request.start} to {request.end}"
    if re.search(r"last \d+ days|\d+ days worth", said):
        return SourceError(
            f"Yahoo keeps {request.interval} bars for a short time only: {said} "
            "Ask for a later start, a shorter range, or longer bars such as interval='1d'."
        )
    if isinstance(error, YFTzMissingError) or re.search(r"(?i)no data found|not found", said):
        return unknown(request)
    if isinstance(error, YFPricesMissingError) and _says_empty(error, said):
        return no_bars(request)
    if isinstance(error, YFDataException):
        return Unreachable(f"Yahoo is out of order ({said}). Try again later, or {_ELSEWHERE}.")
    return SourceError(f"Yahoo refused {asked}: {said}. Check ticker, interval and dates.")


def _says_empty(error: Exception, said: str) -> bool:
    return getattr(error, "yahoo_reason", None) is None or "doesn't exist for startDate" in said


def _unanswered(error: OSError, request: Request) -> SourceError:
    """Meaning of a failure of HTTP: an unwelcome status, or no answer at all."""
    status = getattr(getattr(error, "response", None), "status_code", None) or 0
    if status == 404:
        return unknown(request)
    if status >= 400:
        return Unreachable(
            f"Yahoo answered {request.ticker} with HTTP {status}. Try again in some minutes, or {_ELSEWHERE}."
        )
    return Unreachable(
        f"Yahoo could not be reached for {request.ticker} ({type(error).__name__}). "
        f"Check the network, or {_ELSEWHERE}."
    )


def unknown(request: Request) -> SourceError:
    """Say that Yahoo has no such ticker."""
    return SourceError(
        f"Yahoo has no ticker {request.ticker!r}, or it was delisted. Look it up at finance.yahoo.com: other "
        "exchanges carry a suffix (VOD.L), indices a caret (^GSPC), crypto a currency (BTC-USD)."
    )


def no_bars(request: Request) -> NoBars:
    """Say that the range is empty."""
    span = f"from {request.start or 'its first'} to {request.end or 'now'}"
    return NoBars(
        f"Yahoo has no closed {request.interval} bars of {request.ticker} {span}. "
        "Ask for a range with trading days in it, after the ticker's listing."
    )
