"""Which stocks of the day a stock's answer draws on: attention between stocks, stock by stock."""

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from workbench.explainers.assets import AssetShares, asset_rollout
from workbench.explainers.capture import unwrapped
from workbench.explainers.inside import Wanted, check_scores, inner_passes, inside_method, lacks
from workbench.explainers.joining import RolloutOptions
from workbench.explainers.options import BadOption, chosen
from workbench.explainers.questions import Method, Question, Scored
from workbench.features.windows import Windows
from workbench.training.days import days_of, is_cross_sectional

STATIC = 0.99  # rank agreement from which all stocks may be said to rank the others alike
STOCKS = Wanted("neighbours", "neighbours", "GATs, HIST and AssetTransformer, where stocks attend")


def _neighbours(question: Question) -> Scored:
    """Return the shares of all tickers of the windows, zero where one is not there that day."""
    options = chosen("neighbours", RolloutOptions, question.options)
    model = unwrapped(question.model)
    if isinstance(getattr(model, "attends_over_assets", None), str):
        found = asset_rollout(model, question.windows, options, question.watch)
    else:
        found = _own(question)
    check_scores(found.shares, "shares of stocks")
    scores = found.shares.float().numpy()
    return Scored(
        scores,
        found.outputs,
        "answer",
        null=None if found.null is None else found.null.float().numpy(),
        options={**question.options, **_told(scores, found.assets, question.windows)},
        axis_labels={"asset": found.assets},
    )


def _own(question: Question) -> AssetShares:
    """Spread what the model says of its stocks, day by day, over the tickers of all windows."""
    model, windows = unwrapped(question.model), question.windows
    tickers, column = np.unique(windows.tickers.astype(str), return_inverse=True)
    shares = outputs = None
    for rows, parts, output in inner_passes(question, STOCKS):
        if not is_cross_sectional(model):  # its rows are of several days, and no stocks of one
            raise lacks(STOCKS, model)
        if question.options:
            raise BadOption(
                f"{', '.join(question.options)} are of rollouts through several layers, and "
                f"{type(model).__name__} attends in one: leave them out"
            )
        if shares is None or outputs is None:
            shares = output.new_zeros(len(windows), len(tickers))
            outputs = output.new_empty(len(windows), output.shape[1])
        shares[rows[:, None], column[rows.numpy()]] = parts["neighbours"]
        outputs[rows] = output
    assert shares is not None
    assert outputs is not None
    return AssetShares(shares, None, outputs, tuple(str(name) for name in tickers))


def row_agreement(matrix: Float[np.ndarray, "stock neighbour"]) -> float:
    """Return the mean Spearman correlation between the rows of two stocks; NaN below three stocks.

    1 says that every stock ranks all of them alike, itself included. Rows that rank nothing are left out.
    """
    ranks = np.asarray(rankdata(matrix, axis=1)) if len(matrix) > 2 else np.zeros_like(matrix)
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    size = np.sqrt((ranks**2).sum(axis=1))
    rows = ranks[size > 0] / size[size > 0, None]
    pairs = len(rows) * (len(rows) - 1)
    # |Σ r|² is the sum over all pairs of r·r', those of a row with itself, 1 each, included.
    return float((np.square(rows.sum(axis=0)).sum() - len(rows)) / pairs) if pairs else float("nan")


def _told(scores: Float[np.ndarray, "window asset"], assets: tuple[str, ...], windows: Windows) -> dict:
    """Return how far stocks rank each other alike, and a warning where they all do."""
    column = np.searchsorted(assets, windows.tickers.astype(str))
    days = [rows.numpy() for rows in days_of(windows)]
    each = np.array([row_agreement(scores[np.ix_(rows, column[rows])]) for rows in days])
    if np.isnan(each).all():
        return {"rank_agreement": None}
    agreement = float(np.nanmean(each))
    if agreement < STATIC:
        return {"rank_agreement": agreement}
    warning = (
        f"every stock ranks the others alike (rank agreement of two, mean over days: {agreement:.3f}): "
        "this shows which stocks all attend to, not who attends to whom. GATs with version=2 can rank "
        "differently for each stock"
    )
    return {"rank_agreement": agreement, "warning": warning}


NEIGHBOURS: tuple[Method, ...] = (
    inside_method(
        STOCKS,
        ("Neighbours", "which stocks of the same day the answer for a stock draws on"),
        _neighbours,
        over="asset",
    ),
)
