"""How windows are made of their prices again, told along with where the prices came from."""

from typing import Any

import pandas as pd

from workbench.features.panels import keys_of

__all__ = ["provenance_of", "with_split"]


def provenance_of(features: pd.DataFrame, labels: pd.Series) -> dict[str, Any]:
    """Return where the prices came from, and how the windows are made of them again.

    To the prices' own provenance it adds `bars`, first and last; `features`, as `make_features` told; and
    `labels`, as `label_moves` or `forward_return` did. What was made in another way tells nothing.
    """
    dates, _ = keys_of(features.index)
    first, last = (moment.isoformat() for moment in dates.sort_values()[[0, -1]])
    told: dict[str, Any] = {"bars": {"first": first, "last": last}}
    if "features" in features.attrs:
        told["features"] = dict(features.attrs["features"])
    attrs = labels.attrs
    if {"threshold", "scale"} <= attrs.keys():
        options = {name: attrs[name] for name in ("horizon", "threshold", "scale")}
        told["labels"] = {"kind": "label_moves", **options}
    elif labels.name == "forward_return":
        told["labels"] = {"kind": "forward_return", "horizon": attrs["horizon"]}
    return {**features.attrs.get("provenance", {}), **told}


def with_split(provenance: dict[str, Any], valid: pd.DatetimeIndex, test: pd.DatetimeIndex) -> dict[str, Any]:
    """Return the provenance with `split`: the first decision dates of valid and of test."""
    begins = [moment.isoformat() for dates in (valid, test) for moment in dates.sort_values()[:1]]
    return {**provenance, "split": dict(zip(("valid", "test"), begins, strict=True))}
