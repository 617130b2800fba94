"""Gradients by what each gate hears, exactly, and by the inputs.

PyTorch's kernels keep the gradients by their pre-activations to themselves. Let W x_t + b be computed before
the kernel and given to it as its input, with the identity as its input weights: it computes the same, and
the gradient by that input is the gradient by the pre-activation, δ_t = ∂L/∂a_t.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from workbench.gates.agreeing import check_rounding
from workbench.gates.calls import RecurrentCall, Steps
from workbench.gates.directions import Direction, through
from workbench.gates.passes import in_full, recurrent_layers, run_once, watching
from workbench.gates.recover import RECOVER
from workbench.gates.states import GATES, LayerGradients
from workbench.models.scaling import InputScaling
from workbench.models.untouched import untouched
from workbench.training.prediction import evaluating, placement

Loss = Callable[[Any], Tensor]  # of what the model returns


def gate_gradients(
    model: nn.Module,
    x: Tensor | PackedSequence,
    loss: Loss,
    initial: Tensor | tuple[Tensor, Tensor] | None = None,
) -> tuple[LayerGradients, ...]:
    """Return the gradients of a loss by what every gate hears at every step.

    Parameters
    ----------
    model, x, initial
        As of `gate_states`.
    loss
        Of what the model returns, a single number: `lambda logits: F.cross_entropy(logits, y)`.

    Returns
    -------
    tuple of LayerGradients
        In the order in which the layers ran; zero where the loss does not depend on one.

    Raises
    ------
    ValueError
        As of `gate_states`, or the loss is not a single number with a gradient.
    RuntimeError
        The layers, computed this way, do not give what they computed; this is checked on every call.

    Notes
    -----
    The model runs in evaluation mode, without dropout; nothing of it changes, `.grad` included. It takes
    several times as long as a step of training: look at a probe.
    """
    model = getattr(model, "_orig_mod", model)  # torch.compile wraps the module that was written
    paths = recurrent_layers(model)
    traced: list[Traced] = []
    runs: Counter[str] = Counter()

    def replace(path: str, call: RecurrentCall) -> Any:
        runs[path] += 1
        return _traced_answer(call, path, runs[path], traced)

    with watching(model, replace), _differentiating(model):
        value = loss(run_once(model, x, initial))
        if not traced:
            raise ValueError(
                f"{type(model).__name__} has recurrent layers at {', '.join(map(repr, paths))}, "
                "and its forward ran none of them on this input."
            )
        _check_loss(value)
        found = torch.autograd.grad(value, [one.drive for one in traced], allow_unused=True)
    with torch.no_grad():
        return tuple(
            one.gradients(torch.zeros_like(one.drive) if delta is None else delta)
            for one, delta in zip(traced, found, strict=True)
        )


@dataclass(frozen=True, eq=False)
class Traced:
    """One direction of one layer on the way back.

    Attributes
    ----------
    direction, path, run
        What ran, where, and for which time.
    drive
        W_ih x_t + b_ih, in the graph.
    h
        h_t.
    """

    direction: Direction
    path: str
    run: int
    drive: Steps
    h: Steps

    def gradients(self, delta: Steps) -> LayerGradients:
        """Return the gradients for a reader, from the one by `drive`."""
        of, gates = self.direction, GATES[self.direction.kind]
        by_input = dict(zip(gates, map(of.shown, delta.chunk(len(gates), dim=-1)), strict=True))
        by_state = dict(by_input)
        if of.kind == "gru":
            reset = of.shown(RECOVER["gru"](of, self.h.detach()).gates[0])
            by_state["candidate"] = reset * by_input["candidate"]
        return LayerGradients(
            name=of.name(self.path, self.run),
            module=self.path,
            kind=of.kind,
            layer=of.layer,
            reverse=of.reverse,
            by_input=by_input,
            by_state=by_state,
            inputs=of.shown(of.x.detach()),
            previous=of.shown(of.previous(self.h.detach())),
            mask=of.call.mask.T,
        )


def input_gradients(
    model: nn.Module,
    x: Float[Tensor, "batch time feature"],
    loss: Loss,
    initial: Tensor | tuple[Tensor, Tensor] | None = None,
) -> Float[Tensor, "batch time feature"]:
    """Return the gradient of a loss by the inputs, in the units of the model's own `InputScaling`.

    With z = (x − mean) / std the inputs as the model scales them, this is ∂L/∂z, so that features in large
    units count no less than those in small ones; of a model without a `scaling` it is ∂L/∂x.

    Parameters
    ----------
    model, x, loss, initial
        As of `gate_gradients`; the model need have no recurrent layers.

    Raises
    ------
    ValueError
        The loss is not a single number, or no gradient reaches the inputs.
    """
    model = getattr(model, "_orig_mod", model)
    with evaluating(model), untouched(model), in_full(placement(model)[0]), _differentiating(model):
        given = x.to(placement(model)[0]).clone().requires_grad_()
        value = loss(run_once(model, given, initial))
        _check_loss(value)
        gradient = torch.autograd.grad(value, given, allow_unused=True)[0]
    if gradient is None:
        raise ValueError(
            f"no gradient of the loss reaches the inputs of {type(model).__name__}: look for torch.no_grad, "
            "detach, argmax or NumPy in its forward or in the loss."
        )
    scaling = getattr(model, "scaling", None)
    if not isinstance(scaling, InputScaling):
        return gradient
    with torch.no_grad():  # by the chain rule; a window's own unit counts as given
        return gradient * scaling.units(given) * scaling.divisor


def _traced_answer(call: RecurrentCall, path: str, run: int, traced: list[Traced]) -> Any:
    """Run the layers of a call again, so that gradients by what drives them can be asked for."""
    last: list[tuple[Tensor, ...]] = []

    def trace(direction: Direction) -> Steps:
        drive = F.linear(direction.x, direction.needed("weight_ih"), direction.weight("bias_ih"))
        if not drive.requires_grad:  # neither weights nor inputs are learned
            drive.requires_grad_()
        weights = [weight.detach() for weight in direction.weights]
        weights[0] = torch.eye(drive.shape[-1], dtype=drive.dtype, device=drive.device)
        if call.module.bias:
            weights[2] = torch.zeros_like(weights[2])
        h, ends = direction.fused(drive, weights, train=True)  # cuDNN goes back in training mode only
        own, name = direction.own, direction.name(path, run)
        valid = slice(None) if call.lengths is None else call.mask
        pairs = [(end.detach() - theirs, theirs) for end, theirs in zip(ends, direction.last, strict=True)]
        if own is not None:
            pairs.append((h.detach()[valid] - own[valid], own[valid]))
        check_rounding(pairs, direction, h, name)
        traced.append(Traced(direction, path, run, drive, h))
        last.append(ends)
        return h

    output = through(call, trace)
    return call.answer(output, [torch.stack(states) for states in zip(*last, strict=True)])


@contextmanager
def _differentiating(model: nn.Module) -> Iterator[None]:
    """Let gradients be taken, whatever the caller turned off."""
    cuda = placement(model)[0].type == "cuda"  # whose cuDNN goes back through layers in training mode only
    enabled = torch.backends.cudnn.enabled and not cuda
    cudnn = torch.backends.cudnn.flags(enabled=enabled, allow_tf32=False)
    with torch.inference_mode(False), torch.enable_grad(), cudnn:
        yield


def _check_loss(value: object) -> None:
    if isinstance(value, Tensor) and value.numel() == 1 and value.requires_grad:
        return
    told = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    lacking = " without a gradient" if isinstance(value, Tensor) and not value.requires_grad else ""
    raise ValueError(
        f"the loss must be a single number that depends on the model's answer, got {told}{lacking}. "
        "Give it as a function of what the model returns: lambda answer: F.cross_entropy(answer, y)."
    )
