from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_texts import ENGLISH, document

from data_prep.drop import Change
from data_prep.filters.pii import PiiSettings, pii, scrub

ALL = PiiSettings(phone=True)
PIECES = st.sampled_from(
    [
        *"ab19@.:+-() \n",
        "joe.b@mail.co.uk",
        "8.8.8.8",
        "10.0.0.1",
        "2001:4860:4860::8888",
        "+82 10-1234-5678",
        "555-0100",
    ]
)


@pytest.mark.parametrize(
    ("text", "clean", "counts"),
    [
        ("Mail joe.bloggs+x@mail.example.co.uk.", "Mail email@example.com.", {"email": 1}),
        ("<joe_b@a-b.org>,Ann@x.io", "<email@example.com>,email@example.com", {"email": 2}),
        ("mailto:joe@web.de?subject=x", "mailto:email@example.com?subject=x", {"email": 1}),
        ("server 8.8.8.8:53 and 1.1.1.1.", "server 192.0.2.1:53 and 192.0.2.1.", {"ip": 2}),
        ("ping 8.8.8.8 now", "ping 192.0.2.1 now", {"ip": 1}),
        ("DNS 2001:4860:4860::8888, ok", "DNS 2001:db8::1, ok", {"ip": 1}),
        ("at 2a00:1450:4001:81b:0:0:0:200e: yes", "at 2001:db8::1: yes", {"ip": 1}),
        ("call +82 10-1234-5678 now", "call 555-0100 now", {"phone": 1}),
        ("call +1 (212) 555-0187.", "call 555-0100.", {"phone": 1}),
        ("(212) 555-0187, 212-555-0187 or 212.555.0187", "555-0100, 555-0100 or 555-0100", {"phone": 3}),
        ("tel 010-1234-5678", "tel 555-0100", {"phone": 1}),
    ],
)
def test_replaces(text: str, clean: str, counts: dict[str, int]) -> None:
    assert scrub(text, ALL) == (clean, counts)


@pytest.mark.parametrize(
    "text",
    [
        f"{'a' * 65}@mail.org is longer than RFC 5321 allows",
        "user@host, @decorator, a @ b.com, git@, x@y.c, me@1.2",
        "private 10.0.0.1, 192.168.1.1, 127.0.0.1, 169.254.169.254",
        "versions 1.2.3, 1.2.3.4.5, v1.2.3.4, 300.1.1.1, 1.2.3.04",
        "local ::1, fe80::1, fc00::1, 2001:db8::5 and dead::beef",
        "time 12:34:56, 2015:10:12, std::vector, a::b",
        "dates 2015-10-12, 12.10.2015 and 2015-10-12-1234",
        "numbers 1234567890, 123-45-6789, 978-3-16-148410-0, +5, +100 000, 0.1-0.2",
        "1 555-0100, email@example.com and 192.0.2.1",
        ENGLISH,
    ],
)
def test_leaves(text: str) -> None:
    assert scrub(text, ALL) == (text, {})


def test_each_kind_can_be_off() -> None:
    text = "a@b.org 8.8.8.8 +82 10-1234-5678"
    assert scrub(text, PiiSettings(email=False)) == ("a@b.org 192.0.2.1 +82 10-1234-5678", {"ip": 1})
    assert scrub(text, PiiSettings(ip=False)) == ("email@example.com 8.8.8.8 +82 10-1234-5678", {"email": 1})
    assert scrub(text, PiiSettings(email=False, ip=False)) == (text, {})


def test_what_was_replaced_is_counted_and_noted() -> None:
    assert pii(document("no address here"), ALL) is None
    found = pii(document("a@b.org and c@d.org at 8.8.8.8"), ALL)
    assert found == Change(
        "email@example.com and email@example.com at 192.0.2.1",
        {"pii-email": 2, "pii-ip": 1},
        {"pii": {"email": 2, "ip": 1}},
    )


@given(st.lists(PIECES, max_size=30).map("".join))
def test_a_second_run_changes_nothing(text: str) -> None:
    once, _ = scrub(text, ALL)
    assert scrub(once, ALL) == (once, {})


@pytest.mark.parametrize("run", ["a", "a.", "1.", "1:", "+1 ", "a@", "2a00:", "(1)", "8.8.8.8.", "1-", "a@b."])
@pytest.mark.timeout(20)
def test_long_runs_take_no_time(run: str) -> None:
    scrub(run * 300_000, ALL)
