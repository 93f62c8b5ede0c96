from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import UserError
from data_prep.lists import BUNDLED, blocked_by, load_domains, load_list


def test_things_given_one_by_one() -> None:
    assert load_list(("Pics", "funny", "pics", " AskReddit ")) == ("askreddit", "funny", "pics")
    assert load_list(()) == ()


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("\ufeff# comment\nB.com  # why\n\na.com\nb.com\nc#\n two words \n")
    assert load_list((str(path), "z.com")) == ("a.com", "b.com", "c#", "two words", "z.com")


def test_a_url_of_a_file() -> None:
    with fsspec.open("memory://lists/words.txt", "wb") as handle:
        handle.write("단어\nword\n".encode())
    assert load_list(("memory://lists/words.txt",)) == ("word", "단어")


@pytest.mark.parametrize("path", sorted(BUNDLED.glob("*.txt")), ids=lambda path: path.stem)
def test_bundled_lists_are_domains_in_order(path: Path) -> None:
    entries = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert load_domains((f"list:{path.stem}",)) == tuple(entries)
    assert path.read_text().startswith("# ")


def test_bundled_lists_stand_in_the_package_data() -> None:
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'data_prep = ["{BUNDLED.name}/*.txt"]' in pyproject


def test_what_the_clones_leave_out() -> None:
    first, second = load_list(("list:openwebtext-domains",)), load_list(("list:openwebtext2-domains",))
    assert {"google.com", "github.com", "ebay.com", "xkcd.com", "rollingstone.com", "wikipedia.org"} <= set(first)
    assert set(second) < set(first)
    assert set(first) - set(second) >= {"ebay.com", "pornhub.com", "deviantart.com"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "list:openwebtext-domain",
            r"list:openwebtext-domain: there is no bundled list .* did you mean list:openwebtext",
        ),
        ("list:zzz", r"there are: openwebtext-domains, openwebtext2-domains, wikipedia-mirrors"),
        ("missing.txt", r"missing\.txt: .*cannot be read \(No such file"),
        ("no/such/file", r"no/such/file: .*cannot be read"),
        ("nothing://a/b", r"nothing://a/b: Protocol not known"),
        ("{}", r"binary\.txt: not UTF-8 at byte 1"),
        ("{}.empty.txt", r"holds no entry"),
        (" ", "blank"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, entry: str, message: str) -> None:
    path = tmp_path / "binary.txt"
    path.write_bytes(b"a\xff\xfe")
    (tmp_path / "binary.txt.empty.txt").write_text("# nothing\n")
    with pytest.raises(UserError, match=message):
        load_list((entry.format(path),))


def test_domains_are_spelled_as_in_canonical_urls() -> None:
    assert load_domains(("WWW.Example.com", "*.a.org", "bücher.de")) == ("a.org", "example.com", "xn--bcher-kva.de")
    for wrong in ("not a domain", "user@a.com", "a.com:80", "a_b c", "*"):
        with pytest.raises(UserError, match="not a domain"):
            load_domains((wrong,))


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("a.com", "a.com"),
        ("x.y.a.com", "a.com"),
        ("very.deep.b.a.com", "b.a.com"),
        ("nota.com", None),
        ("com", None),
        ("a.com.org", None),
        ("[2001:db8::1]", None),
        ("", None),
    ],
)
def test_a_domain_stands_for_its_subdomains(host: str, found: str | None) -> None:
    assert blocked_by(host, frozenset({"a.com", "b.a.com"})) == found


LABELS = st.lists(st.sampled_from(["a", "b", "com"]), min_size=1, max_size=5).map(".".join)


@given(LABELS, st.frozensets(LABELS, max_size=4))
def test_blocked_means_equal_or_below(host: str, domains: frozenset[str]) -> None:
    expected = [d for d in domains if host == d or host.endswith(f".{d}")]
    assert blocked_by(host, domains) == (max(expected, key=len) if expected else None)
