from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from extraction_truth import annotated, score_strings, unpack
from pages_of_text import KOREAN, page

from data_prep.extract import Extracted, Extractor, ExtractSettings, Failure, page_function
from data_prep.warc import read_responses

LONG = "The main text of the page. " * 12
needs_data = pytest.mark.skipif("WEBTEXT_DATA_ROOT" not in os.environ, reason="WEBTEXT_DATA_ROOT is not set")


def test_the_child_gives_what_the_function_gives() -> None:
    bodies = [page(LONG).encode(), page(KOREAN, "<meta charset=euc-kr>").encode("cp949"), b"", b"%PDF-"]
    with Extractor(ExtractSettings(recycle_pages=3)) as extract:
        function = page_function(ExtractSettings())
        assert [extract(body, "text/html") for body in bodies] == [function(body, "text/html", "") for body in bodies]


def test_a_page_beyond_a_limit_is_left_out_with_its_reason() -> None:
    large = page("<b>a</b><i>b</i>" * 400_000).encode()
    for options, reason in (({"page_seconds": 0.1}, "extract-timeout"), ({"page_memory": 64 << 20}, "extract-memory")):
        with Extractor(ExtractSettings(extractor="density", **options)) as extract:
            extract(b"text", "text/plain")
            found = extract(large, "text/html")
            assert isinstance(found, Failure)
            assert found.reason == reason, found
            assert isinstance(extract(b"text", "text/plain"), Extracted)


PATHOLOGICAL = {
    "deep": b"<div>" * 100_000,
    "deep inline": b"<b><i>" * 50_000 + b"text",
    "deep tables": b"<table><tr><td>" * 20_000,
    "deep lists": b"<ul><li>" * 30_000,
    "long attribute": b"<p class='" + b"a " * 2_500_000 + b"'>" + LONG.encode(),
    "unclosed attribute": b'<p title="' + b"x=y " * 1_000_000,
    "many empty tags": b"<p></p>" * 1_000_000,
    "many attributes": b"<p " + b" ".join(b"a%d=1" % i for i in range(100_000)) + b">" + LONG.encode(),
    "one long word": b"<p>" + b"a" * 5_000_000,
    "many comments": b"<!-- - -->" * 300_000,
    "unclosed comments": b"<!--" * 500_000,
    "many references": b"&lt;" * 1_000_000,
    "many tables cells": b"<table>" + b"<td>" * 300_000,
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PATHOLOGICAL)
@pytest.mark.parametrize("extractor", ["trafilatura-fast", "density", "resiliparse"])
def test_a_pathological_page_costs_only_itself(extractor: str, name: str) -> None:
    with Extractor(ExtractSettings(extractor=extractor, page_seconds=2.0)) as extract:
        found = extract(b"<html><body>" + PATHOLOGICAL[name], "text/html")
        assert isinstance(found, Extracted) or found.reason in ("empty", "extract-timeout"), found
        assert isinstance(extract(page(LONG).encode(), "text/html"), Extracted)


@needs_data
def test_real_pages_whose_encoding_only_they_tell() -> None:
    """A manual in many languages: EUC-KR, EUC-JP, ISO-8859-1 and others declared in <meta>, nothing in the header."""
    archive = Path(os.environ["WEBTEXT_DATA_ROOT"]) / "e2e" / "pages.warc.gz"
    if not archive.is_file():
        pytest.skip(f"{archive} is not there")
    function = page_function(ExtractSettings(extractor="density"))
    encodings: Counter[str] = Counter()
    hangul = 0
    manual = "http://httpd.apache.org/docs/2.4/"
    for response in read_responses(
        str(archive), 10 << 20, lambda uri: uri.startswith((manual + "ko/", manual + "es/"))
    ):
        assert response.body is not None
        assert response.charset == ""
        found = function(response.body, response.content_type, response.charset)
        if isinstance(found, Extracted):
            encodings[found.encoding] += 1
            assert found.undecodable == 0, response.url
            if found.encoding == "cp949":
                hangul += any("가" <= character <= "힣" for character in found.text)
    assert encodings["cp949"] > 20
    assert hangul > 0.95 * encodings["cp949"]  # some are not translated
    assert len(encodings) > 1


def text_of(function: Callable[[bytes, str, str], Extracted | Failure], body: bytes) -> str:
    found = function(body, "text/html", "")
    return found.text if isinstance(found, Extracted) else ""


@needs_data
def test_annotated_articles(tmp_path: Path) -> None:
    """Precision and recall of the strings that must and must not be found, of the default and the fast extractor."""
    unpack(Path(os.environ["WEBTEXT_DATA_ROOT"]), tmp_path)
    pages = annotated(tmp_path)
    for extractor in ("trafilatura-fast", "cascade"):
        function = page_function(ExtractSettings(extractor=extractor))

        score = score_strings(partial(text_of, function), pages)
        assert min(score.precision, score.recall) > 0.9
