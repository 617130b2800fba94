"""Feature columns that say something about a stock rather than describe its bar, known by their names."""

from collections.abc import Sequence

CONCEPT = "concept:"  # concept:<name>: 0 or 1, or how far the stock belongs to it
MARKET_CAP = "market_cap"
PAST_LABEL = "past_label"  # the label that became known at the bar
LAST = " / last "  # VOLUME / last volume: divided by what VOLUME / last volume is at the window's last bar


def concept_columns(feature_names: Sequence[str]) -> list[int]:
    """Return where the columns of concepts stand."""
    return [i for i, name in enumerate(feature_names) if name.startswith(CONCEPT)]


def column_of(feature_names: Sequence[str], name: str) -> int | None:
    """Return where the column stands, None if there isn't one."""
    return list(feature_names).index(name) if name in feature_names else None


def side_columns(feature_names: Sequence[str]) -> tuple[int, ...]:
    """Return where concepts, market cap and past label stand, which HIST and TRA read as no features."""
    sides = (MARKET_CAP, PAST_LABEL)
    return tuple(i for i, n in enumerate(feature_names) if n.startswith(CONCEPT) or n in sides)


def anchors_of(feature_names: Sequence[str]) -> dict[int, int]:
    """Return which columns are divided by another's last value, such as "OPEN / last close" by the close's.

    Raises ValueError where that other column, "CLOSE / last close", is not there.
    """
    places = {name: i for i, name in enumerate(feature_names)}
    found: dict[int, int] = {}
    for name, i in places.items():
        _, divided, by = name.partition(LAST)
        if divided:
            anchor = f"{by.upper()}{LAST}{by}"
            if anchor not in places:
                raise ValueError(f"The column {name!r} needs {anchor!r} beside it: add it to the features.")
            found[i] = places[anchor]
    return found
