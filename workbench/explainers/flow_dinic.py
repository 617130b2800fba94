"""Maximum flow through a layered graph, compiled: Dinic's algorithm on words of 64 edges.

Layers are dense, so which edges are open is kept as bits beside the capacities: a level of the graph, and the
next step of a path, are found 64 edges at a time. Every path closes at least one edge exactly and every
phase makes paths longer, so it ends, whatever the rounding. Importing this module needs numba.

Layer 0 holds the source alone and the last layer the sink, as their nodes 0. What can still flow:

- capacity (way, layer, tail, head): way 0 leads from a node of `layer` down to one of the next, way 1 back.
- is_open (way, layer, tail, word): bit h of the words is set where `capacity` to head h is more than nothing.
- path (2, step): the layer and the node at each step from the source.
"""

from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float
from numba import njit

CLOSED = 1e-15  # capacities this small count as none
MET = 1e-14  # a flow this near to a cut has met it

_ZERO, _ONE = np.uint64(0), np.uint64(1)
_SEQUENCE, _SHIFT = np.uint64(0x03F79D71B4CB0A89), np.uint64(58)  # every 6 bits of it differ (de Bruijn)
_PLACES = np.zeros(64, np.int64)
for _place in range(64):
    _PLACES[((0x03F79D71B4CB0A89 << _place) & (2**64 - 1)) >> 58] = _place


def flows(
    top: Float[np.ndarray, " key"],
    inner: Float[np.ndarray, "layer query key"],
    sinks: Float[np.ndarray, "sink query"],
) -> Float[np.ndarray, " sink"]:
    """Return the maximum flow from one source to each sink on its own.

    Parameters
    ----------
    top
        What the source can send to each node below it.
    inner
        Capacities between layers, from the top down.
    sinks
        What each sink can take from each node of the lowest layer.
    """
    found = np.zeros(len(sinks))
    _solve(*(np.ascontiguousarray(part, np.float64) for part in (top, inner, sinks)), found)
    return found


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile for any thread to run beside others, and keep the machine code on disk where there is room."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder for it can be written to: compile anew in each process
        return njit(nogil=True)(function)


@_compiled
@no_type_check
def _lowest(word):
    """Return the place of the lowest set bit."""
    return _PLACES[((word & (~word + _ONE)) * _SEQUENCE) >> _SHIFT]


@_compiled
@no_type_check
def _set(bits, place):
    bits[place >> 6] |= _ONE << np.uint64(place & 63)


@_compiled
@no_type_check
def _clear(bits, place):
    bits[place >> 6] &= ~(_ONE << np.uint64(place & 63))


@_compiled
@no_type_check
def _common(one, other, start):
    """Return the first place set in both, from `start` round to it again; −1 if there is none."""
    first = start >> 6
    word = one[first] & other[first] & ~((_ONE << np.uint64(start & 63)) - _ONE)
    if word != _ZERO:
        return 64 * first + _lowest(word)
    for at in range(first + 1, len(one)):
        word = one[at] & other[at]
        if word != _ZERO:
            return 64 * at + _lowest(word)
    for at in range(first + 1):
        word = one[at] & other[at]
        if word != _ZERO:
            return 64 * at + _lowest(word)
    return -1


@_compiled
@no_type_check
def _opened(capacity, is_open):
    """Write which capacities are more than nothing."""
    is_open[:] = _ZERO
    for layer in range(capacity.shape[0]):
        for tail in range(capacity.shape[1]):
            for head in range(capacity.shape[2]):
                if capacity[layer, tail, head] > CLOSED:
                    _set(is_open[layer, tail], head)


@_compiled
@no_type_check
def _spread(is_open, here, after):
    """Add to `after` (layer, word) every node that an open edge leads to from a node in `here`."""
    last = len(here) - 1
    for layer in range(len(here)):
        for at in range(here.shape[1]):
            word = here[layer, at]
            while word != _ZERO:
                tail = 64 * at + _lowest(word)
                word &= word - _ONE
                for to in range(here.shape[1]):
                    if layer < last:
                        after[layer + 1, to] |= is_open[0, layer, tail, to]
                    if layer > 0:
                        after[layer - 1, to] |= is_open[1, layer - 1, tail, to]


