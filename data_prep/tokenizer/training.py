"""Learning a vocabulary from text.

Hugging Face's trainer defines the result. For byte-level BPE `gigatoken`'s gives the same merges several times faster
where it is installed; tests compare both, also on texts made of ties.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import orjson
from tokenizers import trainers

from data_prep.tokenizer.codec import Tokenizer
from data_prep.tokenizer.layout import (
    BYTES,
    PUBLISHED_SIZE,
    UNKNOWN,
    WORD_END,
    Kind,
    byte_characters,
    tokenizer_json,
    untrained,
)

_MIN_PAIR_COUNT = 2
"""A pair seen once compresses nothing."""
_FAST_FROM = 1 << 20
"""Bytes of text below which the usual trainer is done before another would have started its threads."""
_SEPARATOR = b"\xff"
"""Between texts in the file that holds them; no byte of UTF-8."""
_BLOCK = 1 << 20
_TEXTS = 128
"""Texts encoded at a time."""
GPT1_CHARACTERS = 238
"""Different characters in OpenAI's vocabulary; each stands in it alone and with the end of a word."""
# fmt: off
_NEWER = re.compile(
    "[\u088f\u0c5c\u0cdc\ua7ce-\ua7cf\ua7d2\ua7d4\ua7f1\U00010940-\U00010959\U00010ec5-\U00010ec7"
    "\U00011db0-\U00011ddb\U00011de0-\U00011de9\U00016ea0-\U00016eb8\U00016ebb-\U00016ed3\U00016ff2-\U00016ff6"
    "\U000187f8-\U000187ff\U00018d09-\U00018d1e\U00018d80-\U00018df2\U0001e6c0-\U0001e6de\U0001e6e0-\U0001e6e2"
    "\U0001e6e4-\U0001e6e5\U0001e6e7-\U0001e6ed\U0001e6f0-\U0001e6f4\U0001e6fe-\U0001e6ff\U0002b73a-\U0002b73f"
    "\U0002cea2-\U0002cead\U000323b0-\U00033479]"
)
# fmt: on
"""Letters and numbers new in Unicode 17. The two trainers know different versions of Unicode and would cut words with
these differently; nothing is learned from them."""


def train(texts: Iterable[str], vocab_size: int | None = None, kind: Kind = "gpt2") -> bytes:
    """Learn a vocabulary; returns the bytes of a `tokenizer.json`.

    The result depends on the texts but not on their order. It has fewer than `vocab_size` ids where the texts hold too
    few pairs that occur twice. The texts are put into a temporary file. Memory: the distinct words with their counts.

    Args:
        texts: read once.
        vocab_size: ids, <|endoftext|> included; None for as many as OpenAI's vocabulary has.
        kind: see `layout`.
    """
    size = (PUBLISHED_SIZE[kind] if vocab_size is None else vocab_size) - 1  # <|endoftext|> is not learned
    with tempfile.NamedTemporaryFile(prefix="tokenizer-sample-") as handle:
        for text in texts:
            if not text.isascii():
                text = _NEWER.sub("\ufffd", text)
            handle.write(text.encode() + _SEPARATOR)
        handle.flush()
        path = Path(handle.name)
        if kind == "gpt1":
            return _train_gpt1(path, size)
        fast = _train_fast(path, size) if path.stat().st_size >= _FAST_FROM else None
        return _train_byte_level(path, size) if fast is None else fast


def _train_byte_level(path: Path, size: int) -> bytes:
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=_MIN_PAIR_COUNT,
        initial_alphabet=sorted(byte_characters()),
        special_tokens=[],
        show_progress=False,
    )
    return _learned("gpt2", path, trainer)


def _train_gpt1(path: Path, size: int) -> bytes:
    cut = untrained("gpt1")
    counts: Counter[str] = Counter()
    for text in _texts(path):
        counts.update(cut.normalizer.normalize_str(text))
    found = [c for c in sorted(counts, key=lambda c: (-counts[c], c)) if not c.isspace()][:GPT1_CHARACTERS]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=_MIN_PAIR_COUNT,
        # Named here, for otherwise ids would follow the order in which the library's threads meet the characters.
        special_tokens=[UNKNOWN, *found, *(c + WORD_END for c in found)],
        initial_alphabet=found,
        limit_alphabet=len(found),
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    return _learned("gpt1", path, trainer)


def _learned(kind: Kind, path: Path, trainer: trainers.BpeTrainer) -> bytes:
    library = untrained(kind)
    library.train_from_iterator(_texts(path), trainer)
    model = orjson.loads(library.to_str())["model"]
    return tokenizer_json(kind, model["vocab"], [(left, right) for left, right in model["merges"]])


def _train_fast(path: Path, size: int) -> bytes | None:
    """As `_train_byte_level`; None where the package is missing or it cannot be sure of the same result."""
    try:
        from gigatoken import TextFileSource, train_bpe
    except ImportError:
        return None
    with _silence():  # it prints what it does
        found, learned = train_bpe(TextFileSource([path], separator=_SEPARATOR), size, [], tie_breaking="huggingface")
    merges = [(_written(left), _written(right)) for left, right in learned]
    # Two merges that make the same token share an id in the Hugging Face format, which goes on to learn another one.
    if len(found) != BYTES + len(merges) or len({left + right for left, right in merges}) != len(merges):
        return None
    tokens = [*sorted(byte_characters()), *(left + right for left, right in merges)]
    data = tokenizer_json("gpt2", {token: id for id, token in enumerate(tokens)}, merges)
    # It also merges pairs that occur once. Counts never rise from merge to merge, and nothing was merged with the last.
    return data if _occurs(data, len(tokens) - 1, path, _MIN_PAIR_COUNT) else None


def _occurs(data: bytes, id: int, path: Path, times: int) -> bool:
    """Whether an id occurs so many times in the texts, of which no more is read than needed."""
    tokenizer, texts, seen = Tokenizer(data), _texts(path), 0
    while seen < times and (some := list(islice(texts, _TEXTS))):
        seen += int((tokenizer.encode_packed(some)[0] == id).sum())
    return seen >= times


def _written(token: bytes) -> str:
    return "".join([_CHARACTERS[byte] for byte in token])


_CHARACTERS = {byte: character for character, byte in byte_characters().items()}


def _texts(path: Path) -> Iterator[str]:
    with path.open("rb") as handle:
        yield from _split(handle)


def _split(handle: IO[bytes]) -> Iterator[str]:
    pending: list[bytes] = []
    while block := handle.read(_BLOCK):
        first, *rest = block.split(_SEPARATOR)
        pending.append(first)
        for piece in rest:
            yield b"".join(pending).decode()
            pending = [piece]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """What compiled code writes to the process's stdout and stderr is lost."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for fd in (*kept, nowhere):
            os.close(fd)
