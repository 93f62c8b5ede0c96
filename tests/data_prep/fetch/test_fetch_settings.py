from __future__ import annotations

from typing import Any

import pytest
from hostile_server import AGENT
from pydantic import ValidationError

from data_prep.config import DataConfig
from data_prep.configfile import validate
from data_prep.errors import UserError
from data_prep.fetch.settings import FetchSettings


@pytest.mark.parametrize(
    ("agent", "token"),
    [
        (AGENT, "TestCrawl"),
        ("Rebuild-Web_Text (me@example.org)", "Rebuild-Web_Text"),
        ("A https://example.org", "A"),
    ],
)
def test_honest_agents(agent: str, token: str) -> None:
    assert FetchSettings(user_agent=agent).product_token == token


@pytest.mark.parametrize(
    "agent",
    [
        "",
        "Crawl/1.0",
        "Crawl/1.0 (contact us)",
        "(me@example.org)",
        "Crawl9/1 me@example.org",
        "Crawl me@e.org\r\nX: y",
        "Crål me@e.org",
    ],
)
def test_agents_without_token_or_contact_are_refused(agent: str) -> None:
    with pytest.raises(ValidationError):
        FetchSettings(user_agent=agent)


def test_the_contact_has_no_default() -> None:
    data = {"name": "x", "root": "r", "inputs": {"dumps": ["d"], "archives": ["a"]}, "fetch": {"concurrency": 2}}
    with pytest.raises(UserError, match=r"fetch.user_agent is missing"):
        validate(DataConfig, data, "c.yaml")
    with pytest.raises(UserError, match="must say how to reach you"):
        validate(DataConfig, {**data, "fetch": {"user_agent": "Crawl/1.0"}}, "c.yaml")


@pytest.mark.parametrize(
    "hosts",
    [
        {"a.test": "127.0.0.1:80"},
        {"a.test:80": "10.0.0.1:80"},
        {"a.test:22": "127.0.0.1:1"},
        {"a.test:80": "localhost:1"},
    ],
)
def test_the_exemption_for_tests_leads_to_this_machine_only(hosts: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        FetchSettings(user_agent=AGENT, unsafe_test_hosts=hosts)


def test_a_refused_network_must_be_one() -> None:
    with pytest.raises(ValidationError):
        FetchSettings(user_agent=AGENT, refused_networks=("intranet",))


@pytest.mark.parametrize(
    "changes", [{"concurrency": 7}, {"user_agent": "Other/2 (you@example.org)"}, {"total_timeout": 5}, {"retries": 9}]
)
def test_manners_do_not_decide_what_a_page_is(changes: dict[str, Any]) -> None:
    plain = FetchSettings(user_agent=AGENT)
    assert FetchSettings(**({"user_agent": AGENT} | changes)).content() == plain.content()
    assert FetchSettings(user_agent=AGENT, max_bytes=5).content() != plain.content()
