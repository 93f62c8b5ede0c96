from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_texts import document

from data_prep.drop import Change, Drop
from data_prep.errors import UserError
from data_prep.filters.c4 import BadWords, C4Settings, c4, sentences

GOOD = (
    "The first sentence of this page is here.\nThe second one asks whether you read it?\nThe third one shouts loudly!"
)
LINE = "This line has quite enough words"


def result(text: str, **settings: object) -> Drop | Change | None:
    return c4(document(text), C4Settings.model_validate(settings).expanded())


def test_a_clean_page_is_left_as_it_is() -> None:
    assert result(GOOD) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (LINE, "without-end-mark"),
        (f"{LINE} and so on...", "without-end-mark"),
        (f"{LINE} and so on\u2026", "without-end-mark"),
        (f"{LINE}:", "without-end-mark"),
        ("Only four words here.", "too-few-words"),
        (f"{LINE}, among them {'x' * 1001}.", "long-word"),
        (f"{LINE}, please enable Javascript.", "javascript"),
        (f"{LINE} and a Privacy Policy.", "policy"),
        (f"{LINE}, we use cookies.", "policy"),
        (f"{LINE}.", None),
        (f'{LINE} in "quotes"', None),
        (f"{LINE} in \u201cquotes\u201d", None),
        (f"{LINE}, among them {'x' * 999}.", None),
        ("Exactly five words are here.", None),
    ],
)
def test_line_rules(line: str, reason: str | None) -> None:
    found = result(f"{GOOD}\n{line}")
    if reason is None:
        assert found is None
    else:
        assert found == Change(GOOD, {f"c4-lines-{reason}": 1})


def test_each_line_rule_can_be_off() -> None:
    faults = {
        "terminal_punctuation": (LINE, "without-end-mark"),
        "min_words_per_line": ("four words are few.", "too-few-words"),
        "javascript": ("enable JavaScript now in your browser.", "javascript"),
        "policies": ("read our privacy policy right here now.", "policy"),
    }
    bad = [line for line, _ in faults.values()]
    off: dict[str, object] = dict.fromkeys(faults, False)
    assert result("\n".join([GOOD, *bad]), **off) is None
    for setting, (line, reason) in faults.items():
        rest = {key: value for key, value in off.items() if key != setting}
        expected = "\n".join([GOOD, *(other for other in bad if other != line)])
        assert result("\n".join([GOOD, *bad]), **rest) == Change(expected, {f"c4-lines-{reason}": 1})


def test_page_rules() -> None:
    assert result(f"{GOOD}\nint main() {{").reason == "c4-curly-bracket"  # type: ignore[union-attr]
    assert result(f"{GOOD}\nint main() {{", curly_bracket=False) == Change(GOOD, {"c4-lines-without-end-mark": 1})
    assert result(f"{GOOD}\nLorem Ipsum dolor").reason == "c4-lorem-ipsum"  # type: ignore[union-attr]
    # "fewer than 3 sentences", counted after the lines were taken out
    assert result("The first sentence is here now.\nAnd another one is over here.\nmenu") == Drop(
        "c4-too-few-sentences", 2
    )
    assert result("One is here now. Two is over here. Three is there as well.") is None
    assert result("") == Drop("c4-too-few-sentences", 0)


def test_citation_marks_are_taken_out() -> None:
    text = f"{GOOD}\nThis line has a source [12][citation needed] and [edit] more of them [x]."
    expected = f"{GOOD}\nThis line has a source  and  more of them [x]."
    assert result(text) == Change(expected, {"c4-citations": 3})
    assert result(text, citations=False) is None
    # What stands after the last word must not hide its end mark.
    assert result(f"{GOOD}\n{LINE}.[3]") == Change(f"{GOOD}\n{LINE}.", {"c4-citations": 1})


def test_bad_words_come_from_the_user_only(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("# mine\nDamned\nbloody hell\n몹쓸\n悪い言葉\n")
    given_list = {"bad_words": [str(words)]}
    assert result(GOOD, **given_list) is None
    for text, word in (
        ("a DAMNED thing", "damned"),
        ("Bloody,\nhell!", "bloody hell"),
        ("아주 몹쓸 사람", "몹쓸"),
        ("これは悪い言葉です", "悪い言葉"),
    ):
        assert result(f"{GOOD}\n{text}", **given_list) == Drop("c4-bad-word", detail=word)
    for text in ("undamned", "hell is bloody", "damnedest"):
        assert isinstance(result(f"{GOOD}\n{text}", **given_list), Change)
    with pytest.raises(UserError, match=r"no-such\.txt"):
        C4Settings(bad_words=("no-such.txt",)).expanded()


def test_entries_with_punctuation_are_found() -> None:
    assert BadWords(("a-b", "rock'n'roll")).find("so A-B it is") == "a-b"
    assert BadWords(("...",)).find("well ... yes") is None


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("One. Two! Three?", 3),
        ("One of 3.5 and e.g.this", 1),
        ('He said "no." Then he left.', 2),
        ("Wait... what?!", 2),
        ("\u4eca\u65e5\u306f\u3002\u6674\u308c\uff01", 2),
        ("no end", 1),
    ],
)
def test_sentences(line: str, count: int) -> None:
    assert sentences(line) == count


@given(st.text(alphabet=st.sampled_from('ab .!?\n[]1"')))
def test_what_is_kept_is_lines_of_the_text_and_stays_as_it_is(text: str) -> None:
    found = result(text, min_sentences=0, min_words_per_line=2, citations=False)
    kept = found.text if isinstance(found, Change) else text
    assert set(kept.splitlines()) <= {line.strip() for line in text.splitlines()} | set(text.splitlines())
    if isinstance(found, Change):
        assert result(found.text, min_sentences=0, min_words_per_line=2, citations=False) is None
