"""What the methods that show the inside of one model cost, as a multiple of predicting the same windows.

    python benchmarks/inside_methods.py

Per window, one thread, processor time of this process, contestants interleaved; medians of the ratios of the
rounds. The windows are 50 days of the 20 bundled stocks, with sectors and past labels; the models those of
the registry, untrained, since weights do not change the cost. Predictions are in a method's time.
"""

from functools import partial

import contests
import record

from workbench.explainers.explanation import explain
from workbench.features.concepts import with_concepts
from workbench.features.indicators import make_features
from workbench.features.labels import forward_return
from workbench.features.past import with_past_label
from workbench.features.windows import Windows
from workbench.market.loading import list_tickers, load_panel
from workbench.market.sample import sectors
from workbench.models.registry import build_model
from workbench.training.prediction import predict

DAYS = 50
SHOWN = {
    "decomposition": "alstm",
    "modules": "hist",
    "concepts": "hist",
    "neighbours": "gats",
    "neighbours (rollout)": "asset_transformer",
    "frequencies": "sfm",
    "routing": "tra",
    "masks": "tabnet",
}


def windows_of(lookback: int) -> Windows:
    """The last days of the bundled panel."""
    prices = load_panel(list_tickers("sample20"), "sample20", start="2021")
    labels = forward_return(prices)
    features = with_concepts(make_features(prices), sectors(), since="2021")
    windows = Windows.of(with_past_label(features, labels), labels, lookback)
    return windows[windows.dates >= windows.dates.unique()[-DAYS]]


def contest(lookback: int, rounds: int) -> list[dict[str, float | int | str]]:
    """Ratios at one lookback, a row a method."""
    windows = windows_of(lookback)
    contestants: dict[str, contests.Contestant] = {}
    for shown, name in SHOWN.items():
        model, count = build_model(name, windows).eval(), len(windows)
        contestants[f"predict for {shown}"] = partial(predict, model, windows), count
        contestants[shown] = partial(explain, model, windows, shown.partition(" ")[0]), count
    times = contests.interleaved(contestants, rounds)
    return [
        {
            "lookback": lookback,
            "method": shown,
            "model": name,
            "windows": len(windows),
            "ms a window": times.ms(shown),
            "÷ predict": times.ratio(shown, f"predict for {shown}"),
        }
        for shown, name in SHOWN.items()
    ]


def main() -> None:
    """Print a table and write benchmarks/results/inside_methods.json."""
    arguments = contests.asked(contests.parser(__doc__, [20], rounds=9))
    rows = [row for lookback in arguments.lookbacks for row in contest(lookback, arguments.rounds)]
    contests.table(rows)
    record.write("inside_methods", {"rounds": arguments.rounds, "rows": rows}, ("numpy", "torch"))


if __name__ == "__main__":
    main()
