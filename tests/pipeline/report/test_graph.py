import re
from xml.etree import ElementTree

from hypothesis import given
from report_runs import chains

from pipeline.report import graph
from pipeline.report.origins import edges
from pipeline.report.runs import RunView


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
    for node, origins in edges(runs).items():
        for origin in origins:
            assert boxes[origin][1] + boxes[origin][3] < boxes[node][1]


def test_tags_in_a_circle_still_give_a_picture() -> None:
    runs = [
        RunView("a", "a", "data/a", tags={"digest": "da", "upstream.b": "db"}),
        RunView("b", "b", "data/b", tags={"digest": "db", "upstream.a": "da"}),
    ]
    assert graph.svg(runs).count("<rect") == 2
    assert graph.svg([]) == ""
