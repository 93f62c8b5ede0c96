import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from report_runs import all_runs

from pipeline.report import graph
from pipeline.report.query import RunView


def test_edges_follow_digests_and_leave_out_what_a_longer_path_says() -> None:
    found = graph.edges(all_runs())
    assert found["id-links"] == {"id-submissions"}
    assert found["id-fast"] == {"id-links"}  # its tag names the submissions too
    assert found["id-pretrained"] == {"id-fast"}
    assert found["id-random"] == set()
    assert found["id-eval"] == {"id-fast"}


def test_a_run_id_joins_where_the_digest_is_unknown() -> None:
    maker = RunView("m", "maker", "data/shards")
    user = RunView("u", "user", "pretrain", tags={"upstream.shards": "gone", "upstream.shards.run_id": "m"})
    assert graph.edges([maker, user])["u"] == {"m"}


@st.composite
def chains(draw: st.DrawFn) -> list[RunView]:
    runs: list[RunView] = []
    for i in range(draw(st.integers(1, 9))):
        origins = draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set()
        tags = {"digest": f"d{i}"} | {f"upstream.s{j}": f"d{j}" for j in origins}
        runs.append(RunView(f"r{i}", f"run & <{i}>", "data/x", tags=tags))
    return runs


@given(chains())
def test_the_reduction_keeps_who_descends_from_whom(runs: list[RunView]) -> None:
    def ancestors(found: graph.Edges, node: str) -> set[str]:
        return set().union(*({origin} | ancestors(found, origin) for origin in found[node]))

    direct = {r.run_id: {f"r{v[1:]}" for k, v in r.tags.items() if k.startswith("upstream.")} for r in runs}
    reduced = graph.edges(runs)
    for node in direct:
        assert ancestors(reduced, node) == ancestors(direct, node)
        for origin in reduced[node]:
            others = reduced[node] - {origin}
            assert all(origin not in ancestors(reduced, other) for other in others)


@given(chains())
def test_boxes_do_not_overlap_and_lie_below_their_origins(runs: list[RunView]) -> None:
    root = ElementTree.fromstring(graph.svg(runs))
    boxes = {}
    for group in root.iter("g"):
        rect = group.find("rect")
        title = group.findtext("title")
        assert rect is not None
        assert title is not None
        run_id = re.search(r"run (r\d+)", title)
        assert run_id is not None
        boxes[run_id.group(1)] = tuple(float(rect.attrib[k]) for k in ("x", "y", "width", "height"))
    assert set(boxes) == {run.run_id for run in runs}
    placed = list(boxes.values())
    for i, (x, y, w, h) in enumerate(placed):
        for x2, y2, w2, h2 in placed[i + 1 :]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
    for node, origins in graph.edges(runs).items():
        for origin in origins:
            assert boxes[origin][1] + boxes[origin][3] < boxes[node][1]


def test_tags_in_a_circle_still_give_a_picture() -> None:
    runs = [
        RunView("a", "a", "data/a", tags={"digest": "da", "upstream.b": "db"}),
        RunView("b", "b", "data/b", tags={"digest": "db", "upstream.a": "da"}),
    ]
    assert graph.svg(runs).count("<rect") == 2
    assert graph.svg([]) == ""
