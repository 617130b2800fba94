"""Maximum flow through a layered graph, compiled: Dinic's algorithm on words of 64 edges.

Layers are dense, so which edges are open is kept as bits beside the capacities: a level of the graph, and the
next step of a path, are found 64 edges at a time. Every path closes at least one edge exactly and every
phase makes paths longer, so it ends, whatever the rounding. Importing this module needs numba.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, no_type_check

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


class Graph(NamedTuple):
    """What can still flow. Layer 0 holds the source alone, the last the sink, as their nodes 0.

    Attributes
    ----------
    capacity
        (way, layer, tail, head): way 0 leads from a node of `layer` down to one of the next, way 1 back up.
    is_open
        (way, layer, tail, word): bit h of the words is set where `capacity` to head h is more than nothing.
    """

    capacity: np.ndarray
    is_open: np.ndarray


class Path(NamedTuple):
    """The nodes gone through from the source, by layer and number."""

    layer: np.ndarray
    node: np.ndarray


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
def _spread(graph, here, after):
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
                        after[layer + 1, to] |= graph.is_open[0, layer, tail, to]
                    if layer > 0:
                        after[layer - 1, to] |= graph.is_open[1, layer - 1, tail, to]


@_compiled
@no_type_check
def _levels(graph, reach, seen):
    """Write the nodes at each distance from the source (distance, layer, word); return the sink's, or −1."""
    seen[:] = _ZERO
    reach[0] = _ZERO
    seen[0, 0] = reach[0, 0, 0] = _ONE
    for distance in range(1, len(reach)):
        after = reach[distance]
        after[:] = _ZERO
        _spread(graph, reach[distance - 1], after)
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
def _walk(graph, reach, path, depth, goal):
    """Walk on from step `depth` of the path to the sink at distance `goal`, striking out what leads nowhere.

    Return whether it got there; if not, no path of that length is left.
    """
    last = reach.shape[1] - 1
    while depth < goal:
        layer, node = path.layer[depth], path.node[depth]
        to, head = layer + 1, -1
        if layer < last:  # straight down first: what a position keeps is its widest edge
            head = _common(graph.is_open[0, layer, node], reach[depth + 1, to], node)
        if head < 0 and layer > 0:
            to = layer - 1
            head = _common(graph.is_open[1, to, node], reach[depth + 1, to], node)
        if head >= 0:
            depth += 1
            path.layer[depth], path.node[depth] = to, head
        elif depth == 0:
            return False
        else:
            _clear(reach[depth, layer], node)
            depth -= 1
    return True


@_compiled
@no_type_check
def _push(graph, way, layer, tail, head, amount):
    """Send `amount` along an edge, which can then be sent back; return whether that closed it."""
    back = graph.capacity[1 - way, layer, head, tail]
    if back <= CLOSED:
        _set(graph.is_open[1 - way, layer, head], tail)
    graph.capacity[1 - way, layer, head, tail] = back + amount
    left = graph.capacity[way, layer, tail, head] - amount
    graph.capacity[way, layer, tail, head] = left
    if left <= CLOSED:
        _clear(graph.is_open[way, layer, tail], head)
        return True
    return False


@_compiled
@no_type_check
def _augment(graph, path, goal):
    """Send all that `path` can carry; return it, and how far down the path is still open."""
    amount = np.inf
    for step in range(goal):
        way = 0 if path.layer[step + 1] > path.layer[step] else 1
        layer = path.layer[step] - way
        amount = min(amount, graph.capacity[way, layer, path.node[step], path.node[step + 1]])
    usable = goal
    for step in range(goal - 1, -1, -1):
        way = 0 if path.layer[step + 1] > path.layer[step] else 1
        layer = path.layer[step] - way
        if _push(graph, way, layer, path.node[step], path.node[step + 1], amount):
            usable = step
    return amount, usable


@_compiled
@no_type_check
def _solve(top, inner, sinks, found):
    """Write the maximum flow to each sink."""
    steps, nodes = len(inner) + 2, len(top)
    words = (nodes + 63) >> 6
    longest = (steps - 1) * nodes + 2
    graph = Graph(np.zeros((2, steps, nodes, nodes)), np.zeros((2, steps, nodes, words), np.uint64))
    first = np.zeros((steps, nodes, words), np.uint64)
    _opened(inner, first[1:-1])
    _opened(top.reshape(1, 1, nodes), first[:1, :1])
    reach = np.zeros((longest, steps + 1, words), np.uint64)
    seen = np.zeros((steps + 1, words), np.uint64)
    path = Path(np.zeros(longest, np.int64), np.zeros(longest, np.int64))
    for sink in range(len(sinks)):
        graph.capacity[0, 0, 0] = top
        graph.capacity[0, 1:-1] = inner
        graph.capacity[0, -1, :, 0] = sinks[sink]
        graph.capacity[1, :-1] = 0.0
        graph.capacity[1, -1, 0] = 0.0
        graph.is_open[0] = first
        graph.is_open[1] = _ZERO
        for node in range(nodes):
            if sinks[sink, node] > CLOSED:
                _set(graph.is_open[0, -1, node], 0)
        cut = min(top.sum(), sinks[sink].sum())
        while found[sink] < cut - MET:
            goal = _levels(graph, reach, seen)
            if goal < 0:
                break
            depth = 0
            while _walk(graph, reach, path, depth, goal):
                amount, depth = _augment(graph, path, goal)
                found[sink] += amount
