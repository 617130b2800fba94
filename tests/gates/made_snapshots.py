"""Snapshots made of random numbers, of an LSTM and a GRU that never ran."""

from dataclasses import replace

import numpy as np
import pandas as pd

from workbench.gates.snapshots import Snapshot

UNITS, FEATURES, LAGS = 8, ("return_1", "volume"), 10
EPOCHS = 6
OF_KIND = {"lstm": ("input", "forget", "candidate", "output"), "gru": ("reset", "update", "candidate")}


def made_snapshot(seed: int, epoch: int = 1, kind: str = "lstm", units: int = UNITS) -> Snapshot:
    """A healthy one: its signals drift a little from epoch to epoch, and differ a little by seed."""
    rng = np.random.default_rng([seed, epoch])
    return Snapshot(
        epoch=epoch,
        step=10 * epoch,
        progress=epoch / EPOCHS,
        units=unit_table(rng, epoch, kind, units),
        weights=weight_table(rng, kind),
        inputs=pd.DataFrame(
            {"mean": 0.001, "spread": 0.02, "largest": 3.0, "unchanged": 0.01, "missing": 0.0},
            index=pd.Index(FEATURES, name="feature"),
        ),
        lags=pd.DataFrame(
            {"input_gradient": 0.7 ** np.arange(LAGS) * rng.lognormal(0, 0.1)},
            index=pd.RangeIndex(LAGS, name="lag"),
        ),
        figures={"train_loss": 1.1 - 0.01 * epoch, "valid_loss": 1.1, "valid_mcc": np.nan, "lr": 1e-3},
    )


def unit_table(rng: np.random.Generator, epoch: int, kind: str, units: int) -> pd.DataFrame:
    """Signals by (layer, unit), those of the other kind's gates NaN."""
    gates = OF_KIND[kind]
    names = [f"{g}_{s}" for g in OF_KIND["lstm"] + OF_KIND["gru"][:2] for s in ("mean", "saturation_right")]
    table = {name: np.full(units, np.nan) for name in names}
    for gate in gates:
        table[f"{gate}_mean"] = 0.5 + 0.01 * epoch + 0.05 * rng.normal(size=units)
        table[f"{gate}_saturation_right"] = np.abs(0.05 * rng.normal(size=units))
    table["hidden_mean"] = 0.1 * rng.normal(size=units)
    table["hidden_spread"] = 0.2 + 0.02 * rng.normal(size=units)
    table["cell_spread"] = rng.lognormal(0, 0.1, units) if kind == "lstm" else np.full(units, np.nan)
    table["memory_length"] = rng.lognormal(1, 0.1, units)
    table["dead"] = np.zeros(units)
    table["frozen"] = np.full(units, np.nan if epoch == 1 else 0.0)
    index = pd.MultiIndex.from_product([[f"{kind}.l0"], range(units)], names=["layer", "unit"])
    return pd.DataFrame(table, index)


def weight_table(rng: np.random.Generator, kind: str) -> pd.DataFrame:
    """Signals by (parameter, gate)."""
    rows = [(f"{kind}.{n}_l0", g) for n in ("weight_ih", "weight_hh", "bias_ih") for g in OF_KIND[kind]]
    index = pd.MultiIndex.from_tuples([*rows, ("head.weight", "")], names=["parameter", "gate"])
    count = len(index)
    return pd.DataFrame(
        {
            "gradient_norm": rng.lognormal(-3, 0.1, count),
            "weight_norm": rng.lognormal(1, 0.02, count),
            "update_ratio": rng.lognormal(-5, 0.1, count),
            "update_frequency": np.clip(0.3 + 0.05 * rng.normal(size=count), 0, 1),
            "not_finite": np.zeros(count),
        },
        index,
    )


def made_runs(seeds: range, kind: str = "lstm") -> list[Snapshot]:
    """Healthy runs one after the other."""
    return [made_snapshot(seed, epoch, kind) for seed in seeds for epoch in range(1, EPOCHS + 1)]


def with_values(snapshot: Snapshot, table: str, rows: object, column: str, value: float) -> Snapshot:
    """The snapshot with one cell, or some, of a table replaced."""
    frame = getattr(snapshot, table).copy()
    frame.loc[rows, column] = value
    return replace(snapshot, **{table: frame})
