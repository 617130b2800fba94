"""What a caller reads who asks for what cannot be, where types are not checked for him beforehand."""

import json
import subprocess
import sys

import pytest

# The tests check all types, which would answer first: so these calls are made in a Python of its own.
ASKED = """
import json, sys
import numpy as np, torch, pandas as pd
sys.path[:0] = sys.argv[1:]
from conftest import make_windows
import workbench as wb
from workbench.explainers.streams import stream_rollout

windows = make_windows()
model = wb.build_model("transformer", windows, seed=0)
x = windows.batch(slice(0, 2))
maps = wb.attention_maps(model, x)
layers = [layer for layer in maps.layers]
seen = wb.compare(model, windows, ["rollout", "gradient_x_input"])


def why(method="rollout", model=model, windows=windows, **options):
    wb.explain(model, windows, method, **options)


calls = {
    "target=2": lambda: why("gradient_x_input", target=2),
    "target=2 of rollout": lambda: why(target=2),
    "method=None": lambda: why(None),
    "threads=0": lambda: why(threads=0),
    "threads='all'": lambda: why(threads="all"),
    "windows=tensor": lambda: why(windows=windows.x),
    "windows=None": lambda: why(windows=None),
    "model=None": lambda: why(model=None),
    "fusion=None": lambda: why(fusion=None),
    "residual='half'": lambda: why(residual="half"),
    "discard='half'": lambda: why(discard="half"),
    "residual=None": lambda: why("value_rollout", residual=None),
    "layer=1.0": lambda: why("attention", layer=1.0),
    "head=True": lambda: why("attention", head=True),
    "head=1.5": lambda: why("attention", head=1.5),
    "identity=1": lambda: why("relevance", identity=1),
    "width='wide'": lambda: why("lime", width="wide"),
    "seed='x'": lambda: why("kernel_shap", seed="x"),
    "samples=2.5": lambda: why("gradient_shap", samples=2.5),
    "arrays": lambda: wb.rollout([layer.numpy() for layer in layers]),
    "5-D": lambda: wb.rollout(torch.stack(layers)),
    "ints": lambda: wb.rollout([1, 2]),
    "a model": lambda: wb.rollout(model),
    "batches": lambda: wb.rollout([layers[0], torch.cat([layers[1], layers[1]])]),
    "rollout position": lambda: wb.rollout(maps, position=1.5),
    "stream position": lambda: stream_rollout(model, x, position="last"),
    "top_k": lambda: seen.top_k(2.5),
}
for method in ("rollout", "attention", "relevance", "flow", "value_rollout", "alti"):
    for position in (1.5, "last", [0, 1], True):
        calls[f"{method} position={position}"] = lambda m=method, p=position: why(m, position=p)
    if method != "attention":
        for start in ("1", 1.0):
            calls[f"{method} start_layer={start!r}"] = lambda m=method, s=start: why(m, start_layer=s)
told = {}
for name, call in calls.items():
    try:
        call()
    except Exception as error:
        told[name] = [type(error).__name__, str(error)]
row = stream_rollout(model, x, position=np.int64(2))
told["np.int64"] = ["", str(torch.equal(row, stream_rollout(model, x, position=2)))]
print(json.dumps(told))
"""

SAID = {
    "target=2": ("BadOption", "target is a class (sell, hold, buy), the lead of one over another"),
    "target=2 of rollout": ("BadOption", "not what speaks for 2: leave out target"),
    "method=None": ("ValueError", "There is no method None. There are: rollout"),
    "threads=0": ("ValueError", "a whole number of at least 1, or None"),
    "threads='all'": ("ValueError", "got 'all'"),
    "windows=tensor": ("TypeError", "expected Windows, got Tensor: cut features and labels into them"),
    "windows=None": ("TypeError", "expected Windows, got NoneType"),
    "model=None": ("TypeError", "expected a torch.nn.Module, got NoneType: pass the model itself"),
    "fusion=None": ("BadOption", "fusion is 'mean', 'max', 'min' or one weight a head; got None"),
    "residual='half'": ("BadOption", "residual is a share between 0 and 1 (0.5 as published); got 'half'"),
    "discard='half'": ("BadOption", "discard is the share of entries dropped"),
    "residual=None": ("BadOption", "residual is a share between 0 and 1"),
    "layer=1.0": ("BadOption", "layer is a whole number, negative from the last, or a layer's name; got 1.0"),
    "head=True": ("BadOption", "head is 'mean', 'max', 'min' or a head's number from 0; got True"),
    "head=1.5": ("BadOption", "head is 'mean', 'max', 'min' or a head's number from 0; got 1.5"),
    "identity=1": ("BadOption", "identity is True or False; got 1"),
    "width='wide'": ("BadOption", "a number above 0; got 'wide'"),
    "seed='x'": ("BadOption", "seed is what is drawn by, a whole number; got 'x'"),
    "samples=2.5": ("BadOption", "samples is the number of points drawn, a whole number of at least 1"),
    "arrays": ("TypeError", "got a list of ndarray. Make tensors of arrays by torch.as_tensor"),
    "5-D": ("TypeError", "got a Tensor"),
    "ints": ("TypeError", "or a list of one tensor (batch, head, query, key) a layer; got a list of int"),
    "a model": ("TypeError", "maps are what attention_maps(model, x) returns"),
    "batches": ("ValueError", "all layers must be of the same samples; got batches of [2, 4]"),
    "rollout position": ("ValueError", "position is one bar of the window, from 0 or negative"),
    "stream position": ("ValueError", "position is one bar of the window, from 0 or negative"),
    "top_k": ("ValueError", "k must be a whole number of bars, from 1 to the window's 6; got 2.5"),
    "np.int64": ("", "True"),
}


@pytest.fixture(scope="module")
def told(request):
    here = request.path.parent
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", ASKED, str(here), str(here.parents[1])],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("case", SAID)
def test_what_cannot_be_is_refused_with_what_was_expected_and_what_came(told, case):
    kind, words = SAID[case]
    assert told[case][0] == kind
    assert words in told[case][1]


@pytest.mark.parametrize("method", ["rollout", "attention", "relevance", "flow", "value_rollout", "alti"])
@pytest.mark.parametrize("position", [1.5, "last", [0, 1], True])
def test_a_position_is_a_whole_number(told, method, position):
    kind, words = told[f"{method} position={position}"]
    assert kind == "BadOption"
    assert words.startswith("position is one bar of the window, from 0 or negative from the end, a whole")
    assert words.endswith(f"got {position!r}")


@pytest.mark.parametrize("method", ["rollout", "relevance", "flow", "value_rollout", "alti"])
@pytest.mark.parametrize("start", ["1", 1.0])
def test_so_is_the_first_layer_counted(told, method, start):
    kind, words = told[f"{method} start_layer={start!r}"]
    assert kind == "BadOption"
    assert words.startswith("start_layer is the first layer counted, a whole number")
