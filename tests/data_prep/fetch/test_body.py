from __future__ import annotations

import gzip
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.fetch.body import GzipMeter, gunzip_prefix
from data_prep.fetch.failure import Failure

MIB = 1 << 20


def feed(body: bytes, piece: int, max_bytes: int = 10 * MIB, max_ratio: float = 100) -> None:
    meter = GzipMeter(max_bytes, max_ratio)
    for start in range(0, len(body), piece):
        meter.feed(body[start : start + piece])


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 50), st.binary(max_size=5))
def test_whole_bodies_pass_however_they_are_cut(members: list[bytes], piece: int, rest: bytes) -> None:
    feed(b"".join(map(gzip.compress, members)) + rest, piece, max_bytes=2000)


@given(st.binary(max_size=3000), st.integers(1, 100))
def test_no_bytes_break_it(body: bytes, piece: int) -> None:
    for content in (body, b"\x1f\x8b" + body, gzip.compress(body)[: len(body)]):
        try:
            feed(content, piece, max_bytes=1000)
        except Failure as failure:
            assert failure.reason in ("too-large", "bad-encoding")
        assert len(gunzip_prefix(content, 100)) <= 100


def test_one_byte_more_than_the_limit_is_too_large() -> None:
    noise = random.Random(0).randbytes(5000)
    feed(gzip.compress(noise), 100, max_bytes=5000)
    with pytest.raises(Failure, match="too-large"):
        feed(gzip.compress(noise), 100, max_bytes=4999)


def test_the_ratio_matters_above_a_megabyte() -> None:
    feed(gzip.compress(bytes(MIB)), 100)
    with pytest.raises(Failure, match="compression-bomb"):
        feed(gzip.compress(bytes(MIB + 1)), 100)


def test_members_one_after_another_are_counted_together() -> None:
    with pytest.raises(Failure, match="too-large"):
        feed(gzip.compress(b"x" * 600) * 2, 64, max_bytes=1000)


def test_what_says_gzip_and_is_not_passes_as_it_is() -> None:
    feed(b"<html>plain</html>", 1)
