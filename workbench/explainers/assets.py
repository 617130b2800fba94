"""How far the forecast of each asset draws on each other one, by rollout through attention over assets.

The attention of a shared encoder over time is another stack, of bars, and stays out: what it hands on is the
token of one asset. So a row says which assets' tokens the answer of one is made of, and says nothing of their
bars.
"""

from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.explainers.batches import unwatched
from workbench.explainers.capture import check_seen, checked_module, watching
from workbench.explainers.chains import chain
from workbench.explainers.joining import RolloutOptions
from workbench.explainers.null import null_row
from workbench.explainers.recorder import Recorder
from workbench.explainers.softmax import AttentionLayer
from workbench.explainers.stacks import check_stack
from workbench.explainers.watching import Watch
from workbench.features.windows import Windows
from workbench.models.spec import check_windows
from workbench.training.coverage import check_finite
from workbench.training.days import cross_sections
from workbench.training.prediction import check_output, placement


@dataclass(frozen=True)
class AssetShares:
    """What each window's answer draws on, by asset.

    Attributes
    ----------
    shares
        (window, asset), rows summing to one; 0 for an asset without a window on that day.
    null
        What even attention would show; None with `discard`, since evenness ranks nothing.
    outputs
        The model's raw outputs.
    assets
        Names of the columns: every ticker of the windows, in order.
    """

    shares: Float[Tensor, "window asset"]
    null: Float[Tensor, "window asset"] | None
    outputs: Float[Tensor, "window output"]
    assets: tuple[str, ...]


def asset_rollout(
    model: nn.Module, windows: Windows, options: RolloutOptions | None = None, watch: Watch | None = None
) -> AssetShares:
    """Return the rollout of attention over assets, day by day, in the passes that predict.

    Parameters
    ----------
    model
        One whose tokens are assets: its `attends_over_assets` is a pattern of the names of the layers that
        attend over them, as in `AssetTransformer`.
    windows
        Of as many days and tickers as wanted. A day's answers hang on which tickers are there.
    options
        As of `rollout`.
    watch
        Follows it day by day, or ends it.

    Raises
    ------
    ValueError
        The model has no attention over assets, or it isn't one stack over the windows of a day.
    """
    options, watch = options or RolloutOptions(), watch or Watch()
    check_windows(model, windows)
    check_finite(windows)
    module = checked_module(model, windows.batch(slice(0, 1)))
    _pattern(module)
    (device, dtype), assets = placement(module), sorted(set(windows.tickers.tolist()))
    column = {ticker: i for i, ticker in enumerate(assets)}
    columns = torch.tensor([column[ticker] for ticker in windows.tickers.tolist()])
    shares, null = torch.zeros(2, len(windows), len(assets), dtype=dtype)
    outputs, done = torch.empty(len(windows), windows.n_outputs, dtype=dtype), 0
    with torch.no_grad(), watching(module, full=False) as recorder:
        for rows in cross_sections(windows):
            recorder.clear()
            output = module(windows.batch(rows).to(device, dtype))
            check_output(output, len(rows), windows)
            layers = _over_assets(module, recorder, options, len(rows))
            with unwatched(recorder):
                itself = torch.eye(len(rows), dtype=dtype, device=device)
                place = rows[:, None], columns[rows]
                shares[place] = chain(layers, itself[None], options)[0].cpu()
                null[place] = null_row(layers, itself, options.residual).cpu()
            outputs[rows] = output.cpu()
            done += len(rows)
            watch.report(done, len(windows))
    _check_finite(shares)
    return AssetShares(shares, None if options.discard else null, outputs, tuple(assets))


def _pattern(module: nn.Module) -> str:
    pattern = getattr(module, "attends_over_assets", None)
    if not isinstance(pattern, str):
        raise ValueError(
            f"{type(module).__name__} does not say how far one asset draws on another, because its tokens "
            "are no assets. Build 'asset_transformer', or name the layers of your own model that attend over "
            "the assets of a day in its attribute attends_over_assets, such as 'layers.*'"
        )
    return pattern


def _over_assets(
    module: nn.Module, recorder: Recorder, options: RolloutOptions, assets: int
) -> list[AttentionLayer]:
    """Return the layers that attended over the assets of the day, or say why they are no way through."""
    check_seen(module, recorder)
    pattern = _pattern(module)
    named = zip(recorder.names, recorder.layers, strict=True)
    found = {name: layer for name, layer in named if fnmatch(name, pattern)}
    if not found:
        raise ValueError(
            f"no attention of {type(module).__name__} matches attends_over_assets={pattern!r}; "
            f"there are {', '.join(recorder.names)}"
        )
    layers = list(found.values())
    check_stack(layers, list(found), options.start_layer)
    if layers[0].weight_shape[0] != 1 or layers[0].keys != assets:
        raise ValueError(
            f"{next(iter(found))} attends over {layers[0].keys} positions in {layers[0].weight_shape[0]} "
            f"rows, and the day has {assets} assets: it does not attend over them"
        )
    return layers[options.start_layer :]


def _check_finite(shares: Tensor) -> None:
    if not bool(torch.isfinite(shares).all()):
        raise ValueError("attention over assets is not finite: look for NaN in the model's weights")
