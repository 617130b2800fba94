"""Networks by name, with defaults that train in seconds on a laptop."""

import difflib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import nn

from workbench.models.alstm import ALSTM
from workbench.models.asset_transformer import AssetTransformer
from workbench.models.columns import anchors_of
from workbench.models.gats import GATs
from workbench.models.hist import HIST
from workbench.models.localformer import Localformer
from workbench.models.recurrent import GRUModel, LSTMModel
from workbench.models.scaling import InputScaling
from workbench.models.seeds import seeded
from workbench.models.sfm import SFM
from workbench.models.spec import ModelSpec, WindowsLike
from workbench.models.tabnet import TabNet
from workbench.models.tcn import TCN
from workbench.models.tra import TRA
from workbench.models.transformer import TradingTransformer


@dataclass(frozen=True)
class Entry:
    """One network of the registry.

    Attributes
    ----------
    network
        Its class. One with `cross_sectional = True` answers for a stock by looking at the others: its batch
        is the windows of one day, one a ticker, and the rows must not come from several days.
        One that takes `feature_names`, `horizon` or `lookback` is given those of the windows.
    defaults
        What differs here from the class's defaults.
    what
        A sentence on what it is.
    needs
        What the windows must hold beside features, in words; empty if nothing.
    """

    network: Callable[..., nn.Module]
    defaults: dict[str, Any]
    what: str
    needs: str = ""

    @property
    def cross_sectional(self) -> bool:
        """Whether a batch must be the windows of one day."""
        return bool(getattr(self.network, "cross_sectional", False))


NETWORKS = {
    "transformer": Entry(
        TradingTransformer,
        {"d_model": 32, "n_heads": 4, "n_layers": 2, "d_ff": 128},
        "transformer encoder, read at the last bar",
    ),
    "lstm": Entry(LSTMModel, {"n_layers": 1}, "LSTM, read at the last bar"),
    "gru": Entry(GRUModel, {"n_layers": 1}, "GRU, read at the last bar"),
    "alstm": Entry(ALSTM, {"n_layers": 1}, "LSTM or GRU, its states weighed by attention over time"),
    "tcn": Entry(
        TCN,
        {"channels": 32, "n_layers": 4, "dropout": 0.1},
        "dilated causal convolutions, read at the last bar",
    ),
    "sfm": Entry(
        SFM,
        {"hidden_size": 32, "n_frequencies": 10, "output_width": 16},
        "recurrent network whose memory is kept by frequency, read at the last bar",
    ),
    "tabnet": Entry(
        TabNet,
        {"n_d": 8, "n_a": 8, "n_steps": 3, "momentum": 0.1},
        "steps that each choose which values of the window to look at",
    ),
    "localformer": Entry(
        Localformer,
        {"d_model": 32, "d_ff": 128},
        "transformer encoder with a convolution before each layer and a GRU after the last",
    ),
    "gats": Entry(
        GATs,
        {"n_layers": 1, "dropout": 0.1},
        "LSTM or GRU, then graph attention over the stocks of the day",
    ),
    "hist": Entry(
        HIST,
        {"n_layers": 1},
        "LSTM or GRU, then what a stock shares with concepts, with stocks like it, and what is its own",
        "columns concept:<name>, from with_concepts(features, membership)",
    ),
    "tra": Entry(
        TRA,
        {"n_layers": 1},
        "LSTM or GRU with several predictors, and a router that chooses one for each window",
        "a column past_label, from with_past_label(features, labels)",
    ),
    "asset_transformer": Entry(
        AssetTransformer,
        {"d_model": 32, "d_ff": 128},
        "an encoder over time for every asset, then a transformer over the assets of the day",
    ),
}
# What the windows decide, not the caller.
FROM_WINDOWS = ("input_dim", "n_classes", "task", "feature_names", "horizon", "lookback")


def build_model(name: str, windows: WindowsLike, seed: int = 0, **overrides: Any) -> nn.Module:
    """Build a network for these windows, its first weights drawn from `seed`.

    Parameters
    ----------
    name
        A name from `list_models()`.
    windows
        The windows it will read: their features, lookback, task, classes and horizon.
    seed
        Same seed, same weights; the caller's own random state is left as it was.
    **overrides
        Options of the network in place of the registry's defaults, such as d_model=64.

    Returns
    -------
    nn.Module
        Maps (batch, time, feature) to (batch, output); `.spec` says how it was built.
    """
    options = options_for(name, windows.lookback, overrides)
    spec = ModelSpec(
        name=name,
        options=options,
        feature_names=tuple(windows.feature_names),
        lookback=windows.lookback,
        task=windows.task,
        classes=tuple(windows.classes),
        horizon=windows.horizon,
        seed=seed,
    )
    return rebuild(spec)


def rebuild(spec: ModelSpec) -> nn.Module:
    """Build the untrained network that `spec` describes."""
    shape: dict[str, Any] = {"input_dim": len(spec.feature_names), "task": spec.task}
    if spec.task == "classification":
        shape["n_classes"] = len(spec.classes)
    network = entry(spec.name).network
    for asked in ("feature_names", "horizon", "lookback"):
        if asked in inspect.signature(network).parameters:
            shape[asked] = getattr(spec, asked)
    with seeded(spec.seed):
        model = network(**shape, **spec.options)
    scaling = getattr(model, "scaling", None)
    if isinstance(scaling, InputScaling):
        scaling.anchor_(anchors_of(spec.feature_names))
    model.spec = spec  # pyright: ignore[reportArgumentType]  (nn.Module's stub knows tensors and modules only)
    return model


def list_models() -> pd.DataFrame:
    """Return the networks by name: what each is and needs, its class, and the options it has by default."""
    rows = {
        name: [e.what, _needs(e), e.network.__name__, options_for(name, 0, {})]
        for name, e in NETWORKS.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["what", "needs", "class", "options"])
    return table.rename_axis("name")


def _needs(found: Entry) -> str:
    """Say what the windows must be for the network, in words."""
    days = "a panel: a batch is one day's windows" if found.cross_sectional else ""
    return "; ".join(part for part in (days, found.needs) if part)


def entry(name: str) -> Entry:
    """Return the registry's entry, or raise ValueError with the names there are."""
    if name not in NETWORKS:
        raise ValueError(f"There is no model {name!r}. {one_of(name, NETWORKS)}")
    return NETWORKS[name]


def options_for(name: str, lookback: int, overrides: dict[str, Any]) -> dict[str, Any]:
    """Return every option that `name` will be built with; an unknown one is refused."""
    found = entry(name)
    known = {
        option: parameter.default
        for option, parameter in inspect.signature(found.network).parameters.items()
        if option not in FROM_WINDOWS
    }
    for option in overrides:
        if option in FROM_WINDOWS:
            raise ValueError(f"{option} follows from the windows; change the features or the labels instead.")
        if option not in known:
            raise ValueError(f"The model {name!r} has no option {option!r}. {one_of(option, known)}")
    options = known | found.defaults | overrides
    if "max_seq_len" in options and "max_seq_len" not in overrides:
        options["max_seq_len"] = max(options["max_seq_len"], lookback)
    return options


def one_of(wrong: str, right: Iterable[str]) -> str:
    """Return the sentence that helps after a name that doesn't exist."""
    names = list(right)
    near = difflib.get_close_matches(wrong, names, n=1)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return f"{guess}There are: {', '.join(names)}."
