from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data_prep import urls
from data_prep.urls import canonical_url, host_of, partition_of, partitions_of, registered_domain, url_id


@pytest.mark.parametrize(
    ("given_url", "canonical"),
    [
        ("http://Example.COM", "https://example.com/"),
        ("HTTPS://example.com:443/A", "https://example.com/A"),
        ("http://example.com:80/", "https://example.com/"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("http://example.com:8080/", "http://example.com:8080/"),
        ("http://www.example.com/", "https://example.com/"),
        ("http://www.www.example.com/", "https://example.com/"),
        ("http://www.com/", "https://www.com/"),
        ("http://www.co.uk/", "https://www.co.uk/"),
        ("http://example.com./x#top", "https://example.com/x"),
        ("http://twitter.com/#!/a/status/1", "https://twitter.com/#!/a/status/1"),
        ("http://user:secret@example.com/", "https://example.com/"),
        ("http://example.com@evil.com/", "https://evil.com/"),
        ("http://example.com/a/./b/../c/..", "https://example.com/a/"),
        ("http://example.com/%7Euser/%c3%a9/%2f", "https://example.com/~user/%C3%A9/%2F"),
        ("http://example.com/é b", "https://example.com/%C3%A9%20b"),
        ("http://example.com/100%", "https://example.com/100%25"),
        ("http://example.com/?b=2&a=1&b=1", "https://example.com/?a=1&b=2&b=1"),
        ("http://example.com/?utm_source=x&utm_medium=y", "https://example.com/"),
        ("http://example.com/?id=1&FBCLID=z", "https://example.com/?id=1"),
        ("http://example.com/?dupe=withhonor", "https://example.com/?dupe=withhonor"),
        ("http://münchen.de/", "https://xn--mnchen-3ya.de/"),
        ("http://xn--mnchen-3ya.de/", "https://xn--mnchen-3ya.de/"),
        ("http://foo_bar.example.com/", "https://foo_bar.example.com/"),
        ("http://[2001:DB8::0:1]:80/", "https://[2001:db8::1]/"),
        ("http://example.com\\a\\b", "https://example.com/a/b"),
        (" http://exa\nmple.com/ ", "https://example.com/"),
        # Nothing else is touched.
        ("https://web.archive.org/web/2016/http://x.de//a", "https://web.archive.org/web/2016/http://x.de//a"),
        ("https://example.com/Index.HTML", "https://example.com/Index.HTML"),
    ],
)
def test_canonical_form(given_url: str, canonical: str) -> None:
    assert canonical_url(given_url) == canonical


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "example.com/a",
        "ftp://example.com/",
        "mailto:a@b.c",
        "http:///path",
        "http://",
        "http://a b/",
        "http://-a.com/",
        "http://a..b/",
        "http://x:99999/",
        "http://x:80x/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://" + "a" * 300 + ".com/",
        "http://" + "ü" * 300 + ".com/",
        "http://example.com/\ud800",
        "javascript:alert(1)",
    ],
)
def test_not_a_page_address(bad: str) -> None:
    assert canonical_url(bad) is None


any_urls = st.builds(
    lambda scheme, host, port, rest: f"{scheme}://{host}{port}{rest}",
    st.sampled_from(["http", "https", "HTTP"]),
    st.one_of(
        st.sampled_from(["www.Example.com", "www.www.co.uk", "日本語.jp", "[::1]", "1.2.3.4", "www.com", "a_b.c"]),
        st.from_regex(r"[a-zA-Z0-9._-]{1,20}", fullmatch=True),
        st.text(max_size=12),
    ),
    st.sampled_from(["", ":", ":80", ":443", ":8080"]),
    st.text(alphabet=st.sampled_from("/.%?#&=!a\\Ab25e~é ;:@+\t"), max_size=30),
)


@given(st.one_of(st.text(), any_urls))
@example("http://a/%25%2e%2E/b")
@example("http://a/b?&&=&a")
@example("http://x:00080/")
def test_idempotent_and_total(url: str) -> None:
    once = canonical_url(url)
    if once is not None:
        assert canonical_url(once) == once
        assert once.isascii()
        assert urlsplit(once).scheme in ("http", "https")
        assert len(url_id(once)) == 32
        assert host_of(once)


