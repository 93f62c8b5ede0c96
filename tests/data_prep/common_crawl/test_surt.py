from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.common_crawl.surt import surt_key
from data_prep.urls import canonical_url

# The first three as they stand in published indexes.
KNOWN = {
    "https://fusionbikes.com.ar/producto/luz-knog/": "ar,com,fusionbikes)/producto/luz-knog",
    "http://futbolinterior.com.ar/component/mailto/?tmpl=component&template=shaper&link=b2": (
        "ar,com,futbolinterior)/component/mailto?link=b2&template=shaper&tmpl=component"
    ),
    "http://146.148.124.0/index.php": "0,124,148,146)/index.php",
    "http://example.com": "com,example)/",
    "https://www2.Example.com:443/A//b/?Y=2&x=1&x": "com,example)/a/b?x&x=1&y=2",
    "http://example.com:8080/": "com,example:8080)/",
    "http://a.com/%7Euser/caf%C3%A9/ü": "com,a)/~user/caf%c3%a9/%c3%bc",
    "http://a.com/a%2520b%23c": "com,a)/a%20b%23c",
    "http://a.com/p?jsessionid=0123456789abcdef0123456789ABCDEF&q=1": "com,a)/p?q=1",
    "http://a.com/p?q=1&PHPSESSID=0123456789abcdef0123456789abcdef": "com,a)/p?q=1",
    "http://a.com/(S(abcdefghijklmnopqrstuvwx))/page.aspx": "com,a)/page.aspx",
    "http://xn--bcher-kva.example/": "example,xn--bcher-kva)/",
}


@pytest.mark.parametrize("url", KNOWN)
def test_known_keys(url: str) -> None:
    canonical = canonical_url(url)
    assert canonical is not None
    assert surt_key(canonical) == KNOWN[url]


PATH = st.text("aZ/.%~é?&=1 ", max_size=20)


@given(PATH)
def test_scheme_www_case_and_what_the_canonical_form_drops_change_nothing(path: str) -> None:
    url = f"example.co.uk/{path}"
    canonical = canonical_url(f"https://{url}#other")
    assert canonical is not None
    key = surt_key(canonical)
    assert key.isascii() and " " not in key
    assert key.startswith("uk,co,example)/")
    assert surt_key(canonical_url(f"http://www.{url}#part") or "") == key
    assert surt_key(canonical.replace("example", "www3.example")) == key


@given(st.text())
def test_every_canonical_url_has_a_key(text: str) -> None:
    canonical = canonical_url(f"http://[::1]/{text}")
    if canonical is not None:
        assert surt_key(canonical).startswith("[::1])/")


def test_other_text_has_none() -> None:
    with pytest.raises(ValueError, match="not a canonical URL"):
        surt_key("mailto:x")
