from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path

import pytest
from commands import command, environment, run
from tiny_models import native_checkpoint, random_model

from launch.generate import main
from pipeline.evaluate.terminal import Show, read_prompts


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(native_checkpoint(tmp_path_factory.mktemp("model") / "c", random_model("pre-norm")))


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_prompts_become_texts(checkpoint: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    arguments = ["--max-tokens", "12", "--samples", "2", "--seed", "3"]
    main([checkpoint, "the cat", "it", *arguments, "--json"])
    found = rows(capfdbinary.readouterr().out.decode())
    assert [(row["prompt"], row["sample"]) for row in found] == [("the cat", 0), ("the cat", 1), ("it", 0), ("it", 1)]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('the cat\n{"prompt": "it"}\n')
    (tmp_path / "marks").write_text("one\u2028line\n\nx\n", encoding="utf-8")
    assert read_prompts([], str(tmp_path / "marks"), io.StringIO()) == ["one\u2028line", "", "x"]
    main([checkpoint, "--file", str(prompts), *arguments, "--batch-tokens", "1"])
    shown = capfdbinary.readouterr().out.decode()
    assert shown == "\n".join(
        f"--- prompt {1 + number // 2}, sample {1 + number % 2} ---\n{row['prompt']}{row['text']}\n"
        for number, row in enumerate(found)
    )
    main([checkpoint, "the cat", "--max-tokens", "12", "--temperature", "0"])
    greedy = capfdbinary.readouterr().out.decode()
    main([checkpoint, "the cat", "--max-tokens", "12", "--beams", "3", "--json"])
    beams = rows(capfdbinary.readouterr().out.decode())
    assert greedy.startswith("the cat")
    assert len(beams) == 3
    assert [row["score"] for row in beams] == sorted((row["score"] for row in beams), reverse=True)  # type: ignore[type-var]


@pytest.mark.slow
def test_two_ranks_write_what_one_does(checkpoint: str, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("the cat\na dog sees\nit\n")
    words = [checkpoint, "--file", str(prompts), "--max-tokens", "12", "--json"]
    one, two = (run(kind, "generate", *words, cwd=tmp_path) for kind in ("python", "torchrun"))
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    assert len(rows(one.stdout)) == 3
    for mine, theirs in zip(rows(one.stdout), rows(two.stdout), strict=True):
        # Prompts that are continued together share matrices: other ranks, other roundings.
        for name in ("logprob", "score"):
            assert mine.pop(name) == pytest.approx(theirs.pop(name), abs=1e-4)
        assert mine == theirs


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "x"], "no checkpoint here"),
        (["CHECKPOINT", "x", "--max-tokens", "64"], "64 tokens leave no room for a prompt"),
        (["CHECKPOINT", "x", "--top-p", "2"], "top_p must be above 0"),
        (["CHECKPOINT", "--file", "nowhere.txt"], "nowhere.txt: cannot be read"),
        (["CHECKPOINT", "x", "--file", "nowhere.txt"], "prompts and a file of prompts"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_line(
    checkpoint: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([checkpoint if word == "CHECKPOINT" else word for word in words])
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""


def test_a_reader_that_has_enough_ends_it_quietly(checkpoint: str, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = command("python", "generate", checkpoint, "the cat", "--max-tokens", "12", "--samples", "2")
    done = subprocess.run(words, cwd=tmp_path, env=environment(), stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_texts_appear_in_order_and_steer_no_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    show = Show(["p", "q"], 1, out)
    show.piece(1, 0, "later", False)
    assert out.getvalue() == ""
    show.piece(0, 0, "a\x1b[2J", False)
    assert out.getvalue() == "--- prompt 1 ---\npa\u241b[2J"
    show.piece(0, 0, "b", True)
    show.piece(1, 0, "\n", True)
    assert out.getvalue() == "--- prompt 1 ---\npa\u241b[2Jb\n\n--- prompt 2 ---\nqlater\n\n"


def test_standard_input_is_one_prompt() -> None:
    assert read_prompts([], None, io.StringIO("two\nlines")) == ["two\nlines"]
    assert read_prompts([], None, io.StringIO("as echo ends it\n")) == ["as echo ends it"]
    assert read_prompts(["x"], None, io.StringIO("not read")) == ["x"]
