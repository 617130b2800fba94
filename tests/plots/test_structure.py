"""A network as drawn, against the blocks it was given."""

from dataclasses import dataclass, field, replace

import matplotlib.pyplot as plt
import pytest
from matplotlib.patches import Rectangle

from workbench import plots
from workbench.plots.structure import Block


@dataclass(frozen=True)
class Part:
    name: str
    kind: str
    parameters: int = 0
    flops: int = 0
    turn: int = 0
    inputs: tuple[int, ...] | None = (8, 20, 4)
    output: tuple[int, ...] | None = (8, 20, 16)
    blocks: tuple["Part", ...] = field(default=())


def layer(name: str, turn: int) -> Part:
    inside = (
        Part("attention", "MultiHeadAttention", 1000, 40_000, turn + 1),
        Part("drop", "Dropout", 0, 0, turn + 2),
        Part("norm", "LayerNorm", 32, 0, turn + 3),
    )
    return Part(name, "EncoderLayer", 1032, 40_000, turn, blocks=inside)


def model(layers: int = 3) -> Part:
    stack = tuple(layer(str(i), 10 * (i + 1)) for i in range(layers))
    whole = Part("layers", "ModuleList", 1032 * layers, 40_000 * layers, output=None, blocks=stack)
    head = Part("head", "Linear", 51, 800, 900, output=(8, 3))
    left_over = Part("left_over", "Linear", 70, 0, 0, inputs=None, output=None)
    embedding = Part("embedding", "Linear", 80, 10_000, 2)
    parts = (head, left_over, whole, embedding)
    flops = sum(part.flops for part in parts)
    return Part("Model", "Model", sum(p.parameters for p in parts), flops, 1, output=(8, 3), blocks=parts)


