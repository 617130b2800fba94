"""Figures that others published, of other data: to be cited beside ours, never mixed with them."""

import pandas as pd

CITATION = (
    "CSI 300, 20 seeds, by the benchmark page of microsoft/qlib "
    "(https://github.com/microsoft/qlib/tree/main/examples/benchmarks): other stocks, features, years and "
    "labels than here, so no figure of ours can be held against them"
)

_FIGURES = {  # model → (IC, rank IC) with Alpha360, with Alpha158
    "transformer": ((0.0114, 0.0327), None),
    "localformer": ((0.0404, 0.0542), None),
    "alstm": ((0.0497, 0.0599), (0.0362, 0.0463)),
    "lstm": ((0.0448, 0.0549), None),
    "gru": ((0.0493, 0.0584), None),
    "tcn": ((0.0441, 0.0519), None),
    "gats": ((0.0476, 0.0598), None),
    "tra": ((0.0485, 0.0587), (0.0404, 0.0490)),
    "tabnet": ((0.0099, 0.0290), None),
    "hist": ((0.0522, 0.0667), None),
    "sfm": (None, (0.0379, 0.0464)),
    "lightgbm": ((0.0400, 0.0499), (0.0448, 0.0469)),
}


def published() -> pd.DataFrame:
    """Return the published IC and rank IC by model, NaN where none is; `attrs["citation"]` says of what."""
    missing = (float("nan"), float("nan"))
    rows = {name: [*(long or missing), *(short or missing)] for name, (long, short) in _FIGURES.items()}
    columns = ["Alpha360 IC", "Alpha360 rank IC", "Alpha158 IC", "Alpha158 rank IC"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("model")
    table.attrs["citation"] = CITATION
    return table
