"""A trained tokenizer: text to ids and back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import orjson
from tokenizers import Tokenizer as HuggingFaceTokenizer

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from data_prep.tokenizer.fast import Encode, Packed, fast_encoder, slow_encoder
from data_prep.tokenizer.layout import END_OF_TEXT, UNKNOWN, WORD_END, Kind, byte_characters

_NOT_UTF8 = re.compile("([\udc80-\udcff]+)")
"""What `surrogateescape` makes of bytes that are not UTF-8."""


class Tokenizer:
    """A BPE tokenizer. One of kind `gpt2` loses nothing, for any bytes; `layout` says what `gpt1` loses.

    Text never gives the id of <|endoftext|> or of another control token, also if its name stands in it.

    Args:
        data: the bytes of a `tokenizer.json` (Hugging Face `tokenizers` format).
        where: where they were read, for errors.

    Attributes:
        sha256: hex digest of the file, which token datasets record.
        kind: `gpt2` or `gpt1`.
        vocab_size: number of ids, <|endoftext|> included.
        eot_id: id of <|endoftext|>.
        unknown_id: id of what the vocabulary cannot write; None where there is no such thing.

    Raises:
        CorruptFile: not a tokenizer file.
        UserError: a tokenizer of another kind.
    """

    def __init__(self, data: bytes, where: str = "tokenizer.json") -> None:
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._library = _parse(data, where)
        config = orjson.loads(self._library.to_str())
        vocabulary: dict[str, int] = self._library.get_vocab()
        self.kind = _kind(config, vocabulary, where)
        self.vocab_size = len(vocabulary)
        self.eot_id = vocabulary[END_OF_TEXT]
        self.unknown_id = vocabulary[UNKNOWN] if self.kind == "gpt1" else None
        table = byte_characters()
        self._byte_id = {byte: vocabulary[character] for character, byte in table.items() if character in vocabulary}
        named = {token["content"] for token in config["added_tokens"]}
        self._bytes: list[bytes] = [b""] * self.vocab_size
        for token, id in vocabulary.items():
            if token in named or self.kind == "gpt1":
                self._bytes[id] = token.replace(WORD_END, " ").encode() if self.kind == "gpt1" else token.encode()
            else:
                self._bytes[id] = bytes(table[character] for character in token)

    @staticmethod
    def load(path: str) -> Tokenizer:
        """Read a `tokenizer.json`.

        Raises:
            UserError: there is none, or it is of another kind.
            CorruptFile: not a tokenizer file.
        """
        if not store.exists(path):
            raise UserError("no such tokenizer", where=path, fix="run the tokenizer stage, or correct the path")
        return Tokenizer(store.read_bytes(path), path)

    @cached_property
    def _encode(self) -> Encode:
        fast = fast_encoder(self._library) if self.kind == "gpt2" else None
        return fast or slow_encoder(self._library)

    def encode_packed(self, texts: Sequence[str]) -> Packed:
        """Ids of all texts in one array: `ids[offsets[i]:offsets[i + 1]]` are those of text i, never `eot_id`.

        In threads unless RAYON_NUM_THREADS=1 was set before the first call.

        Raises:
            UserError: a text has half a surrogate pair, which stands for no character.
        """
        try:
            return self._encode(texts)
        except (UnicodeEncodeError, TypeError):
            for text in texts:
                _check_unicode(text)
            raise

    def encode(self, text: str) -> list[int]:
        """Ids of a text; otherwise as `encode_packed`."""
        ids: list[int] = self.encode_packed([text])[0].tolist()
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text; otherwise as `encode_packed`."""
        packed, offsets = self.encode_packed(texts)
        ids, ends = packed.tolist(), offsets.tolist()
        return [ids[start:end] for start, end in pairwise(ends)]

    def encode_bytes(self, data: bytes) -> list[int]:
        """Ids of any bytes; those that are not UTF-8 become one token each (`gpt1`: are read as U+FFFD)."""
        if self.kind == "gpt1":
            return self.encode(data.decode("utf-8", "replace"))
        ids: list[int] = []
        for i, piece in enumerate(_NOT_UTF8.split(data.decode("utf-8", "surrogateescape"))):
            if i % 2 == 0:
                ids += self.encode(piece)
            else:
                ids += [self._byte_id[byte] for byte in piece.encode("utf-8", "surrogateescape")]
        return ids

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes that the ids stand for; `eot_id` gives the 13 bytes of its name, `gpt1` a space after each word."""
        return b"".join([self._bytes[id] for id in ids])

    def decode(self, ids: Sequence[int]) -> str:
        """The text that the ids stand for; bytes that are not UTF-8 (a cut character) become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def unknown(self, ids: npt.NDArray[np.uint32]) -> int:
        """How many of the ids are `unknown_id`; always 0 for `gpt2`."""
        return 0 if self.unknown_id is None else int(np.count_nonzero(ids == self.unknown_id))


