"""Vocabularies in the forms in which they are published, read as a `tokenizer.json`."""

from __future__ import annotations

from typing import Any

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from data_prep.tokenizer.layout import END_OF_TEXT, WORD_END, Kind, tokenizer_json

JSON = "tokenizer.json"
PAIRS = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"), ("encoder_bpe_40000.json", "vocab_40000.bpe"))
"""OpenAI's GPT-2, the same as Hugging Face names it, OpenAI's GPT-1."""


def files(path: str) -> list[str]:
    """The files of a vocabulary: [tokenizer.json] or [tokens, merges].

    Args:
        path: a `tokenizer.json`, or a folder with one or with a pair of `PAIRS`.

    Raises:
        UserError: there is none.
    """
    if path.endswith(".json") and store.exists(path):
        return [path]
    for names in ((JSON,), *PAIRS):
        found = [store.join(path, name) for name in names]
        if all(store.exists(name) for name in found):
            return found
    raise UserError(
        "no vocabulary here",
        where=path,
        fix=f"give a {JSON}, or a folder with " + " or ".join([JSON, *(f"{a} + {b}" for a, b in PAIRS)]),
    )


def read(path: str) -> bytes:
    """The bytes of a `tokenizer.json` with the vocabulary that lies under `path` (see `files`).

    Raises:
        UserError: there is none.
        CorruptFile: the files do not hold a vocabulary.
    """
    found = files(path)
    if len(found) == 1:
        return store.read_bytes(found[0])
    tokens, merges = found
    vocabulary = _vocabulary(tokens)
    kind: Kind = "gpt1" if any(token.endswith(WORD_END) for token in vocabulary) else "gpt2"
    try:
        return tokenizer_json(kind, vocabulary, _merges(merges))
    except CorruptFile:
        raise
    except BaseException as error:  # the library raises bare Exception, and its panics are not even that
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        raise CorruptFile(f"does not fit {tokens} ({error})", where=merges, fix="get both files again") from None


def _vocabulary(path: str) -> dict[str, int]:
    found: Any = store.read_json(path)
    if not isinstance(found, dict) or not all(type(id) is int for id in found.values()):
        raise CorruptFile("not a table of tokens and their ids", where=path, fix="get the file again")
    if sorted(found.values()) != list(range(len(found))):
        raise CorruptFile("the ids are not 0, 1, 2, ...", where=path, fix="get the file again")
    if found.get(END_OF_TEXT, len(found) - 1) != len(found) - 1:
        raise CorruptFile(f"{END_OF_TEXT} is not the last id", where=path, fix="get the file again")
    return found


def _merges(path: str) -> list[tuple[str, str]]:
    try:
        text = store.read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptFile(f"not UTF-8 ({error})", where=path, fix="get the file again") from None
    merges = []
    # Only \n ends a line: other line ends may be parts of tokens.
    for number, line in enumerate(text.split("\n"), 1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair):
            raise CorruptFile("not a merge of two tokens", where=f"{path}:{number}", fix="get the file again")
        merges.append((pair[0], pair[1]))
    return merges
