from __future__ import annotations

import pytest
from some_texts import document

from data_prep.errors import UserError
from data_prep.filters.blocklist import BlocklistSettings, blocklist


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://bad.com/a", "bad.com"),
        ("https://deep.sub.bad.com:8080/a", "bad.com"),
        ("https://notbad.com/", None),
        ("https://bad.com.example.org/", None),
        ("https://a.org/?u=bad.com", None),
        ("https://only.this.org/", "only.this.org"),
        ("https://this.org/", None),
    ],
)
def test_domains(url: str, found: str | None) -> None:
    settings = BlocklistSettings(domains=("bad.com", "only.this.org")).expanded()
    drop = blocklist(document(url=url), settings)
    assert (drop and (drop.reason, drop.detail)) == (found and ("blocked-domain", found))


def test_subreddits_in_any_case() -> None:
    settings = BlocklistSettings(subreddits=("Pics",)).expanded()
    drop = blocklist(document(metadata='{"subreddit": "PICS"}'), settings)
    assert drop is not None
    assert (drop.reason, drop.detail) == ("blocked-subreddit", "pics")
    for other in ('{"subreddit": "picsofcats"}', '{"subreddit": null}', "{}"):
        assert blocklist(document(metadata=other), settings) is None


def test_the_settings_hold_what_the_lists_say() -> None:
    settings = BlocklistSettings(domains=("list:openwebtext-domains", "Own.example")).expanded()
    assert {"github.com", "xkcd.com", "own.example"} <= set(settings.domains)
    assert settings.expanded() == settings
    with pytest.raises(UserError, match="no bundled list"):
        BlocklistSettings(domains=("list:nothing",)).expanded()
