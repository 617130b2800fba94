"""Attention as in "Attention Is All You Need" (Vaswani et al. 2017), with the paper's names."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from workbench.models.dropout import Dropout


class ScaledDotProductAttention(nn.Module):
    """softmax(QKᵀ/√d)·V written out, so that the weights can be read (equation 1 of the paper).

    The networks themselves call PyTorch's fused kernel; this is for looking and for comparing.

    Parameters
    ----------
    dropout
        Share of the weights zeroed while training. The weights returned are those before it.
    """

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        query: Float[Tensor, "*batch query feature"],
        key: Float[Tensor, "*batch key feature"],
        value: Float[Tensor, "*batch key output"],
        mask: Bool[Tensor, "..."] | None = None,
        causal: bool = False,
    ) -> tuple[Float[Tensor, "*batch query output"], Float[Tensor, "*batch query key"]]:
        """Return what was attended to and the weights, each (…, query, ·).

        `mask` is True where a query may attend and broadcasts against (…, query, key). A query that may
        attend to nothing gets zero weights and a zero output, never NaN.
        """
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))  # (…, query, key)
        allowed = _allowed(mask, causal, scores.size(-2), scores.size(-1), scores.device)
        if allowed is not None:  # the lowest number, not −∞: a row with nothing allowed would be NaN
            scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1)
        if allowed is not None:
            weights = weights.masked_fill(~allowed, 0.0)
        return self.dropout(weights) @ value, weights


class MultiHeadAttention(nn.Module):
    """Attention by several heads, with its residual and layer norm: LN(x + W_O·[head₁ … head_h]).

    Parameters
    ----------
    d_model
        Width of the input and the output; a multiple of `n_heads`.
    n_heads
        Number of heads, each `d_model / n_heads` wide.
    dropout
        Share of the output zeroed before the residual, while training (section 5.4 of the paper).
    norm
        "post" normalises after the residual, as the paper does; "pre" normalises what goes in.

    Attributes
    ----------
    last_query_only
        True while the module computes the last query alone, over every key: the output is then one step
        long and the same as the last step of the whole. Its heads are then the queries of one call of the
        attention function, (batch, 1, head, ·).
    """

    def __init__(self, d_model: int, n_heads: int, dropout: float = 0.0, norm: str = "post"):
        super().__init__()
        check_heads(d_model, n_heads)
        check_norm(norm)
        self.n_heads = n_heads
        self.norm_first = norm == "pre"
        self.last_query_only = False
        self.w_q = nn.Linear(d_model, d_model)
        self.w_k = nn.Linear(d_model, d_model, bias=False)  # it would add the same to a row's every score
        self.w_v = nn.Linear(d_model, d_model)
        self.w_o = nn.Linear(d_model, d_model)
        self.norm = nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        query: Float[Tensor, "batch query d_model"],
        key: Float[Tensor, "batch key d_model"] | None = None,
        value: Float[Tensor, "batch key d_model"] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "batch attended d_model"]:
        """Attend from `query` to `key` (by default itself) and gather `value` (by default the key).

        Parameters
        ----------
        query, key, value
            Steps of width d_model.
        mask
            True where a query may attend: (query, key), (batch, query, key) or (batch, head, query, key).
            A query that may attend to nothing keeps its residual only.
        causal
            Keep each query from the keys after it. Needs as many queries as keys.
        """
        attending = self.norm(query) if self.norm_first else query
        keys = attending if key is None else key
        values = keys if value is None else value
        allowed, causal = _allowed_or_causal(mask, causal, query.size(1), keys.size(1), query.device)
        if self.last_query_only:
            query = query[:, -1:]
            attended = self._last(attending[:, -1:], keys, values, allowed)  # (batch, 1, d_model)
        else:
            attended = F.scaled_dot_product_attention(
                self._heads(self.w_q(attending)),  # (batch, head, query, d_head)
                self._heads(self.w_k(keys)),  # (batch, head, key, d_head)
                self._heads(self.w_v(values)),
                attn_mask=allowed,
                is_causal=causal,
            )
            attended = attended.transpose(1, 2).flatten(2)  # (batch, query, d_model)
        output = query + self.dropout(self.w_o(attended))  # (batch, query, d_model)
        return output if self.norm_first else self.norm(output)

    def queries_and_keys(
        self,
        query: Float[Tensor, "batch query d_model"],
        key: Float[Tensor, "batch key d_model"] | None = None,
    ) -> tuple[Float[Tensor, "batch head query d_head"], Float[Tensor, "batch head key d_head"]]:
        """Return what `forward` compares: QW_Q and KW_K, a head's own."""
        attending = self.norm(query) if self.norm_first else query
        keys = attending if key is None else key
        return self._heads(self.w_q(attending)), self._heads(self.w_k(keys))

    def attention_weights(
        self,
        query: Float[Tensor, "batch query d_model"],
        key: Float[Tensor, "batch key d_model"] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "batch head query key"]:
        """Return the weights that `forward` uses for every query, by the written-out formula."""
        q, k = self.queries_and_keys(query, key)
        allowed, causal = _allowed_or_causal(mask, causal, q.size(2), k.size(2), q.device)
        return ScaledDotProductAttention()(q, k, k, allowed, causal)[1]

    def _last(
        self,
        query: Float[Tensor, "batch 1 d_model"],
        keys: Float[Tensor, "batch key d_model"],
        values: Float[Tensor, "batch key d_model"],
        allowed: Bool[Tensor, "... query key"] | None,
    ) -> Float[Tensor, "batch 1 d_model"]:
        """Return what the last query gathers, without projecting every key and value.

        q·(W_K k) = (W_Kᵀq)·k, and Σα W_V v = W_V Σα v: one query is projected instead of every step, and the
        heads become the queries of one attention.
        """
        q = self.w_q(query).unflatten(-1, (self.n_heads, -1))[:, 0]  # (batch, head, d_head)
        w_k, w_v = (w.weight.unflatten(0, (self.n_heads, -1)) for w in (self.w_k, self.w_v))
        asked = torch.einsum("bhd,hdm->bhm", q, w_k)  # (batch, head, d_model)
        if allowed is not None:  # of the last query; without it every key is in its past
            allowed = allowed[..., -1, :].expand(len(q), self.n_heads, -1)[:, None]  # (batch, 1, head, key)
        gathered = F.scaled_dot_product_attention(
            asked[:, None], keys[:, None], values[:, None], attn_mask=allowed, scale=q.size(-1) ** -0.5
        )[:, 0]  # (batch, head, d_model)
        shares = 1.0 if allowed is None else allowed[:, 0].any(-1, keepdim=True)  # nothing allowed: nothing
        bias = self.w_v.bias.unflatten(0, (self.n_heads, -1)) * shares
        return (torch.einsum("bhm,hdm->bhd", gathered, w_v) + bias).flatten(1)[:, None]

    def _heads(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "batch head time d_head"]:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class SinusoidalPositions(nn.Module):
    """Add PE(pos, 2i) = sin(pos / 10000^(2i/d)) and PE(pos, 2i+1) = cos(the same) to each step (section 3.5).

    An odd d_model ends with a sine that has no cosine.
    """

    table: Tensor

    def __init__(self, d_model: int, max_len: int):
        super().__init__()
        position = torch.arange(max_len, dtype=torch.float64)[:, None]  # (time, 1)
        rate = 10_000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)  # (pair,)
        table = torch.empty(max_len, d_model, dtype=torch.float64)
        table[:, 0::2] = torch.sin(position * rate)
        table[:, 1::2] = torch.cos(position * rate)[:, : d_model // 2]
        self.register_buffer("table", table.to(torch.get_default_dtype()), persistent=False)

    def forward(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "batch time d_model"]:
        """Return `x` with every step's position added; more steps than `max_len` are refused."""
        time, max_len = x.size(1), self.table.size(0)
        if time > max_len:
            raise ValueError(
                f"The windows are {time} bars long and the model was built for at most {max_len}. "
                f"Build it with max_seq_len={time} or more, or shorten the lookback."
            )
        return x + self.table[:time]


def check_heads(d_model: int, n_heads: int) -> None:
    """Raise ValueError unless `n_heads` divides `d_model`."""
    if n_heads < 1 or d_model < 1 or d_model % n_heads:
        near = [
            d for d in range(d_model - n_heads, d_model + n_heads + 1) if d > 0 and d % max(n_heads, 1) == 0
        ]
        heads = [h for h in range(1, d_model + 1) if d_model % h == 0 and h <= 2 * max(n_heads, 1)]
        raise ValueError(
            f"d_model must be a positive multiple of n_heads, got d_model={d_model} and n_heads={n_heads}. "
            f"Take d_model from {near} or n_heads from {heads}."
        )


def check_norm(norm: str) -> None:
    """Raise ValueError unless `norm` is "post" or "pre"."""
    if norm not in ("post", "pre"):
        raise ValueError(f"norm must be 'post' (the paper's) or 'pre', got {norm!r}.")


def _allowed_or_causal(
    mask: Tensor | None, causal: bool, queries: int, keys: int, device: torch.device
) -> tuple[Tensor | None, bool]:
    """Return what the fused kernel takes: a mask, or the word causal, never both."""
    if causal and queries != keys:
        raise ValueError(
            f"causal=True needs as many queries as keys, got {queries} queries and {keys} keys. "
            "Pass a mask that says which key each query may attend to."
        )
    if mask is None:
        return None, causal
    if mask.ndim == 3:
        mask = mask[:, None]  # (batch, 1, query, key)
    if mask.ndim not in (2, 4) or mask.shape[-2:] != (queries, keys):
        raise ValueError(
            f"mask must have shape (query, key) = ({queries}, {keys}), with (batch,) or (batch, head) "
            f"before it if they differ. Got {tuple(mask.shape)}."
        )
    return _allowed(mask, causal, queries, keys, device), False


def _allowed(
    mask: Tensor | None, causal: bool, queries: int, keys: int, device: torch.device
) -> Bool[Tensor, "..."] | None:
    if not causal:
        return mask
    past = torch.ones(queries, keys, dtype=torch.bool, device=device).tril()
    return past if mask is None else mask & past
