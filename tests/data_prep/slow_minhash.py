"""MinHash by its definition, in plain Python: the oracle of the compiled loops."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from data_prep import keyed

ALL = 2**64 - 1
BASE = 0x9E3779B97F4A7C15


def mix(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & ALL
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & ALL
    return x ^ (x >> 31)


def words_of(text: str) -> list[str]:
    """The oracle's words: lower case of each character by itself, of which the first if it becomes two."""
    return ["".join(c.lower()[0] for c in word) for word in re.findall(r"\w+", text)]


def word_hash(word: str) -> int:
    value = 0
    for c in word:
        value = (value * BASE + ord(c)) & ALL
    return mix(value)


def slow_shingles(text: str, ngram: int) -> list[int]:
    """The definition, in plain Python."""
    words = [word_hash(word) for word in words_of(text)]
    width = min(ngram, len(words))
    return [
        mix(sum(word * pow(BASE, k + 1, 2**64) for k, word in enumerate(words[i : i + width])) & ALL)
        for i in range(len(words) - width + 1 if words else 0)
    ]


TEXT = st.text() | st.text(st.sampled_from("aB_1 .,éßΣİ中가я\u0301\U0001d400\U0001f600\u00a0"), max_size=60)


def slow_signature(text: str, ngram: int, functions: int, seed: int) -> list[int]:
    """The definition, in plain Python."""
    hashes = [hash >> 32 for hash in slow_shingles(text, ngram)]
    a = [keyed.key(seed, "minhash a", str(i)) >> 32 | 1 for i in range(functions)]
    b = [keyed.key(seed, "minhash b", str(i)) >> 32 for i in range(functions)]
    return [min((x * hash + y) % 2**32 for hash in hashes) for x, y in zip(a, b, strict=True)]


def slow_keys(signature: list[int], bands: int) -> list[int]:
    rows = len(signature) // bands
    keys = []
    for band in range(bands):
        key = mix(band + 1)
        for value in signature[band * rows : (band + 1) * rows]:
            key = mix(key ^ value)
        keys.append(key)
    return keys
