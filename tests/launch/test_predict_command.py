import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import command, environment
from finetuned import write_finetuned

from launch.predict import main

TEXTS = ["the cat sees it", "nobody likes the moon", "a dog"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_finetuned(tmp_path_factory.mktemp("ours"), "classification", labels=["no", "yes"])[0])


def answers(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[dict[str, object]], str]:
    main(arguments)
    out, err = capsys.readouterr()
    return [json.loads(line) for line in out.splitlines()], err


def test_every_way_in_gives_the_same(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    table = "review,id\n" + "".join(f'"{text}",{n}\n' for n, text in enumerate(TEXTS))
    (tmp_path / "a.csv").write_text(table, encoding="utf-8-sig")  # as spreadsheets write it
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    found, said = answers(capsys, checkpoint, str(tmp_path / "a.jsonl"))
    assert [row["row"] for row in found] == [1, 2, 3]
    assert said == "3 rows\n"
    assert answers(capsys, checkpoint, str(tmp_path / "a.csv"), "--column", "review")[0] == found
    assert answers(capsys, checkpoint, str(tmp_path / "a.txt"))[0] == found
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(TEXTS).encode("utf-8-sig"))))
    assert answers(capsys, checkpoint)[0] == found


def test_labels_give_metrics(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": text, "label": "yes"} for text in TEXTS]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, said = answers(capsys, checkpoint, str(tmp_path / "a.jsonl"))
    right = sum(row["label"] == "yes" for row in found) / 3
    assert f"accuracy {right:.4f} over the 3 rows with a label" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["CHECKPOINT", "no.jsonl"], "no.jsonl: no such file"),
        (["no", "-"], "no checkpoint here"),
        (["CHECKPOINT", "bad.jsonl"], "bad.jsonl, line 2: not JSON"),
        (["CHECKPOINT", "bad.jsonl", "--batch", "0"], "--batch: at least one example"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_line(
    checkpoint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.jsonl").write_text('{"text": "a"}\n{"text"\n')
    with pytest.raises(SystemExit) as end:
        main([checkpoint if word == "CHECKPOINT" else word for word in arguments])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_reader_that_has_enough_is_no_error(checkpoint: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(TEXTS * 5000))
    process = subprocess.Popen(
        command("python", "predict", checkpoint, str(tmp_path / "a.txt")),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    assert json.loads(process.stdout.readline())["row"] == 1
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""
