from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages_of_text import CHINESE, FRENCH, JAPANESE, KOREAN, RUSSIAN, TURKISH, page

from data_prep.extract.encoding import decode


@pytest.mark.parametrize(
    ("text", "codec", "meta", "charset"),
    [
        (KOREAN, "cp949", '<meta http-equiv="Content-Type" content="text/html; charset=EUC-KR">', ""),
        (KOREAN, "cp949", "<meta charset=ks_c_5601-1987>", ""),
        (KOREAN, "cp949", "", "euc-kr"),
        (KOREAN, "utf-8", "<meta charset=euc-kr>", "iso-8859-1"),
        (JAPANESE, "cp932", "<meta charset='Shift_JIS'>", ""),
        (JAPANESE, "cp932", "<meta charset='x-sjis'>", ""),
        (JAPANESE, "euc_jp", "", "EUC-JP"),
        (JAPANESE, "iso2022_jp", "<meta charset=iso-2022-jp>", ""),
        (JAPANESE, "utf-16", "", ""),
        (CHINESE, "gb18030", "<meta charset=gb2312>", ""),
        (CHINESE, "gbk", "", "GBK"),
        (CHINESE.replace("们", "們"), "big5hkscs", "<meta charset=big5>", ""),
        (RUSSIAN, "cp1251", "<meta charset=windows-1251>", ""),
        (RUSSIAN, "koi8_r", "", ""),
        (FRENCH, "cp1252", "<meta charset=iso-8859-1>", ""),
        (FRENCH, "cp1252", "<meta charset=utf-8>", "latin1"),
        (FRENCH, "utf-8-sig", "", "iso-8859-1"),
        (TURKISH, "cp1254", "<meta charset=iso-8859-9>", ""),
    ],
)
def test_encodings(text: str, codec: str, meta: str, charset: str) -> None:
    if codec == "big5hkscs":
        text = text.translate(str.maketrans("气园丽见", "氣園麗見")).replace("到了", "到").replace("很多", "很多")
    found, _, undecodable = decode(page(text, meta).encode(codec), charset)
    assert text in found
    assert undecodable == 0


def test_encoding_of_xml_declaration() -> None:
    body = '<?xml version="1.0" encoding="EUC-KR"?>\n' + page(KOREAN)
    assert KOREAN in decode(body.encode("cp949"))[0]


def test_undecodable_bytes_are_counted() -> None:
    body = page("Some text that is long enough, with ü. " * 5, "<meta charset=utf-8>").encode() + b"\xff\xfe"
    text, name, bad = decode(body)
    assert (name, bad) == ("utf-8", 2)
    assert "with ü" in text


def test_unknown_charset_is_passed_over() -> None:
    assert decode("é".encode() * 3, "no-such-charset") == ("ééé", "utf-8", 0)


@given(st.binary(max_size=300), st.sampled_from(["", "utf-8", "euc-kr", "utf-16", "x-user-defined", "utf-7", "\0"]))
def test_any_bytes_decode(body: bytes, charset: str) -> None:
    text, name, undecodable = decode(body, charset)
    assert undecodable <= len(text)
    assert name
