"""Prompts from a command line, and generated text on a terminal as it appears."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import orjson

from data_prep.errors import UserError
from pipeline.evaluate.decoding import Generation

_CONTROL = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"} | {127: "\u2421"}
"""Pictures of control characters: what a model writes must not steer a terminal."""


def read_prompts(given: Sequence[str], file: str | None, stdin: TextIO) -> list[str]:
    """The prompts: those given, the lines of a file, or all of standard input but its last line end as one.

    Args:
        given: on the command line.
        file: path of a file with one prompt a line, as text or as {"prompt": ...}.
        stdin: read if neither is given, unless it is a terminal: then the prompt is empty.

    Raises:
        UserError: both are given, or the file cannot be read.
    """
    if file is None:
        return list(given) or ["" if stdin.isatty() else stdin.read().removesuffix("\n")]
    if given:
        raise UserError("prompts and a file of prompts", where="--file", fix="give either")
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read ({error})", where=file, fix="give a UTF-8 file, one prompt a line") from None
    if not text:
        raise UserError("no prompts", where=file, fix="write one prompt a line")
    lines = text.removesuffix("\n").split("\n")  # `splitlines` would split at more than line ends
    return [_prompt(line, f"{file}, line {number}") for number, line in enumerate(lines, 1)]


def _prompt(line: str, where: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        return str(orjson.loads(line)["prompt"])
    except (orjson.JSONDecodeError, KeyError) as error:
        raise UserError(f'not a row {{"prompt"}} ({error})', where=where, fix="mend or remove it") from None


class Show:
    """Writes texts in order, each as it appears; those of later prompts wait for the ones before.

    Args:
        prompts: what they go on from, shown before each text.
        samples: texts of each prompt.
        out: where to.
    """

    def __init__(self, prompts: Sequence[str], samples: int, out: TextIO) -> None:
        self._prompts, self._samples, self._out = prompts, samples, out
        self._order = [(prompt, sample) for prompt in range(len(prompts)) for sample in range(samples)]
        self._waiting: dict[tuple[int, int], str] = {}
        self._done: set[tuple[int, int]] = set()
        self._next = 0
        self._begun = False

    def piece(self, prompt: int, sample: int, text: str, done: bool) -> None:
        """Take the next piece of a text."""
        key = prompt, sample
        self._waiting[key] = self._waiting.get(key, "") + text
        if done:
            self._done.add(key)
        while self._next < len(self._order):
            key = self._order[self._next]
            if not self._begun and key in self._waiting:
                self._write(self._heading(*key) + self._prompts[key[0]])
                self._begun = True
            self._write(self._waiting.pop(key, ""))
            if key not in self._done:
                break
            self._write("\n")
            self._next, self._begun = self._next + 1, False
        self._out.flush()

    def whole(self, found: Sequence[Sequence[Generation]]) -> None:
        """Write texts that did not appear in pieces; of a beam search the best one."""
        for prompt, generations in enumerate(found):
            for sample, one in enumerate(generations[: self._samples]):
                self.piece(prompt, sample, one.text, True)

    def _heading(self, prompt: int, sample: int) -> str:
        if len(self._order) == 1:
            return ""
        of = f", sample {sample + 1}" if self._samples > 1 else ""
        return f"{'' if self._next == 0 else chr(10)}--- prompt {prompt + 1}{of} ---\n"

    def _write(self, text: str) -> None:
        self._out.write(text.translate(_CONTROL) if self._out.isatty() else text)


def rows(prompts: Sequence[str], found: Sequence[Sequence[Generation]]) -> list[bytes]:
    """JSON lines: prompt, number of the sample or hypothesis, text, ids, log-probability, score, why it ended."""
    return [
        orjson.dumps(
            {
                "prompt": prompts[number],
                "sample": sample,
                "text": one.text,
                "ids": one.ids,
                "logprob": one.logprob,
                "score": one.score,
                "reason": one.reason,
            }
        )
        for number, generations in enumerate(found)
        for sample, one in enumerate(generations)
    ]
