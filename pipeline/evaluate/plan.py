"""How requests are computed: trees of tokens that share what comes before them, and batches of such nodes.

A node's padded length follows from the node alone, and only nodes of one padded length are batched. So neither the
number of rows nor the neighbours change what is computed for a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from pipeline.evaluate.requests import Request, Window
from pipeline.model.loss import IGNORE

MIN_PREFIX = 32
"""Tokens that contexts must share before their common beginning is computed apart."""
_MIN_SAVED = 0.2
"""Share of a cluster's tokens that this must save: what follows a prefix is computed more slowly."""


@dataclass(frozen=True)
class Span:
    """Neighbouring positions of a node whose next tokens are asked for.

    Attributes:
        begin: the first of them.
        targets: ids that follow them.
        request: number of the request.
        first: number of the first target within the request.
    """

    begin: int
    targets: Sequence[int]
    request: int
    first: int


@dataclass
class Node:
    """Tokens that are computed together, behind those of the nodes above.

    Attributes:
        tokens: ids.
        spans: what is asked.
        children: what follows.
    """

    tokens: Sequence[int]
    spans: list[Span]
    children: list[Node] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """Spans of it and all below."""
        return len(self.spans) + sum(child.asked for child in self.children)

    @property
    def cost(self) -> int:
        """Tokens of it and all below."""
        return len(self.tokens) + sum(child.cost for child in self.children)


def window_node(window: Window, request: int) -> Node:
    """A window as a node of its own."""
    spans: list[Span] = []
    begin, first = None, 0
    for position, target in enumerate([*window.targets, IGNORE]):
        if target != IGNORE and begin is None:
            begin = position
        elif target == IGNORE and begin is not None:
            spans.append(Span(begin, window.targets[begin:position], request, first))
            first += position - begin
            begin = None
    return Node(window.tokens, spans)


def forest(requests: Iterable[tuple[int, Request]]) -> list[Node]:
    """Trees in which each context, and the beginning that many contexts share, stands once.

    Args:
        requests: with the numbers that their spans bear; no two are equal.
    """
    groups: dict[tuple[int, ...], list[tuple[int, tuple[int, ...]]]] = {}
    for number, request in requests:
        groups.setdefault(request.context, []).append((number, request.continuation))
    nodes = [_context_node(context, continuations) for context, continuations in groups.items()]
    return list(_clustered(sorted(nodes, key=lambda node: tuple(node.tokens))))


def prompts_forest(prompts: Sequence[Sequence[int]], share: bool) -> list[Node]:
    """Trees that end in prompts; the span of each bears its number and asks for nothing.

    Args:
        prompts: ids of each, at least one.
        share: compute what many of them begin with once.
    """
    nodes = [Node(ids, [Span(len(ids) - 1, (), number, 0)]) for number, ids in enumerate(prompts)]
    return list(_clustered(sorted(nodes, key=lambda node: tuple(node.tokens)))) if share else nodes


def _context_node(context: tuple[int, ...], continuations: list[tuple[int, tuple[int, ...]]]) -> Node:
    last = len(context) - 1
    if len(continuations) == 1:
        ((number, ids),) = continuations
        return Node((*context, *ids[:-1]), [Span(last, ids, number, 0)])
    return Node(
        context,
        [Span(last, ids[:1], number, 0) for number, ids in continuations],
        [Node(ids[:-1], [Span(0, ids[1:], number, 1)]) for number, ids in continuations if len(ids) > 1],
    )


def _first_asked(node: Node) -> int:
    return min(span.begin for span in node.spans)


def _shared(one: Sequence[int], other: Sequence[int], most: int) -> int:
    for position, (left, right) in enumerate(zip(one[:most], other[:most], strict=False)):
        if left != right:
            return position
    return min(most, len(one), len(other))


def _clustered(nodes: Sequence[Node]) -> Iterator[Node]:
    """Sorted nodes; those that begin with the same tokens stand below a node of these where that is worth it."""
    start = 0
    while start < len(nodes):
        shared, end = _first_asked(nodes[start]), start + 1
        while end < len(nodes):
            less = _shared(nodes[end - 1].tokens, nodes[end].tokens, min(shared, _first_asked(nodes[end])))
            count = end - start
            if less < MIN_PREFIX or count * less < (count - 1) * shared:
                break
            shared, end = less, end + 1
        cluster = nodes[start:end]
        saved = (len(cluster) - 1) * shared
        if saved > 0 and saved >= _MIN_SAVED * sum(node.cost for node in cluster):
            yield Node(cluster[0].tokens[:shared], [], [_behind(node, shared) for node in cluster])
        else:
            yield from cluster
        start = end


def _behind(node: Node, shared: int) -> Node:
    spans = [replace(span, begin=span.begin - shared) for span in node.spans]
    return Node(node.tokens[shared:], spans, node.children)


def padded(length: int) -> int:
    """Columns that so many tokens take: a multiple of 4, and at most a tenth more where they are many."""
    step = 4 if length <= 16 else max(8, 1 << (length.bit_length() - 5))
    return -(-length // step) * step


def batches(nodes: Sequence[Node], before: int, budget: int) -> Iterator[list[int]]:
    """Numbers of nodes that are computed together, longest first, each once.

    Nodes of a batch have one padded length, and all of them have children or none.

    Args:
        nodes: all behind equally many columns.
        before: those columns.
        budget: columns that the rows of a batch may have in all, those before included; one row may have more.
    """
    alike: dict[tuple[int, bool], list[int]] = {}
    for number, node in enumerate(nodes):
        alike.setdefault((padded(len(node.tokens)), bool(node.children)), []).append(number)
    for (columns, _), numbers in sorted(alike.items(), reverse=True):
        rows = max(1, budget // (before + columns))
        for first in range(0, len(numbers), rows):
            yield numbers[first : first + rows]


def deal(nodes: Sequence[Node], ranks: int) -> list[list[Node]]:
    """Nodes for each rank, near equal in cost; what follows a shared beginning may go to several ranks."""
    shares: list[list[Node]] = [[] for _ in range(ranks)]
    load = [0] * ranks
    parts = [part for node in nodes for part in _split(node, ranks)]
    for part in sorted(parts, key=lambda part: -part.cost):
        rank = load.index(min(load))
        shares[rank].append(part)
        load[rank] += part.cost
    return shares


def _split(node: Node, parts: int) -> list[Node]:
    if node.spans or parts == 1:
        return [node]
    return [Node(node.tokens, [], children) for part in range(parts) if (children := node.children[part::parts])]
