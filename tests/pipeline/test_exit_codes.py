from __future__ import annotations

import re
from pathlib import Path

import pytest

from data_prep.errors import UserError
from launch import command
from pipeline.exit_codes import ENDED, EPILOG, MEANING, ExitCode, RunEnd, end_of, read_ended, write_ended

DOCS = Path(__file__).parents[2] / "docs" / "exit_codes.md"


def test_every_code_is_in_the_table_of_the_docs_and_in_the_help() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| `(\w+)` \|", DOCS.read_text(), re.MULTILINE))
    assert rows == {str(code.value): code.name for code in ExitCode}
    assert MEANING.keys() == set(ExitCode)
    for code, meaning in MEANING.items():
        assert f"{code.value} {meaning}" in EPILOG


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (RunEnd(ExitCode.STOPPED, "stopped by SIGTERM"), 75, "stopped by SIGTERM"),
        (UserError("wrong", where="here", fix="mend it"), 2, "here: wrong; mend it"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("Connection closed by peer"), 1, "RuntimeError: Connection closed by peer"),
    ],
)
def test_how_a_run_ended_is_written_down(tmp_path: Path, error: BaseException, code: int, reason: str) -> None:
    write_ended(tmp_path, *end_of(error), step=12)
    ended = read_ended(tmp_path)
    assert ended is not None
    assert ended.pop("time") > 1.7e9
    assert ended == {"code": code, "name": ExitCode(code).name, "reason": reason, "step": 12}


def test_nothing_whole_is_nothing(tmp_path: Path) -> None:
    assert read_ended(tmp_path) is None
    (tmp_path / ENDED).write_text('{"code": 7')
    assert read_ended(tmp_path) is None


def test_commands_end_with_the_code_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave(end: SystemExit) -> None:
        raise end

    def main() -> None:
        raise RunEnd(ExitCode.DIVERGED, "diverged at step 5")

    monkeypatch.setattr(command, "_leave", leave)
    monkeypatch.setattr("sys.argv", ["command"])
    for rank, said in (("0", "diverged: diverged at step 5\n"), ("3", "")):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as caught:
            command.run(main)
        assert caught.value.code == 3
        assert capsys.readouterr().err == said
