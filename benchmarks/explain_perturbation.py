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

from collections.abc import Callable
from functools import partial

import contests
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
from workbench.features.windows import Windows
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


def captum(method: str, model: TradingTransformer, windows: Windows) -> np.ndarray:
    """Explain windows one by one as captum does by default."""
    length, width = windows.lookback, windows.n_features
    bars = torch.arange(length)[:, None].expand(length, width)[None]
    base = model.scaling.mean.expand(1, length, width)
    bars = bars.to(base.device)
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
        [
            ask(windows.x[i : i + 1].to(base.device).clone().requires_grad_())[0].detach().cpu()
            for i in range(len(windows))
        ]
    )


def contest(lookback: int, rounds: int, device: str, with_captum: bool) -> list[dict[str, float | int | str]]:
    """Ratios at one lookback, a row a method."""
    model, windows = contests.published(lookback, device)
    counts = ASKED[lookback]
    methods = [name for name in counts if name != "forward"]
    contestants: dict[str, contests.Contestant] = {
        "forward": (partial(contests.predict, model, windows[-counts["forward"] :]), counts["forward"])
    }
    for name in methods:
        some = windows[-counts[name] :]
        contestants[name] = (partial(explain, model, some, name, target="buy"), counts[name])
    if with_captum:
        one = windows[-1:]
        contestants |= {f"captum {name}": (partial(captum, name, model, one), 1) for name in methods}
    times = contests.interleaved(contestants, rounds, device)
    return [
        {
            "lookback": lookback,
            "method": name,
            "ms a window": times.ms(name),
            "÷ forward": times.ratio(name, "forward"),
            **({"captum ÷ ours": times.ratio(f"captum {name}", name)} if with_captum else {}),
        }
        for name in methods
    ]


def main() -> None:
    """Print a table and write benchmarks/results/explain_perturbation.json."""
    parser = contests.parser(__doc__, ASKED, rounds=7)
    parser.add_argument("--without-captum", action="store_true", help="only ours; writes nothing")
    arguments = contests.asked(parser)
    rows = []
    for lookback in arguments.lookbacks:
        rows += contest(lookback, arguments.rounds, arguments.device, not arguments.without_captum)
    contests.table(rows)
    if not arguments.without_captum:
        told = {"rounds": arguments.rounds, "rows": rows}
        record.write(
            contests.name_of("explain_perturbation", arguments.device), told, ("numpy", "torch", "captum")
        )


if __name__ == "__main__":
    main()