def texts(ax: plt.Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_what_is_given_is_a_block():
    assert isinstance(model(), Block)


def test_modules_are_drawn_in_the_order_in_which_they_ran():
    ax = plots.architecture(model(1))
    labels = sorted((text.get_position()[1], text.get_text()) for text in ax.texts if "  " in text.get_text())
    assert [label for _, label in labels] == [
        "embedding  Linear",
        "layers.0  EncoderLayer",
        "attention  MultiHeadAttention",
        "norm  LayerNorm",
        "head  Linear",
        "left_over  Linear",
    ]


def test_numbered_modules_that_are_alike_are_drawn_once_and_added_up():
    ax = plots.architecture(model(3))
    said = texts(ax)
    assert said.count("layers.0 … 2  EncoderLayer (3 alike)") == 1
    assert said.count("attention  MultiHeadAttention") == 1
    assert {"3,096", "3,000", "96", "120 k"} <= set(said)


def test_a_numbered_module_that_differs_is_drawn_apart():
    whole = model(3)
    last = replace(whole.blocks[2].blocks[2], output=(8, 1, 16))
    layers = replace(whole.blocks[2], blocks=(*whole.blocks[2].blocks[:2], last))
    said = texts(plots.architecture(replace(whole, blocks=(*whole.blocks[:2], layers, whole.blocks[3]))))
    assert "layers.0 … 1  EncoderLayer (2 alike)" in said
    assert "layers.2  EncoderLayer" in said


def test_modules_of_other_names_are_never_drawn_as_one():
    twins = (Part("shared", "Linear", 5, 5, 2), Part("backcast", "Linear", 5, 5, 3))
    said = texts(plots.architecture(Part("M", "M", 10, 10, 1, blocks=twins)))
    assert {"shared  Linear", "backcast  Linear"} <= set(said)


def test_layers_of_two_lists_that_take_turns_are_drawn_in_turn():
    convs = tuple(Part(str(i), "Conv1d", 5, 5, 2 + 2 * i) for i in range(2))
    norms = tuple(Part(str(i), "LayerNorm", 5, 5, 3 + 2 * i) for i in range(2))
    lists = tuple(
        Part(name, "ModuleList", output=None, blocks=parts)
        for name, parts in (("norms", norms), ("convs", convs))
    )
    ax = plots.architecture(Part("M", "M", 20, 20, 1, blocks=lists))
    rows = sorted((text.get_position()[1], text.get_text()) for text in ax.texts if "  " in text.get_text())
    assert [row.split()[0] for _, row in rows] == ["convs.0", "norms.0", "convs.1", "norms.1"]


def test_shapes_stand_beside_their_modules_and_at_both_ends():
    ax = plots.architecture(model())
    rows = {text.get_text(): text.get_position()[1] for text in ax.texts}
    shapes = {text.get_position()[1]: text.get_text() for text in ax.texts if "×" in text.get_text()}
    assert shapes[rows["head  Linear"]] == "8 × 3"
    assert shapes[rows["windows in"]] == "8 × 20 × 4"
    assert shapes[rows["answers out"]] == "8 × 3"


def test_a_module_that_was_not_called_is_dashed_and_says_so():
    ax = plots.architecture(model())
    assert "not called" in texts(ax)
    dashed = [patch for patch in ax.patches if patch.get_linestyle() not in ("-", "solid")]
    assert len(dashed) == 1


def test_what_no_module_holds_is_told_apart():
    part = Part("gates", "Linear", 5, 40, 2)
    said = texts(plots.architecture(Part("SFM", "SFM", 12, 340, 1, blocks=(part,))))
    assert "outside these modules" in said
    assert {"7", "300"} <= set(said)
    assert "outside these modules" not in texts(plots.architecture(model()))


def test_bars_are_shares_of_the_whole():
    whole = model()
    ax = plots.architecture(whole)
    bars = [p for p in ax.patches if isinstance(p, Rectangle) and p.get_x() in (70.0, 90.0)]
    place = {text.get_text(): text.get_position()[1] for text in ax.texts}["head  Linear"]
    beside = sorted((p.get_x(), p.get_width()) for p in bars if abs(p.get_y() + 0.36 - place) < 1e-9)
    assert [x for x, _ in beside] == [70.0, 90.0]
    assert [w for _, w in beside] == pytest.approx([9 * 51 / whole.parameters, 9 * 800 / whole.flops])


def test_an_enclosing_box_holds_the_boxes_inside_it():
    ax = plots.architecture(model(1))
    place = {text.get_text(): text.get_position()[1] for text in ax.texts}
    outer = next(p for p in ax.patches if p.get_y() == place["layers.0  EncoderLayer"] - 0.42)
    last = next(p for p in ax.patches if p.get_y() == place["norm  LayerNorm"] - 0.42)
    head = next(p for p in ax.patches if p.get_y() == place["head  Linear"] - 0.42)
    assert last.get_y() + last.get_height() < outer.get_y() + outer.get_height() < head.get_y()


def test_inner_modules_are_left_out_until_the_rows_are_enough():
    whole = model(1)
    assert "attention  MultiHeadAttention" in texts(plots.architecture(whole, rows=6))
    few = texts(plots.architecture(whole, rows=5))
    assert "attention  MultiHeadAttention" not in few
    assert "layers.0  EncoderLayer" in few


def test_a_model_that_is_one_module_is_drawn_by_its_ends():
    said = texts(plots.architecture(Part("Linear", "Linear", 51, 800, 1)))
    assert "windows in" in said
    assert "Linear: 51 parameters, 800 operations forward" in plt.gca().get_title(loc="left")


def test_what_was_not_called_is_refused():
    with pytest.raises(ValueError, match="Model was not called: pass study"):
        plots.architecture(replace(model(), output=None))


def test_it_is_drawn_on_given_axes():
    _, ax = plt.subplots()
    assert plots.architecture(model(), ax) is ax


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("layers", [1, 4])
def test_every_word_can_be_read(theme: str, layers: int, readable):
    long = Part(
        "a_name_that_goes_on_and_on_for_ever", "AClassOfANameThatIsNoShorterThanThat", 10**9, 10**12, 5
    )
    whole = model(layers)
    with plots.theme(theme):
        ax = plots.architecture(
            replace(whole, blocks=(*whole.blocks, replace(long, output=(1000, 2048, 512))))
        )
    readable(ax.get_figure())
