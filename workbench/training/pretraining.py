"""Training the recurrent base of a larger model first, as a model of its own."""

import threading
from dataclasses import replace
from typing import Any

from torch import nn

from workbench.features.windows import Windows
from workbench.models.registry import build_model
from workbench.models.spec import check_windows
from workbench.training.fitting import fit
from workbench.training.history import History
from workbench.training.prediction import placement
from workbench.training.turns import turn


def pretrain(
    model: nn.Module,
    train: Windows,
    valid: Windows,
    seed: int = 0,
    stop: threading.Event | None = None,
    **options: Any,
) -> History:
    """Train the base of GATs, HIST or TRA with a head of its own, and put it into the model.

    The base becomes the "lstm" or "gru" of the registry, of the same size, that reads the same features (of
    HIST and TRA: without concepts, market cap and past label) window by window. HIST was published with its
    base trained so; `fit(model, train, valid, …)` then trains the whole from there.

    Parameters
    ----------
    model
        A model with an nn.LSTM or nn.GRU as its `base`. Only that is changed.
    train, valid, seed, stop, **options
        As of `fit`; the seed also draws the base's first weights. A `checkpoint`, if any, must be in another
        folder than that of the whole.

    Returns
    -------
    History
        Of the base's training.

    Raises
    ------
    TypeError
        The model has no such base.
    ValueError, FloatingPointError
        As of `fit`.
    """
    base = getattr(model, "base", None)
    if not isinstance(base, nn.LSTM | nn.GRU):
        raise TypeError(
            f"pretrain needs a model whose `base` is an nn.LSTM or nn.GRU, such as gats, hist or tra. "
            f"{type(model).__name__} has {'none' if base is None else f'a {type(base).__name__}'}: use fit."
        )
    for windows in (train, valid):
        check_windows(model, windows)
    read = getattr(model, "read", range(train.n_features))
    name = "lstm" if isinstance(base, nn.LSTM) else "gru"
    part, rest = _narrowed(train, read), _narrowed(valid, read)
    size = {"hidden_size": base.hidden_size, "n_layers": base.num_layers}
    dropout = getattr(getattr(model, "dropout", None), "p", base.dropout)
    alone = build_model(name, part, seed, dropout=dropout, **size).to(*placement(model))
    history = fit(alone, part, rest, seed, stop, **options)
    with turn(model):
        base.load_state_dict(alone.get_submodule(name).state_dict())
    return history


def _narrowed(windows: Windows, columns: list[int] | range) -> Windows:
    """Return the windows with these columns alone."""
    chosen = list(columns)
    names = tuple(windows.feature_names[i] for i in chosen)
    return replace(windows, bars=windows.bars[:, chosen], feature_names=names)
