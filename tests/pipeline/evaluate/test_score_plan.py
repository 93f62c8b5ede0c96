"""Trees and batches of requests: what is computed is what was asked, each once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.plan import MIN_PREFIX, Node, batches, deal, forest, padded, prompts_forest, window_node
from pipeline.evaluate.requests import Request, Window, cut
from pipeline.model.loss import IGNORE

Asked = tuple[tuple[int, ...], int, int, int]
"""(everything before, target, number of the request, number of the target in it)."""

few_ids = st.integers(0, 2)
contexts = st.lists(few_ids, min_size=1, max_size=12).map(tuple)
prefixes = st.sampled_from([(), (0,) * (MIN_PREFIX - 1), (0,) * MIN_PREFIX, (1, 2) * MIN_PREFIX])
requests = st.lists(
    st.builds(
        lambda prefix, context, continuation: Request(prefix + context, continuation), prefixes, contexts, contexts
    ),
    max_size=25,
    unique=True,
)


def asked(nodes: Sequence[Node], before: tuple[int, ...] = ()) -> Iterator[Asked]:
    for node in nodes:
        seen = (*before, *node.tokens)
        for span in node.spans:
            for offset, target in enumerate(span.targets):
                end = len(before) + span.begin + offset + 1
                yield seen[:end], target, span.request, span.first + offset
        yield from asked(node.children, seen)


def wanted(all_requests: Sequence[Request]) -> list[Asked]:
    return [
        ((*request.context, *request.continuation[:place]), target, number, place)
        for number, request in enumerate(all_requests)
        for place, target in enumerate(request.continuation)
    ]


@given(requests)
def test_a_forest_asks_for_every_token_behind_all_that_is_before_it(found: list[Request]) -> None:
    assert sorted(asked(forest(enumerate(found)))) == sorted(wanted(found))


@given(requests, st.integers(1, 4))
def test_ranks_get_every_request_once(found: list[Request], ranks: int) -> None:
    shares = deal(forest(enumerate(found)), ranks)
    assert len(shares) == ranks
    assert sorted(one for share in shares for one in asked(share)) == sorted(wanted(found))


@given(requests)
def test_shared_beginnings_never_add_tokens(found: list[Request]) -> None:
    alone = sum(len(request.context) + len(request.continuation) - 1 for request in found)
    assert sum(node.cost for node in forest(enumerate(found))) <= alone


def test_a_context_and_a_common_beginning_stand_once() -> None:
    shots = tuple(range(100, 200))
    found = [Request((*shots, question), (9, choice)) for question in range(10) for choice in (1, 2, 3)]
    (root,) = forest(enumerate(found))
    assert (root.tokens, root.spans) == (shots, [])
    assert [child.tokens for child in root.children] == [(question,) for question in range(10)]
    assert all([leaf.tokens for leaf in child.children] == [(9,), (9,), (9,)] for child in root.children)
    assert root.cost == 100 + 10 + 30
    two, three = deal([root], 2)[0], deal([root], 3)[0]
    assert len(two[0].children) == 5
    assert len(three[0].children) == 4


def test_a_short_beginning_of_long_contexts_is_not_worth_it() -> None:
    found = [Request((*range(MIN_PREFIX), number, *range(500)), (1,)) for number in range(2)]
    assert len(forest(enumerate(found))) == 2


@given(st.lists(st.lists(few_ids, min_size=1, max_size=40).map(tuple), min_size=1, max_size=20), st.booleans())
def test_prompts_end_where_they_end(prompts: list[tuple[int, ...]], share: bool) -> None:
    found: dict[int, tuple[int, ...]] = {}

    def walk(nodes: Sequence[Node], before: tuple[int, ...]) -> None:
        for node in nodes:
            for span in node.spans:
                assert span.begin == len(node.tokens) - 1
                found[span.request] = (*before, *node.tokens)
            walk(node.children, (*before, *node.tokens))

    walk(prompts_forest(prompts, share), ())
    assert [found[number] for number in range(len(prompts))] == prompts


@given(st.lists(st.tuples(few_ids, st.one_of(st.just(IGNORE), few_ids)), min_size=1, max_size=30))
def test_a_window_asks_for_its_targets_in_order(pairs: list[tuple[int, int]]) -> None:
    tokens, targets = zip(*pairs, strict=True)
    node = window_node(Window(tokens, targets, 3), 8)
    places = [place for place, target in enumerate(targets) if target != IGNORE]
    expected = [(tokens[: place + 1], targets[place], 8, number) for number, place in enumerate(places)]
    assert list(asked([node])) == expected


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(0, 50), st.integers(1, 2000))
def test_batches_hold_every_node_once_within_the_budget(lengths: list[int], before: int, budget: int) -> None:
    nodes = [Node(range(length), [], [Node((1,), [])] * (number % 3 == 0)) for number, length in enumerate(lengths)]
    found = list(batches(nodes, before, budget))
    assert sorted(number for batch in found for number in batch) == list(range(len(nodes)))
    columns = []
    for batch in found:
        shapes = {(padded(lengths[number]), bool(nodes[number].children)) for number in batch}
        assert len(shapes) == 1, "rows of a batch are padded alike"
        ((width, _),) = shapes
        columns.append(width)
        assert len(batch) == 1 or len(batch) * (before + width) <= budget
    assert columns == sorted(columns, reverse=True), "longest first"


@given(st.integers(1, 5000))
def test_padding_is_small_and_a_multiple_of_four(length: int) -> None:
    assert padded(length) % 4 == 0
    assert length <= padded(length) < length + max(8, length / 10)


@given(contexts, contexts, st.integers(1, 20))
def test_what_does_not_fit_is_cut_on_the_left(context: tuple[int, ...], ids: tuple[int, ...], length: int) -> None:
    if len(ids) > length:
        return
    request, was_cut = cut(context, ids, length, "here")
    assert request.continuation == ids
    kept = (*request.context, *ids)
    assert kept == (*context, *ids)[-(length + 1) :]
    assert was_cut is (len(kept) < len(context) + len(ids))
