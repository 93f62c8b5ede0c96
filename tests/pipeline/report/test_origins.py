from hypothesis import given
from report_runs import all_runs, chains

from pipeline.report.origins import Edges, edges
from pipeline.report.runs import RunView


def test_edges_follow_digests_and_leave_out_what_a_longer_path_says() -> None:
    found = edges(all_runs())
    assert found["id-links"] == {"id-submissions"}
    assert found["id-fast"] == {"id-links"}  # its tag names the submissions too
    assert found["id-pretrained"] == {"id-fast"}
    assert found["id-random"] == set()
    assert found["id-eval"] == {"id-fast"}


def test_a_run_id_joins_where_the_digest_is_unknown() -> None:
    maker = RunView("m", "maker", "data/shards")
    user = RunView("u", "user", "pretrain", tags={"upstream.shards": "gone", "upstream.shards.run_id": "m"})
    assert edges([maker, user])["u"] == {"m"}


@given(chains())
def test_the_reduction_keeps_who_descends_from_whom(runs: list[RunView]) -> None:
    def ancestors(found: Edges, node: str) -> set[str]:
        return set().union(*({origin} | ancestors(found, origin) for origin in found[node]))

    direct = {r.run_id: {f"r{v[1:]}" for k, v in r.tags.items() if k.startswith("upstream.")} for r in runs}
    reduced = edges(runs)
    for node in direct:
        assert ancestors(reduced, node) == ancestors(direct, node)
        for origin in reduced[node]:
            others = reduced[node] - {origin}
            assert all(origin not in ancestors(reduced, other) for other in others)
