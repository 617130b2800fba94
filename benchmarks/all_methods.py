"""What every method of `explain` costs, as a multiple of predicting the same windows.

    python benchmarks/all_methods.py

Per window, one thread, processor time of this process, contestants interleaved; medians of the ratios of the
rounds. The windows are those of the bundled prices of AAPL; the model is the published shape, 4 layers, 128
wide, 8 heads, untrained, since weights do not change the cost (but for flow, whose solver stops earlier on
some graphs). Each method runs with its defaults, and its predictions are in its time.

- forward: predictions in batches of 64, every query of every layer computed.
"""

from functools import partial

import contests
import record

from workbench.explainers.explanation import explain
from workbench.explainers.methods import METHODS

ASKABLE = [name for name, method in METHODS.items() if not method.inside]  # the others are of other models
QUICK, SOLVED, SLOW, SLOWEST = 192, 48, 8, 2  # windows a round
ASKED = {"flow": SOLVED, "occlusion": SLOW, "integrated_gradients": SLOW, "gradient_shap": SLOW}
ASKED |= {"kernel_shap": SLOWEST, "lime": SLOWEST}


def contest(lookback: int, rounds: int, device: str) -> list[dict[str, float | int | str]]:
    """Ratios at one lookback, a row a method."""
    model, windows = contests.published(lookback, device)
    contestants: dict[str, contests.Contestant] = {
        "forward": (partial(contests.predict, model, windows[-QUICK:]), QUICK)
    }
    for name in ASKABLE:
        count = ASKED.get(name, QUICK)
        contestants[name] = partial(explain, model, windows[-count:], name), count
    times = contests.interleaved(contestants, rounds, device)
    return [
        {
            "lookback": lookback,
            "method": name,
            "windows": contestants[name][1],
            "ms a window": times.ms(name),
            "÷ forward": times.ratio(name, "forward"),
        }
        for name in ASKABLE
    ]


def main() -> None:
    """Print a table and write benchmarks/results/all_methods.json."""
    arguments = contests.asked(contests.parser(__doc__, [20, 60], rounds=7))
    rows = []
    for lookback in arguments.lookbacks:
        rows += contest(lookback, arguments.rounds, arguments.device)
    contests.table(rows)
    packages = ("numpy", "torch", "numba")
    told = {"rounds": arguments.rounds, "rows": rows}
    record.write(contests.name_of("all_methods", arguments.device), told, packages)


if __name__ == "__main__":
    main()