def _parse(data: bytes, where: str) -> HuggingFaceTokenizer:
    try:
        text = data.decode("utf-8")
        if not isinstance(orjson.loads(text), dict):
            raise ValueError("not a JSON object")
        library = HuggingFaceTokenizer.from_str(text)
    except BaseException as error:  # the library raises bare Exception, and its panics are not even that
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        raise CorruptFile(
            f"not a tokenizer file ({error})", where=where, fix="delete it and run the tokenizer stage again"
        ) from None
    library.no_truncation()
    library.no_padding()
    # Without this, <|endoftext|> in a document would become the control token.
    library.encode_special_tokens = True
    return library


def _kind(config: dict[str, Any], vocabulary: dict[str, int], where: str) -> Kind:
    """The kind of a tokenizer, after a look at everything on which lossless, reproducible ids depend."""

    def refuse(why: str) -> NoReturn:
        raise UserError(
            f"neither a byte-level BPE tokenizer as GPT-2's nor one as GPT-1's: {why}",
            where=where,
            fix="train one with `data-prep run`, or give files as OpenAI published them",
        )

    model, cutter = config["model"], config["pre_tokenizer"] or {}
    if model["type"] != "BPE":
        refuse(f"its model is {model['type']}")
    if END_OF_TEXT not in vocabulary:
        refuse(f"it has no {END_OF_TEXT}")
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        refuse("its ids have gaps")
    if model["dropout"]:
        refuse("it draws ids at random (dropout)")
    plain = [token["content"] for token in config["added_tokens"] if not token["special"]]
    if plain or END_OF_TEXT not in {token["content"] for token in config["added_tokens"]}:
        refuse(f"text could become the control token {(plain or [END_OF_TEXT])[0]!r}, which is not marked as special")
    if model["end_of_word_suffix"] == WORD_END:
        if model["unk_token"] != UNKNOWN or UNKNOWN not in vocabulary:
            refuse(f"words end in {WORD_END}, but there is no {UNKNOWN}")
        return "gpt1"
    table = byte_characters()
    if not table.keys() <= vocabulary.keys():
        refuse("not every byte is a token")
    cuts = (cutter.get("type"), cutter.get("add_prefix_space"), cutter.get("use_regex", True))
    if cuts != ("ByteLevel", False, True):
        refuse("it does not cut text into words by GPT-2's pattern")
    if config["normalizer"] or model["continuing_subword_prefix"] or model["end_of_word_suffix"]:
        refuse("it changes the text")
    named = {token["content"] for token in config["added_tokens"]}
    for token in vocabulary.keys() - named:
        if not table.keys() >= set(token):
            refuse(f"the token {token!r} stands for no bytes")
    return "gpt2"


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"half a surrogate pair ({text[error.start]!a}) at character {error.start} stands for no character",
            where=repr(text[max(0, error.start - 20) : error.start]),
            fix="mend the text, for example with text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')",
        ) from None
