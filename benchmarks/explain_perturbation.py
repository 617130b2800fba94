"""Methods that ask a model many times, against one plain pass, and against captum's own defaults.

    python benchmarks/explain_perturbation.py

Per window, one thread, processor time of this process, contestants interleaved; medians of the ratios of the
rounds. The windows are those of the bundled prices of AAPL; the model is the published shape, 4 layers, 128
wide, 8 heads, untrained, since weights do not change the cost.

- forward: predictions in batches of 64, every query of every layer computed.
- ours: `workbench.explain(model, windows, method)` with its defaults, 512 samples or 50 points on the path.
- captum: the same method of captum with its defaults, one window and one perturbation at a time; LIME with a
  linear regression for its surrogate. The model leaves out the last layer's other queries, as for ours.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import record
import torch
from captum._utils.models.linear_model import SkLearnLinearRegression
from captum.attr import (
    GradientShap,
    IntegratedGradients,
    KernelShap,
    Lime,
    Occlusion,
)
from torch import Tensor

from workbench.explainers.explanation import explain
from workbench.features.indicators import make_features
from workbench.features.labels import label_moves
from workbench.features.windows import Windows
from workbench.market.loading import load_prices
from workbench.models.transformer import TradingTransformer

TARGET = 2
ASKED = {  # windows each method explains a round, by lookback
    20: {
        "forward": 512,
        "integrated_gradients": 24,
        "gradient_shap": 24,
        "kernel_shap": 8,
        "lime": 8,
        "occlusion": 96,
    },
    60: {
        "forward": 192,
        "integrated_gradients": 8,
        "gradient_shap": 8,
        "kernel_shap": 2,
        "lime": 2,
        "occlusion": 16,
    },
}


def forward(model: TradingTransformer, windows: Windows) -> None:
    """Predict in batches of 64, every query computed."""
    model.prune = False
    with torch.no_grad():
        for start in range(0, len(windows), 64):
            model(windows.batch(slice(start, start + 64)))
    model.prune = True


def captum(method: str, model: TradingTransformer, windows: Windows) -> np.ndarray:
    """Explain windows one by one as captum does by default."""
    length, width = windows.lookback, windows.n_features
    bars = torch.arange(length)[:, None].expand(length, width)[None]
    base = model.scaling.mean.expand(1, length, width)
    asks: dict[str, Callable[[Tensor], Tensor]] = {
        "integrated_gradients": lambda x: IntegratedGradients(model).attribute(x, base, target=TARGET),
        "gradient_shap": lambda x: GradientShap(model).attribute(x, base, n_samples=50, target=TARGET),
        "kernel_shap": lambda x: KernelShap(model).attribute(
            x, base, TARGET, feature_mask=bars, n_samples=512
        ),
        "lime": lambda x: Lime(model, SkLearnLinearRegression()).attribute(
            x, base, TARGET, feature_mask=bars, n_samples=512
        ),
        "occlusion": lambda x: Occlusion(model).attribute(x, (1, width), baselines=base, target=TARGET),
    }
    ask = asks[method]
    return np.stack(
        [ask(windows.x[i : i + 1].clone().requires_grad_())[0].detach() for i in range(len(windows))]
    )


def seconds_each(work: Callable[[], object], windows: int) -> float:
    """Processor seconds of `work`, by window."""
    start = time.process_time()
    work()
    return (time.process_time() - start) / windows


def contest(lookback: int, rounds: int, with_captum: bool) -> list[dict[str, float | int | str]]:
    """Ratios at one lookback, a row a method."""
    prices = load_prices("AAPL")
    windows = Windows.of(make_features(prices), label_moves(prices), lookback)
    torch.manual_seed(0)
    model = TradingTransformer(windows.n_features, max_seq_len=lookback, dropout=0.0).eval()
    asked = ASKED[lookback]
    methods = [name for name in asked if name != "forward"]
    contestants: dict[str, tuple[Callable[[], object], int]] = {}
    for name, count in asked.items():
        some = windows[-count:]
        ours = partial(explain, model, some, name, target="buy")
        contestants[name] = (partial(forward, model, some) if name == "forward" else ours, count)
    if with_captum:
        one = windows[-1:]
        contestants |= {f"captum {name}": (partial(captum, name, model, one), 1) for name in methods}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 1):
        for name, (work, count) in contestants.items():
            spent = seconds_each(work, count)
            if round_:  # the first warms up
                times[name].append(spent)

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))

    return [
        {
            "lookback": lookback,
            "method": name,
            "ms a window": 1e3 * statistics.median(times[name]),
            "÷ forward": ratio(name, "forward"),
            **({"captum ÷ ours": ratio(f"captum {name}", name)} if with_captum else {}),
        }
        for name in methods
    ]


def main() -> None:
    """Print a table and write benchmarks/results/explain_perturbation.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--lookbacks", type=int, nargs="+", default=list(ASKED))
    parser.add_argument("--without-captum", action="store_true", help="only ours; writes nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for lookback in arguments.lookbacks:
        rows += contest(lookback, arguments.rounds, not arguments.without_captum)
    for row in rows:
        print(
            " | ".join(
                f"{key} {value:.3g}" if isinstance(value, float) else str(value) for key, value in row.items()
            )
        )
    if not arguments.without_captum:
        packages = ("numpy", "torch", "captum")
        record.write("explain_perturbation", {"rounds": arguments.rounds, "rows": rows}, packages)


if __name__ == "__main__":
    main()