@_compiled
@no_type_check
def _levels(is_open, reach, seen):
    """Write the nodes at each distance from the source (distance, layer, word); return the sink's, or −1."""
    seen[:] = _ZERO
    reach[0] = _ZERO
    seen[0, 0] = reach[0, 0, 0] = _ONE
    for distance in range(1, len(reach)):
        after = reach[distance]
        after[:] = _ZERO
        _spread(is_open, reach[distance - 1], after)
        fresh = _ZERO
        for layer in range(len(seen)):
            for at in range(seen.shape[1]):
                after[layer, at] &= ~seen[layer, at]
                seen[layer, at] |= after[layer, at]
                fresh |= after[layer, at]
        if after[-1, 0] != _ZERO:
            after[:-1] = _ZERO  # a path this long that ends elsewhere is none
            return distance
        if fresh == _ZERO:
            break
    return -1


@_compiled
@no_type_check
def _walk(is_open, reach, path, step, goal):
    """Walk on from `step` of the path to the sink at distance `goal`, striking out what leads nowhere.

    Return whether it got there; if not, no path of that length is left.
    """
    last = reach.shape[1] - 1
    while step < goal:
        layer, node = path[0, step], path[1, step]
        to, head = layer + 1, -1
        if layer < last:  # straight down first: what a position keeps is its widest edge
            head = _common(is_open[0, layer, node], reach[step + 1, to], node)
        if head < 0 and layer > 0:
            to = layer - 1
            head = _common(is_open[1, to, node], reach[step + 1, to], node)
        if head >= 0:
            step += 1
            path[0, step], path[1, step] = to, head
        elif step == 0:
            return False
        else:
            _clear(reach[step, layer], node)
            step -= 1
    return True


@_compiled
@no_type_check
def _augment(capacity, is_open, path, goal):
    """Send all that `path` can carry; return it, and how far down the path is still open."""
    amount = np.inf
    for step in range(goal):
        way = 0 if path[0, step + 1] > path[0, step] else 1
        amount = min(amount, capacity[way, path[0, step] - way, path[1, step], path[1, step + 1]])
    usable = goal
    for step in range(goal - 1, -1, -1):
        way = 0 if path[0, step + 1] > path[0, step] else 1
        layer, tail, head = path[0, step] - way, path[1, step], path[1, step + 1]
        if 0 < step < goal - 1:  # what is sent can be sent back, but to the source or from the sink
            if capacity[1 - way, layer, head, tail] <= CLOSED:
                _set(is_open[1 - way, layer, head], tail)
            capacity[1 - way, layer, head, tail] += amount
        capacity[way, layer, tail, head] -= amount
        if capacity[way, layer, tail, head] <= CLOSED:
            _clear(is_open[way, layer, tail], head)
            usable = step
    return amount, usable


@_compiled
@no_type_check
def _solve(top, inner, sinks, found):
    """Write the maximum flow to each sink."""
    steps, nodes = len(inner) + 2, len(top)
    words = (nodes + 63) >> 6
    longest = (steps - 1) * nodes + 2
    capacity = np.zeros((2, steps, nodes, nodes))
    is_open = np.zeros((2, steps, nodes, words), np.uint64)
    first = np.zeros((steps, nodes, words), np.uint64)
    _opened(inner, first[1:-1])
    _opened(top.reshape(1, 1, nodes), first[:1, :1])
    reach = np.zeros((longest, steps + 1, words), np.uint64)
    seen = np.zeros((steps + 1, words), np.uint64)
    path = np.zeros((2, longest), np.int64)
    for sink in range(len(sinks)):
        capacity[0, 0, 0] = top
        capacity[0, 1:-1] = inner
        capacity[0, -1, :, 0] = sinks[sink]
        capacity[1, 1:-1] = 0.0
        is_open[0] = first
        is_open[1] = _ZERO
        for node in range(nodes):
            if sinks[sink, node] > CLOSED:
                _set(is_open[0, -1, node], 0)
        cut = min(top.sum(), sinks[sink].sum())
        while found[sink] < cut - MET:
            goal = _levels(is_open, reach, seen)
            if goal < 0:
                break
            step = 0
            while _walk(is_open, reach, path, step, goal):
                amount, step = _augment(capacity, is_open, path, goal)
                found[sink] += amount
