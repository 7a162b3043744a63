"""The cheapest set of values from which others can be computed: a minimum cut (Ford-Fulkerson)."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)
_Capacities = dict[Hashable, dict[Hashable, float]]
_START, _END = object(), object()


def cheapest_cut(
    made_of: Mapping[T, Sequence[T]], cost: Callable[[T], float], wanted: Iterable[T]
) -> list[T]:
    """The values to store so that every one of `wanted` is stored or follows from what is.

    Args:
        made_of: for each value that can be computed, the values that are needed for it; one that is
            missing can only be stored.
        cost: of storing a value.
        wanted: what is needed in the end.

    Of several cheapest sets it is the one from which the least has to be computed.

    >>> tree = {"sum": ["a", "b"], "twice": ["sum"], "square": ["sum"]}
    >>> cheapest_cut(tree, lambda value: 1.0, ["twice", "square"])
    ['sum']
    """
    room, nodes = _network(made_of, cost, wanted)
    while path := _path(room):
        flow = min(room[a][b] for a, b in path)
        for a, b in path:
            room[a][b] -= flow
            room[b][a] = room[b].get(a, 0.0) + flow
    behind = _before_end(room)
    return [n for n in nodes if (n, "in") not in behind and (n, "out") in behind]


def _network(
    made_of: Mapping[T, Sequence[T]], cost: Callable[[T], float], wanted: Iterable[T]
) -> tuple[_Capacities, list[T]]:
    room: _Capacities = defaultdict(dict)
    waiting = list(dict.fromkeys(wanted))
    for node in waiting:
        room[node, "out"][_END] = math.inf
    seen = dict.fromkeys(waiting)
    while waiting:
        node = waiting.pop()
        room[node, "in"][node, "out"] = cost(node)
        if node not in made_of:
            room[_START][node, "in"] = math.inf
        for part in made_of.get(node, ()):
            room[part, "out"][node, "in"] = math.inf
            if part not in seen:
                seen[part] = None
                waiting.append(part)
    return room, list(seen)


def _path(room: _Capacities) -> list[tuple[Hashable, Hashable]]:
    """The edges of a shortest way from start to end that has room left."""
    came: dict[Hashable, Hashable] = {_START: _START}
    waiting = deque([_START])
    while waiting and _END not in came:
        here = waiting.popleft()
        for there, left in room[here].items():
            if left > 0 and there not in came:
                came[there] = here
                waiting.append(there)
    edges, here = [], _END
    while here in came and here is not _START:
        edges.append((came[here], here))
        here = came[here]
    return edges


def _before_end(room: _Capacities) -> set[Hashable]:
    """Everything from which the end can still be reached."""
    back: dict[Hashable, list[Hashable]] = defaultdict(list)
    for a, edges in list(room.items()):
        for b, left in edges.items():
            if left > 0:
                back[b].append(a)
    found: set[Hashable] = {_END}
    waiting = [_END]
    while waiting:
        for node in back[waiting.pop()]:
            if node not in found:
                found.add(node)
                waiting.append(node)
    return found
