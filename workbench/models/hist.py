"""HIST: what a stock shares with the concepts it belongs to, with stocks like it, and what is its own."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.columns import CONCEPT, MARKET_CAP, column_of, concept_columns, side_columns
from workbench.models.dropout import Dropout
from workbench.models.recurrent import stacked, top_state
from workbench.models.scaling import ForecastScaling, InputScaling
from workbench.models.spec import ModelSpec, n_outputs

STYLES = {"paper": 3, "qlib": 1}  # links to hidden concepts by style


class ConceptModule(nn.Module):
    """What stocks gather from concepts, as a backcast, taken off their state, and a forecast."""

    def __init__(self, hidden_size: int):
        super().__init__()
        self.shared = nn.Linear(hidden_size, hidden_size)
        self.backcast = nn.Linear(hidden_size, hidden_size)
        self.forecast = nn.Linear(hidden_size, hidden_size)

    def forward(
        self, gathered: Float[Tensor, "stock hidden"]
    ) -> tuple[Float[Tensor, "stock hidden"], Float[Tensor, "stock hidden"]]:
        """Return backcast and forecast of s = W·gathered + b."""
        s = self.shared(gathered)
        return self.backcast(s), F.leaky_relu(self.forecast(s))


class HIST(nn.Module):
    """Shared, hidden and individual information of the stocks of one day (Xu et al. 2021, arXiv 2110.13716).

    x is the state of a stock after its last bar. *Predefined concepts*: each concept's vector e is made of
    its members' x, and stocks gather s = W Σ_k softmax_k cos(x, e_k)·e_k. *Hidden concepts*: of the rest
    r = x − backcast(s), every stock links to the stocks most like it by S = cos(r, r); a stock that others
    link to is a concept, q = Σ_i S_ik r_i over those and itself, and s is gathered from these likewise.
    *Individual*: what both leave over. The answer is the head of the three forecasts' sum.

    Concepts are read at the last bar of each window, so membership may change from day to day; one without a
    member on a day is left out of it. With none at all, nothing is gathered from concepts.

    Weights of qlib's `HISTModel` go in by these names: rnn → base, fc_es, fc_es_back and fc_es_fore →
    predefined.shared, .backcast and .forecast, fc_is… → hidden.…, fc_indi → individual, fc_out → head.

    Parameters
    ----------
    input_dim
        Number of features a bar, the columns of concepts included.
    feature_names
        Their names. Columns `concept:<name>` hold how far a stock belongs to a concept, 0 if not; a column
        `market_cap`, if there is one, weighs the members. The base reads none of them.
    style
        "paper": a concept's members weigh by market cap (alike without the column), its vector is gathered
        again from all stocks by softmax_i cos(x_i, e), and `links` is 3. "qlib", as Microsoft's library has
        it: weights are C_ik / (Σ_i C_ik + 1), nothing is gathered again, and `links` is 1.
    links
        Number of hidden concepts that a stock links to beside its own; None is the style's.
    base
        "lstm" or "gru". `pretrain` trains it before the whole, as published.
    hidden_size, n_layers, dropout
        Of the base: width, layers, and the share of each layer's output zeroed before what follows it, while
        training.
    n_classes
        Number of classes; with task="regression" the output is one forecast instead.
    task
        "classification" or "regression".

    Attributes
    ----------
    cross_sectional
        True: a batch is the windows of one day.
    concepts
        Names of the concepts.
    """

    cross_sectional = True

    def __init__(
        self,
        input_dim: int,
        *,
        feature_names: tuple[str, ...],
        base: str = "lstm",
        hidden_size: int = 64,
        n_layers: int = 2,
        dropout: float | int = 0.0,
        style: str = "paper",
        links: int | None = None,
        n_classes: int = 3,
        task: str = "classification",
    ):
        super().__init__()
        outputs = n_outputs(task, n_classes)
        if style not in STYLES:
            raise ValueError(f"style must be one of {', '.join(STYLES)}, got {style!r}.")
        if links is not None and links < 1:
            raise ValueError(f"links must be at least 1, or None for the style's, got {links}.")
        self.spec: ModelSpec | None = None
        self.style = style
        self.links = STYLES[style] if links is None else links
        self._read_columns(input_dim, feature_names)
        self.scaling = InputScaling(input_dim, unscaled=side_columns(feature_names))
        self.base = stacked(base, len(self.read), hidden_size, n_layers, dropout, "base")
        self.dropout = Dropout(dropout)
        self.predefined = ConceptModule(hidden_size)
        self.hidden = ConceptModule(hidden_size)
        self.individual = nn.Linear(hidden_size, hidden_size)
        self.head = nn.Linear(hidden_size, outputs)
        self.forecast_scaling = ForecastScaling() if task == "regression" else nn.Identity()

    def forward(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch output"]:
        """Return logits (batch, n_classes), or the forecast (batch, 1), of the stocks of one day."""
        shared, hidden, individual = self._forecasts(x)[0]
        return self.forecast_scaling(self.head(shared + hidden + individual))

    def parts(self, x: Float[Tensor, "batch time feature"]) -> dict[str, Tensor]:
        """Return what the answer is the sum of, and what each stock drew on.

        Returns
        -------
        dict
            `shared`, `hidden`, `individual` (batch, output) and `bias` (output): they add up to the answer,
            the first from predefined and the second from hidden concepts. `concepts` (batch, concept): shares
            of the predefined concepts in what a stock gathers. `neighbours` (batch, batch): shares of each
            stock (column) in what a stock gathers from hidden concepts, each concept made of its stocks by
            the size of S; zero where no other stock is there.
        """
        modules, (shares, present), (hidden, links) = self._forecasts(x)
        concepts = shares.new_zeros(len(x), len(self.concepts))
        concepts[:, present] = shares
        made_of = links.abs() / links.abs().sum(0).clamp_min(torch.finfo(links.dtype).tiny)
        scale = self.forecast_scaling.std if isinstance(self.forecast_scaling, ForecastScaling) else 1.0
        added = [forecast @ self.head.weight.T * scale for forecast in modules]
        return dict(zip(("shared", "hidden", "individual"), added, strict=True)) | {
            "bias": self.forecast_scaling(self.head.bias[None])[0],
            "concepts": concepts,
            "neighbours": hidden @ made_of.T,
        }

    def _forecasts(self, x: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return three forecasts, shares of the concepts that have members and which, shares and links."""
        state = self.dropout(top_state(self.base(self.scaling(x)[..., self.read])[1]))  # (stock, hidden)
        counts = self._counts(x[:, -1])
        present = counts.any(0)
        counts = counts[:, present]
        weights = counts / (counts.sum(0) + (self.style == "qlib"))  # α, (stock, concept)
        e = weights.T @ state  # (concept, hidden)
        if self.style == "paper":
            e = _cosine(state, e).softmax(dim=0).T @ state
        concepts = _cosine(state, e).softmax(dim=1)
        backcast, shared = self.predefined(concepts @ e)
        rest = state - backcast
        links = hidden_links(rest, self.links)
        q = links.T @ rest  # (concept, hidden)
        hidden = _cosine(rest, q).softmax(dim=1)
        backcast, from_hidden = self.hidden(hidden @ q)
        individual = F.leaky_relu(self.individual(rest - backcast))
        return (shared, from_hidden, individual), (concepts, present), (hidden, links)

    def _counts(self, bar: Float[Tensor, "stock feature"]) -> Float[Tensor, "stock concept"]:
        """Return how much each stock counts in each concept."""
        belongs = bar[:, self.concept_at]
        if self.style == "qlib" or self.cap_at is None:
            return belongs
        return belongs * bar[:, [self.cap_at]]

    def _read_columns(self, input_dim: int, names: tuple[str, ...]) -> None:
        """Find out which columns are concepts, the market cap, and features for the base."""
        if len(names) != input_dim:
            raise ValueError(f"feature_names must name {input_dim} columns, got {len(names)}.")
        self.concept_at = concept_columns(names)
        self.cap_at = column_of(names, MARKET_CAP)
        sides = side_columns(names)
        self.read = [i for i in range(input_dim) if i not in sides]
        if not self.concept_at or not self.read:
            lacking = f"columns {CONCEPT}<name>" if self.read else "features beside concepts and market cap"
            raise ValueError(
                f"HIST needs {lacking}, and got {', '.join(names)}. Make the windows from "
                "with_concepts(features, membership), membership a frame of who belongs to what from when."
            )
        self.concepts = tuple(names[i].removeprefix(CONCEPT) for i in self.concept_at)


def hidden_links(rest: Float[Tensor, "stock hidden"], links: int) -> Float[Tensor, "stock concept"]:
    """Return S = cos(r, r) where a stock (row) links to a hidden concept (column), and 0 elsewhere.

    Each stock links to the `links` others most like it, to all if there are fewer. A stock that others link
    to is a concept, and belongs to its own; others have no column.
    """
    alike = _cosine(rest, rest)
    own = torch.eye(len(rest), dtype=torch.bool, device=rest.device)
    nearest = alike.masked_fill(own, -torch.inf).topk(min(links, len(rest) - 1), dim=1).indices
    linked = torch.zeros_like(own).scatter_(1, nearest, True)
    found = linked.any(0)
    return alike[:, found] * (linked | own)[:, found]


def _cosine(a: Float[Tensor, "row hidden"], b: Float[Tensor, "column hidden"]) -> Tensor:
    """Return cos(a, b), (row, column); 0 with a vector of zeros."""
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T
