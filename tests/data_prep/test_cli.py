from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from small_corpus import document, make_dataset, words, write_documents
from typer.testing import CliRunner

from data_prep import store
from data_prep.cli import application
from data_prep.manifest import FileRef
from data_prep.shard_stage import ShardsSettings
from data_prep.steps import COMMANDS
from data_prep.tokenizer import train

CLI = CliRunner()
APP = application()


@pytest.mark.parametrize("command", ["run", "demo-input", "verify", "export", "mix", *COMMANDS])
def test_help_has_an_example(command: str) -> None:
    result = CLI.invoke(APP, [command, "--help"])
    assert result.exit_code == 0
    assert f"data-prep {command}" in result.output


def test_bad_settings_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("name: x\nroot: r\ninputs: {dumps: [/nowhere/RS_*], archives: [/nowhere/a]}\n")
    for arguments, message in (
        (["run", str(config), "near_dedup.bans=3"], "unknown key near_dedup.bans; did you mean near_dedup.bands?"),
        (["run", str(config), "partitions=-1"], "partitions:"),
        (["run", str(config)], "inputs.dumps: no file matches '/nowhere/RS_*'"),
        (["filter", str(config)], "the stage submissions is not complete"),
        (["run", str(tmp_path / "none.yaml")], "no such config file"),
        (["verify", str(tmp_path)], "no token dataset here"),
    ):
        result = CLI.invoke(APP, arguments)
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_wrong_use_is_exit_code_2() -> None:
    assert CLI.invoke(APP, ["run"]).exit_code == 2
    assert CLI.invoke(APP, ["run", "x.yaml", "--workers", "0"]).exit_code == 2


def test_verify_tells_intact_from_changed(tmp_path: Path) -> None:
    rows = [document(i, words(random.Random(i), 20)) for i in range(20)]
    trained = tmp_path / "tokenizer.json"
    store.write_bytes(str(trained), train(iter([row["text"] for row in rows]), 300))
    inputs = {"documents": write_documents(tmp_path / "in", rows), "tokenizer": [FileRef.of(str(trained))]}
    folder = tmp_path / "shards"
    make_dataset(tmp_path, inputs, ShardsSettings(validation_share=0.4))
    result = CLI.invoke(APP, ["verify", str(folder)])
    assert result.exit_code == 0
    assert "tokenizer: 300 ids: intact" in result.output
    shard = folder / "train/shard-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:-8])
    result = CLI.invoke(APP, ["verify", str(folder)])
    assert result.exit_code == 2
    assert "shard-00000.arrow: the shard has" in result.stderr


def test_a_worker_process_imports_no_more_than_the_command_line() -> None:
    """Every worker imports the main module again: seconds for each stage, if that imported the whole pipeline."""
    code = "import sys, data_prep.cli; print(*sorted(m for m in sys.modules if m in ('pyarrow', 'datatrove', 'numpy')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