simple_urls = st.builds(
    lambda scheme, host, rest: f"{scheme}://{host}{rest}",
    st.sampled_from(["http", "https"]),
    st.sampled_from(["a.com", "www.a.co.uk", "www.com", "a..b", "-a.com", "1.2.3.4", "a_b.c", "a.com."]),
    st.text(alphabet=st.sampled_from("/.?#&=!ab1~-:@;,_" + "utm_v"), max_size=24),
)


@given(simple_urls)
@example("http://a.com?")
@example("http://a.com/?&utm_a&=")
@example("http://a.com/#!x")
@example("http://a.com/a?b/../c")
def test_the_short_way_for_simple_addresses_gives_the_same(url: str) -> None:
    assert canonical_url(url) == urls._canonical(url)


segments = st.from_regex(r"([A-Za-z0-9_~!$'()*+,;=:@-]|%2F|%C3%A9|%20){0,6}(\.html)?", fullmatch=True)
parameters = st.from_regex(r"[a-z]{1,3}(=([A-Za-z0-9._~/?:-]|%26){0,4})?", fullmatch=True)


@given(
    st.sampled_from(
        ["https://a.com", "https://b.co.uk", "http://a.com:8080", "https://a.com:8443", "http://a.com:443"]
    ),
    st.lists(segments, max_size=4),
    st.lists(parameters, max_size=4),
    st.sampled_from(["", "#!", "#!/a/b"]),
)
def test_what_must_not_be_touched_is_not(origin: str, path: list[str], query: list[str], fragment: str) -> None:
    """Case, escapes, empty segments, trailing slashes, ports, repeated names in their order: so none are merged."""
    query = sorted(query, key=lambda part: part.partition("=")[0])
    url = f"{origin}/{'/'.join(path)}{'?' if query else ''}{'&'.join(query)}{fragment}"
    assert canonical_url(url) == url


@given(
    st.sampled_from(["http://a.com", "https://www.a.com", "HTTPS://A.com:443", "http://me@a.com."]),
    st.permutations(["x=1", "y=2", "utm_source=r", "fbclid=9", "z"]),
    st.sampled_from(["", "#top", "#"]),
)
def test_spellings_of_one_address(origin: str, query: list[str], fragment: str) -> None:
    assert canonical_url(f"{origin}/p/./q/../?{'&'.join(query)}{fragment}") == "https://a.com/p/?x=1&y=2&z"


hosts = st.from_regex(r"(www\.){0,2}[a-z]{1,2}(\.[a-z]{1,2}){0,2}\.(com|co\.uk|io|jp)", fullmatch=True)


@given(hosts, hosts, st.sampled_from(["", ":81", ":443"]), st.sampled_from(["", ":81", ":443"]))
def test_different_hosts_stay_different(a: str, b: str, port_a: str, port_b: str) -> None:
    def bare(host: str) -> str:
        while host.startswith("www."):
            host = host.removeprefix("www.")
        return host

    if canonical_url(f"http://{a}{port_a}/") == canonical_url(f"http://{b}{port_b}/"):
        assert (bare(a), port_a) == (bare(b), port_b)


@given(st.lists(st.integers(0, 2**128 - 1), min_size=1), st.integers(1, 50))
def test_partitions_are_ranges_in_order(numbers: list[int], partitions: int) -> None:
    ids = sorted(f"{n:032x}" for n in numbers)
    found = [partition_of(i, partitions) for i in ids]
    assert found == sorted(found)
    assert all(0 <= p < partitions for p in found)
    assert partitions_of(ids, partitions).tolist() == found


def test_ids_are_stable() -> None:
    assert url_id("https://example.com/") == "503c1beec51db0209ff1930daa8e5b98"


def test_registered_domain_works_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("network used")

    monkeypatch.setattr(socket, "socket", no_network)
    assert registered_domain("news.bbc.co.uk") == "bbc.co.uk"
    assert registered_domain("en.m.wikipedia.org") == "wikipedia.org"
    assert registered_domain("localhost") == "localhost"
