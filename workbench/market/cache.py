"""Prices kept on disk: fetched once, extended when more is asked for, there when the network isn't."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from workbench.market.archive import Archive, Fetch
from workbench.market.cache_entry import Entry, cache_folder, entry_path
from workbench.market.frame import Request
from workbench.market.patience import Unreachable, utc_now
from workbench.market.stretches import Grid


def cached(
    request: Request,
    source: str,
    fetch: Fetch,
    folder: str | Path | None = None,
    refresh: bool = False,
    clock: Callable[[], pd.Timestamp] = utc_now,
) -> pd.DataFrame:
    """Prices of a request, from disk as far as they are there and from `fetch` where they aren't.

    What is kept are stretches of time with all their bars, so that a range known to be empty, such as years
    before a listing, isn't asked for again. A stretch that a request overlaps or adjoins is extended by what
    is missing, with 5 of its bars fetched once more: if their prices changed, since a dividend or split has
    rescaled history, or if the extension alone cannot be had, the whole request is fetched and replaces it.

    An open end, or one from the last days on, means up to now. An answer to that is good for one bar, and for
    an hour at most; once the bar of the present UTC day is there, to the end of that day.

    Parameters
    ----------
    request
        What is asked for.
    source
        Name of the source, part of the file's path.
    fetch
        Gets prices from the source; raises `Unreachable` when it can't be asked, `NoBars` when it has none.
    folder
        Where entries lie: `<folder>/<source>/<ticker>/<interval>.parquet`. Default: `cache_folder()`.
    refresh
        Fetch the request anew and forget what was kept of the series.
    clock
        The present moment, in UTC.

    Returns
    -------
    DataFrame
        Prices. provenance["fetched_at"] is when the source was last asked; provenance["age"] is there when it
        couldn't be asked now.

    Warns
    -----
    UserWarning
        The source is out of reach and the cache serves a request up to now, or a file is damaged and is
        fetched anew, or it cannot be written.

    Raises
    ------
    SourceError
        As `fetch` raises it; if the source is out of reach, the message says which range the cache holds.
    """
    path = entry_path(Path(folder) if folder is not None else cache_folder(), source, request)
    grid = Grid(request.interval, clock())
    entry = Entry.empty(request.interval) if refresh else Entry.read(path, request.interval)
    archive = Archive(entry, request, source, grid)
    if archive.in_the_future:
        return fetch(request)
    stretch = archive.complete()
    if stretch is None:
        try:
            archive, stretch = archive.extended(fetch)
        except Unreachable as error:
            if refresh:
                raise
            return _out_of_reach(archive, error)
        if archive.entry is not entry:
            archive.entry.write(path)
    return archive.prices(stretch)


def _out_of_reach(archive: Archive, error: Unreachable) -> pd.DataFrame:
    """Prices that lack only their newest bars, with a warning; or the error, saying what there is."""
    stretch = archive.lacking_the_newest()
    if stretch is None:
        raise Unreachable(f"{error} {archive.held()}", error.wait, error.again) from error
    prices = archive.prices(stretch)
    age = str((archive.grid.now - stretch.fetched).floor("s"))
    warnings.warn(
        f"{error} Meanwhile these are cached prices up to {prices.index[-1]}, fetched {age} ago.",
        stacklevel=5,
    )
    prices.attrs["provenance"]["age"] = age
    return prices
