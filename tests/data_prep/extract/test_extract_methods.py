from __future__ import annotations

from pages_of_text import MENU, sentence

from data_prep.extract import Extracted, ExtractSettings, page_function
from data_prep.extract.methods import combine


def test_combine_keeps_the_lines_that_both_have() -> None:
    careful = f"{sentence(1)}\n- An item\n{sentence(2)}\nSubscribe"
    complete = f"Menu\n\n{sentence(1)}\nAn  item\n{sentence(2)}"
    assert combine(careful, complete) == f"{sentence(1)}\n- An item\n{sentence(2)}"


def test_combine_where_they_differ() -> None:
    assert combine(sentence(1), sentence(2)) == sentence(1)
    assert combine("", sentence(2)) == sentence(2)
    assert combine(sentence(1), "") == sentence(1)
    assert combine("", "") == ""


def maker(html: str) -> str:
    found = page_function(ExtractSettings(extractor="cascade"))(html.encode(), "text/html", "")
    assert isinstance(found, Extracted), found
    return found.extractor.split(" ")[0]


def test_cascade_hands_over_what_is_not_clear() -> None:
    paragraphs = "".join(f"<p>{sentence(i)}</p>" for i in range(5))
    clear = f"<html><body>{MENU}<div>{paragraphs}</div></body></html>"
    bits = "".join(f"<div><p>{sentence(i)}</p>{'<div>a bit of text</div>' * 20}</div>" for i in range(5))
    assert maker(clear) == "density"
    assert maker(f"<html><body>{MENU}{bits}</body></html>") == "trafilatura-fast"
    assert maker(f"<html><body>{MENU}<div><p>{sentence(1)}</p></div></body></html>") == "trafilatura-fast"
