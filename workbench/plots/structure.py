"""Networks: their modules in the order they ran, with shapes, parameters and operations."""

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from workbench.plots.modulerows import Block, Row, rows_of
from workbench.plots.panels import one
from workbench.plots.style import DISTINCT, named, palette, rgb, titled

_WIDTH, _ROW = 9.0, 0.26  # inches
_LEFT, _NUMBERS = 60.0, ((70.0, 79.0), (90.0, 99.0))  # where modules end, and the bars, in percent
_INDENT = 1.6
_FAMILIES = (  # words in a class's name, and the colour of its stripe
    (("attention",), DISTINCT[1]),
    (("lstm", "gru", "rnn"), DISTINCT[2]),
    (("conv",), DISTINCT[3]),
    (("linear", "embedding"), DISTINCT[0]),
    (("norm", "scaling"), DISTINCT[4]),
)
_OTHER = "#8c8c8c"


def architecture(block: Block, ax: Axes | None = None, rows: int = 44) -> Axes:
    """Draw a network as nested boxes, from the first module that ran to the last.

    Beside each module stand the shape of its output, its parameters and its operations, with bars that show
    each one's share of the whole. Numbered modules in a row that are alike are drawn once, and their
    numbers added up. A dashed outline marks a module that was not called: its weights are used by the one
    around it, or not at all. What runs side by side, and what is added to what, is not told by the order.

    Parameters
    ----------
    block
        The model as it ran: `study(…).architecture`.
    ax
        Where to draw; None makes a figure as tall as it needs.
    rows
        The most lines to draw: inner modules are left out, from the innermost, until they are enough.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the block was not called, so that there are no shapes to show.
    """
    if block.output is None or block.inputs is None:
        raise ValueError(
            f"block must be a model as it ran. {block.kind} was not called: pass study(…).architecture."
        )
    deepest = max(depth for depth in range(1, 20) if depth == 1 or len(rows_of(block, depth)) <= rows)
    lines, outside = rows_of(block, deepest), _outside(block)
    more = any(outside) and bool(lines)
    count = len(lines) + more
    ax = one(ax, (_WIDTH, _ROW * (count + 6)))
    ax.set_axis_off()
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlim(0, 100)
    ax.set_ylim(count + 1.6, -1.5)
    _draw_heads(ax)
    _draw_end(ax, 0, "windows in", block.inputs)
    for place, row in enumerate(lines, start=1):
        _draw_row(ax, place, row, block)
    if more:
        ax.text(1.2, count, "outside these modules", va="center", fontsize="small")
        _draw_numbers(ax, count, outside, block, group=False)
    _draw_end(ax, count + 1, "answers out", block.output)
    _title(ax, block)
    return ax


def _draw_heads(ax: Axes) -> None:
    heads = [(0.0, "modules, in the order they ran", "left"), (_LEFT - 0.8, "output", "right")]
    heads += [(_NUMBERS[0][0] - 0.8, "parameters", "right"), (_NUMBERS[1][0] - 0.8, "operations", "right")]
    for x, text, side in heads:
        ax.text(x, -0.75, text, ha=side, va="center", fontsize="small", style="italic")


def _draw_end(ax: Axes, place: float | int, label: str, shape: tuple[int, ...]) -> None:
    ax.text(1.2, place + 0.05, label, va="center", fontsize="small")
    ax.text(_LEFT - 0.8, place + 0.05, _times(shape), ha="right", va="center", fontsize="small")


def _draw_row(ax: Axes, place: int, row: Row, whole: Block) -> None:
    colours, left = palette(), _INDENT * row.depth
    called = row.block.output is not None
    box = Rectangle(
        (left, place - 0.42),
        _LEFT - left - 0.4 * row.depth,
        row.inside + 0.84 + (0.04 if row.inside else 0),
        facecolor=_shade(ax, row.depth),
        edgecolor=colours.ink,
        linewidth=0.7,
        linestyle="-" if called else (0, (3, 2)),
        zorder=1 + row.depth,
    )
    ax.add_patch(box)
    stripe = Rectangle(
        (left, place - 0.42), 0.7, box.get_height(), color=_colour(row.block.kind), linewidth=0
    )
    stripe.set_zorder(box.get_zorder())
    ax.add_patch(stripe)
    said = {"va": "center", "fontsize": "small", "zorder": 20}
    many = f" ({row.times} alike)" if " … " in row.label else ""
    ax.text(left + 1.4, place, f"{named(row.label, 22)}  {named(row.block.kind, 26)}{many}", **said)
    shape = _times(row.block.output) if row.block.output is not None else "not called"
    ax.text(_LEFT - 0.8 - 0.4 * row.depth, place, shape, ha="right", **said)
    _draw_numbers(
        ax, place, (row.block.parameters * row.times, row.block.flops * row.times), whole, row.inside > 0
    )


def _draw_numbers(ax: Axes, place: int, numbers: tuple[int, int], whole: Block, group: bool) -> None:
    """Write parameters and operations, and draw their shares of the whole."""
    totals = (whole.parameters, whole.flops)
    for (start, end), value, total in zip(_NUMBERS, numbers, totals, strict=True):
        _draw_share(ax, place, (start, end), value / total if total else 0.0, group)
        text = _count(value) if value else "–"
        ax.text(start - 0.8, place, text, ha="right", va="center", fontsize="small")


def _outside(block: Block) -> tuple[int, int]:
    """Parameters and operations of a model that lie in none of the modules inside it."""
    inside = list(zip(*((inner.parameters, inner.flops) for inner in block.blocks), strict=True))
    parameters, flops = (sum(part) for part in inside) if inside else (0, 0)
    return max(0, block.parameters - parameters), max(0, block.flops - flops)


def _draw_share(ax: Axes, place: int, ends: tuple[float, float], share: float, group: bool) -> None:
    """Draw a share of a column's width: filled for a module, an outline for what encloses others."""
    colour, (start, end) = palette().up, ends
    bar = Rectangle(
        (start, place - 0.36),
        (end - start) * min(share, 1.0),
        0.72,
        facecolor="none" if group else colour,
        edgecolor=colour,
        linewidth=0.8 if share else 0.0,
    )
    ax.add_patch(bar)


def _shade(ax: Axes, depth: int) -> tuple[float, float, float]:
    """The background, a little nearer to the colour of text at every other depth."""
    share = 0.07 if depth % 2 else 0.025
    face = (1 - share) * rgb(ax.get_facecolor()) + share * rgb(palette().ink)
    return tuple(face.tolist())


def _colour(kind: str) -> str:
    return next((colour for words, colour in _FAMILIES if any(w in kind.lower() for w in words)), _OTHER)


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "1"


def _count(value: float | int) -> str:
    """Return a count as it is, or from a hundred thousand on with three digits and its unit.

    >>> _count(4224), _count(131072), _count(2.04e9)
    ('4,224', '131 k', '2.04 G')
    """
    if value < 1e5:
        return f"{value:,.0f}"
    size, unit = next((s, u) for s, u in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")) if value >= s)
    return f"{value / size:.3g} {unit}"


def _title(ax: Axes, block: Block) -> None:
    assert block.inputs is not None
    titled(
        ax,
        f"{block.kind}: {block.parameters:,} parameters, {_count(block.flops)} operations forward",
        f"shapes and operations of a batch of {block.inputs[0]:,} windows",
        "bars: shares of the whole",
        "dropout is not drawn",
    )
