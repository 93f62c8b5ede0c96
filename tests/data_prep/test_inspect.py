from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import small_web

from data_prep import inspect
from data_prep.corpus import Corpus
from data_prep.errors import UserError
from data_prep.urls import canonical_url, url_id


@pytest.fixture(scope="module")
def corpus(finished_config: Path) -> Corpus:
    return Corpus.open(str(finished_config))


def test_reasons_are_counted_and_told_from_rows_that_only_were_counted(corpus: Corpus) -> None:
    (near,) = inspect.reasons(corpus.stage("near-dedup"))
    assert (near.reason, near.rows, near.logged) == ("near-duplicate", small_web.NEAR_COPIES, small_web.NEAR_COPIES)
    assert near.share == pytest.approx(small_web.NEAR_COPIES / (small_web.NEAR_COPIES + small_web.PAGES))
    (self_post,) = [r for r in inspect.reasons(corpus.stage("submissions")) if r.reason == "self-post"]
    assert (self_post.rows, self_post.logged) == (1, 0)


def test_a_dropped_document_comes_with_its_reason_and_the_text_it_had(corpus: Corpus) -> None:
    found = inspect.dropped(corpus, [corpus.stage("near-dedup")], 50, reason="near-duplicate")
    assert len(found) == small_web.NEAR_COPIES
    web = small_web.pages()
    for item in found:
        assert item.url.startswith("https://copy.net/near/")
        assert item.text is not None
        assert item.text.split()[:9] == web[item.url][0].split()[:9]
        assert item.detail.startswith("kept ")


def test_a_duplicate_comes_with_the_document_that_was_kept_instead(corpus: Corpus) -> None:
    web = small_web.pages()
    for stage, near in (("near-dedup", True), ("exact-dedup", False)):
        found = inspect.dropped(corpus, [corpus.stage(stage)], 50)
        assert found
        for item in found:
            assert item.twin_text is not None
            assert item.text is not None
            assert item.detail.endswith(item.twin_url)
            assert item.twin_text.split()[:9] == web[item.twin_url][0].split()[:9]
            assert (item.text.split() != item.twin_text.split()) == near


def test_without_a_reason_all_removals_of_all_stages_are_drawn_from(corpus: Corpus) -> None:
    found = inspect.dropped(corpus, corpus.document_stages(), 1000)
    assert len(found) == 1 + small_web.EXACT_COPIES + small_web.NEAR_COPIES
    assert {item.reason for item in found} == {"wikipedia", "same-text", "near-duplicate"}


def test_examples_of_every_reason_are_those_that_are_drawn_for_it_alone(corpus: Corpus) -> None:
    view = corpus.stage("near-dedup")
    found = inspect.examples(corpus, view, 3)
    assert found == {"near-duplicate": inspect.dropped(corpus, [view], 3, reason="near-duplicate")}
    assert inspect.examples(corpus, corpus.stage("links"), 3) == {}


def test_samples_are_the_same_each_time_and_others_for_another_seed(corpus: Corpus) -> None:
    view = corpus.stage("near-dedup")
    once, again, other = (inspect.kept(view, 8, seed) for seed in (0, 0, 1))
    assert once == again
    assert [item.id for item in once] != [item.id for item in other]
    assert [item.id for item in inspect.kept(view, 3)] == [item.id for item in once[:3]]
    assert len(inspect.kept(view, 1000)) == small_web.PAGES
    assert all(item.text for item in once)
    assert inspect.kept(view, 0) == []


def test_the_way_of_a_page_ends_where_it_was_removed(corpus: Corpus) -> None:
    events = {e.stage: e for e in inspect.trail(corpus, inspect.page_id(corpus, None, "http://www.copy.net/exact/1"))}
    assert [found.kept for found in events["filter"].found] == [True]
    (end,) = events["exact-dedup"].found
    assert (end.kept, end.reason) == (False, "same-text")
    assert events["near-dedup"].found == ()
    assert events["shards"].place == ""


def test_the_way_of_a_page_that_stays_ends_in_a_shard(corpus: Corpus) -> None:
    events = {event.stage: event for event in inspect.trail(corpus, url_id("https://site0.org/page/0"))}
    assert re.fullmatch(r"(train|validation)/shard-0000[0-9]\.arrow, row [0-9]+", events["shards"].place)
    (link,) = events["links"].found
    assert (link.kept, link.score, link.fields["subreddit"]) == (True, 10, "small")


def test_bad_questions_are_named(corpus: Corpus) -> None:
    with pytest.raises(UserError, match="no stage knows the page"):
        inspect.trail(corpus, "0" * 32)
    with pytest.raises(UserError, match=r"not an absolute http\(s\) address"):
        inspect.page_id(corpus, None, "ftp://x")
    with pytest.raises(UserError, match="not a document id: 'xyz'"):
        inspect.page_id(corpus, "xyz", None)
    with pytest.raises(UserError, match="unknown reason 'low-carma'; did you mean low-karma"):
        inspect.check_reason(corpus.stages, "low-carma")


def test_without_the_input_files_the_samples_come_without_text(finished_config: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(finished_config.parent / "root", root)
    moved = Corpus.open(str(root))
    shutil.rmtree(finished_config.parent / "nothing", ignore_errors=True)
    for path in (root / "exact-dedup").glob("part-*.parquet"):
        path.unlink()
    # The plan still names the files of the original, which are there.
    assert inspect.dropped(moved, [moved.stage("near-dedup")], 1)[0].text is not None
    plan = root / "near-dedup" / "plan.json"
    plan.write_text(plan.read_text().replace(str(finished_config.parent), "/gone"))
    moved = Corpus.open(str(root))
    found = inspect.dropped(moved, [moved.stage("near-dedup")], 1)
    assert (found[0].reason, found[0].text) == ("near-duplicate", None)
    assert canonical_url(found[0].url) == found[0].url
