from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from data_prep import extract
from data_prep.extract import Extracted, Extractor, ExtractSettings, Failure, decode

KOREAN = "안녕하세요 여러분 반갑습니다 오늘은 좋은 날입니다. " * 5
JAPANESE = "これは日本語の文章です。文字化けしないでください。" * 5
RUSSIAN = "Привет, это обычный русский текст, который надо распознать. " * 5
FRENCH = "Voilà un texte français qui a été écrit à Paris, où l’été fut très chaud. " * 5


def page(text: str, meta: str = "", title: str = "A title") -> str:
    menu = "<nav><ul><li><a href='/'>Home</a></li><li><a href='/x'>Log in</a></li></ul></nav>"
    return f"<html><head>{meta}<title>{title}</title></head><body>{menu}<article><p>{text}</p></article></body></html>"


def text_of(body: bytes, content_type: str = "text/html", charset: str = "", **settings: Any) -> Extracted:
    found = Extractor(ExtractSettings(**settings))(body, content_type, charset)
    assert isinstance(found, Extracted), found
    return found


def reason_of(body: bytes, content_type: str = "text/html") -> str:
    found = Extractor(ExtractSettings())(body, content_type)
    assert isinstance(found, Failure), found
    return found.reason


@pytest.mark.parametrize("extractor", ["trafilatura-fast", "trafilatura"])
def test_main_text_and_title(extractor: str) -> None:
    found = text_of(page("The main text of the page. " * 10, title="Of  mice\n&amp; men").encode(), extractor=extractor)
    assert found.text.startswith("The main text of the page.")
    assert "Log in" not in found.text
    assert (found.title, found.encoding, found.undecodable) == ("Of mice & men", "utf-8", 0)


@pytest.mark.parametrize(
    ("text", "codec", "meta", "charset"),
    [
        (KOREAN, "cp949", '<meta http-equiv="Content-Type" content="text/html; charset=EUC-KR">', ""),
        (KOREAN, "cp949", "<meta charset=ks_c_5601-1987>", ""),
        (KOREAN, "cp949", "", "euc-kr"),
        (KOREAN, "utf-8", "<meta charset=euc-kr>", "iso-8859-1"),
        (JAPANESE, "cp932", "<meta charset='Shift_JIS'>", ""),
        (JAPANESE, "euc_jp", "", "EUC-JP"),
        (JAPANESE, "iso2022_jp", "<meta charset=iso-2022-jp>", ""),
        (JAPANESE, "utf-16", "", ""),
        (RUSSIAN, "cp1251", "<meta charset=windows-1251>", ""),
        (RUSSIAN, "koi8_r", "", ""),
        (FRENCH, "cp1252", "<meta charset=iso-8859-1>", ""),
        (FRENCH, "cp1252", "<meta charset=utf-8>", "latin1"),
        (FRENCH, "utf-8-sig", "", "iso-8859-1"),
    ],
)
def test_encodings(text: str, codec: str, meta: str, charset: str) -> None:
    found = text_of(page(text, meta).encode(codec), charset=charset)
    assert text.strip() in found.text
    assert found.undecodable == 0


def test_encoding_of_xml_declaration() -> None:
    body = '<?xml version="1.0" encoding="EUC-KR"?>\n' + page(KOREAN)
    assert KOREAN.strip() in text_of(body.encode("cp949"), "application/xhtml+xml").text


def test_undecodable_bytes_are_counted() -> None:
    body = page("Some text that is long enough, with ü. " * 5, "<meta charset=utf-8>").encode() + b"\xff\xfe"
    text, name, bad = decode(body)
    assert (name, bad) == ("utf-8", 2)
    assert "with ü" in text
    assert text_of(body).undecodable == 2


def test_unknown_charset_is_passed_over() -> None:
    assert decode("é".encode() * 3, "no-such-charset") == ("ééé", "utf-8", 0)


def test_plain_text_as_it_is() -> None:
    text = "  <p> is a tag\r\n\r\n  and é stays.\n"
    assert text_of(text.encode(), "text/plain").text == text


def test_missing_content_type_is_guessed() -> None:
    assert text_of(page("The main text of the page. " * 10).encode(), "").title == "A title"
    assert text_of(b"just text", "").text == "just text"


def test_references_that_name_no_character() -> None:
    text = text_of(page("A paragraph &#xD800;&#1;&#x0B;&#0; of text. " * 10 + "&#10;&#169;&#12345;").encode()).text
    assert text.startswith("A paragraph")
    assert "©〹" in text
    assert text.encode()


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"{}", "application/json", "not-text"),
        (b"%PDF-1.4 ...", "text/html", "not-text"),
        (b"\x89PNG\r\n", "text/plain", "not-text"),
        (b"", "text/html", "empty"),
        (b" \n ", "text/plain", "empty"),
        (b"<html><body></body></html>", "text/html", "empty"),
        (b"<html><body>" + b"<div>" * 100_000, "text/html", "empty"),
    ],
)
def test_failures(body: bytes, content_type: str, reason: str) -> None:
    assert reason_of(body, content_type) == reason


def test_crash_of_the_extractor_costs_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(extract.trafilatura, "bare_extraction", crash)
    found = Extractor(ExtractSettings())(page("x").encode(), "text/html")
    assert found == Failure("extract-failed", "RecursionError: too deep")


def test_caches_are_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(extract, "reset_caches", lambda: calls.append(1))
    monkeypatch.setattr(extract, "RESET_EVERY", 3)
    extractor = Extractor(ExtractSettings())
    for _ in range(7):
        extractor(b"text", "text/plain")
    assert len(calls) == 2


@given(st.one_of(st.binary(), st.text(alphabet="<>/!-&#;x\"'= apdivtrcom\0\x01é").map(str.encode)))
def test_no_page_raises(body: bytes) -> None:
    for kind in ("text/html", "text/plain"):
        found = Extractor(ExtractSettings())(body, kind)
        assert isinstance(found, Failure) or found.text.encode()


@pytest.mark.skipif("WEBTEXT_DATA_ROOT" not in os.environ, reason="WEBTEXT_DATA_ROOT is not set")
def test_real_articles(tmp_path: Path) -> None:
    """Share of the required strings found, and of the forbidden ones left out, on annotated articles."""
    source = Path(os.environ["WEBTEXT_DATA_ROOT"]) / "extract_gt" / "extract_gt.tar.zst"
    if not source.is_file():
        pytest.skip(f"{source} is not there")
    with (
        source.open("rb") as packed,
        zstandard.ZstdDecompressor().stream_reader(packed) as plain,
        tarfile.open(fileobj=plain, mode="r|") as archive,
    ):
        archive.extractall(tmp_path, filter="data")
    extractor = Extractor(ExtractSettings())
    found = missed = kept = removed = 0
    for truth in json.loads((tmp_path / "trafilatura" / "annotations.json").read_text(encoding="utf-8")):
        result = extractor((tmp_path / "trafilatura" / "html" / truth["file"]).read_bytes(), "text/html")
        text = result.text if isinstance(result, Extracted) else ""
        for wanted in truth["must_contain"]:
            found, missed = found + (wanted in text), missed + (wanted not in text)
        for unwanted in truth["must_not_contain"]:
            kept, removed = kept + (unwanted in text), removed + (unwanted not in text)
    recall, precision = found / (found + missed), found / (found + kept)
    print(f"recall {recall:.3f}, precision {precision:.3f} over {found + missed + kept + removed} strings")
    assert recall > 0.85
    assert precision > 0.85
