"""The commands that look at a corpus, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import finished_corpus
import fsspec
import pytest
import small_web
from typer.testing import CliRunner, Result

from data_prep.cli import application

APP = application()
COMMANDS = ["plan", "status", "inspect", "card", "report"]


@pytest.fixture
def config(finished_config: Path, tmp_path: Path) -> Path:
    return finished_corpus.copied(finished_config, tmp_path / "corpus")


def call(*arguments: str | Path, width: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(width)}).invoke(APP, [str(item) for item in arguments])


def objects(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert result.output.count(f"data-prep {command}") >= 2


def test_the_commands_are_listed_in_groups() -> None:
    text = call("--help").output
    panels = ("Make a corpus", "Look at a corpus", "One command for each stage", "Tools")
    places = [text.index(panel) for panel in panels]
    assert places == sorted(places)
    assert places[1] < text.index("│ inspect") < places[2]


def test_bad_input_is_one_line_and_exit_code_2(config: Path, tmp_path: Path) -> None:
    root = config.parent / "root"
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (["status", tmp_path / "empty"], "no stage has begun here"),
        (["status", "memory://no-such-root"], "no such config or folder"),
        (["inspect", root, "--stage", "fliter"], "unknown stage 'fliter'; did you mean filter?"),
        (["inspect", root, "--reason", "wikipeda"], "unknown reason 'wikipeda'; did you mean wikipedia?"),
        (["inspect", root, "--stage", "filter", "--reason", "same-text"], "unknown reason 'same-text'"),
        (["inspect", root, "--reason", "wikipedia", "--kept"], "leave --kept out"),
        (["inspect", root, "--id", "0" * 32], "no stage knows the page"),
        (["inspect", root, "--id", "0" * 32, "--url", "https://a.org"], "give one of them"),
        (["inspect", root, "--id", "0" * 32, "--stage", "filter"], "leave --stage, --reason"),
        (["card", root, "--output", tmp_path], "is a folder"),
        (["report", root, "--output", tmp_path], "is a folder"),
        (["report", root, "--stage", "links"], "makes no documents"),
        (["report", root, "--domains", tmp_path / "none"], "cannot be read"),
        (["plan", config, "--sample", "lots"], "not a number of bytes: 'lots'"),
        (["plan", config, "inputs.dumps=[/nowhere/*]"], "no file matches '/nowhere/*'"),
        (["plan", root], "not a text file"),
        (["card", root, "partitions=4"], "settings can be changed of a config"),
    ):
        result = call(*arguments)
        assert result.exit_code == 2, (arguments, result.output)
        assert message in result.stderr
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1, result.stderr
    assert not (root / "report").exists()


def test_wrong_options_are_exit_code_2(config: Path) -> None:
    assert call("inspect", config, "-n", "-1").exit_code == 2
    assert call("inspect").exit_code == 2


@pytest.mark.parametrize("width", [80, 120])
def test_status_shows_every_stage(config: Path, width: int) -> None:
    result = call("status", config, width=width)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= width
    for stage in ("submissions", "near-dedup", "tasks"):
        assert stage in result.output
    (data,) = objects(call("status", config, "--json", "--watch"))  # complete: one look is enough
    assert all(stage["state"] == "complete" for stage in data["stages"])  # type: ignore[attr-defined]


def test_inspect_shows_reasons_and_samples(config: Path) -> None:
    result = call("inspect", config, "-n", "2")
    assert result.exit_code == 0
    for part in ("near-duplicate", "Left out", "Kept by near-dedup", "karma"):
        assert part in result.output
    pairs = call("inspect", config, "--reason", "near-duplicate", "-n", "2").output
    assert pairs.count("left out, from word") == pairs.count("kept, from word") == 2
    assert "thanks." in pairs  # the end of a copy, where it differs
    only = call("inspect", config, "--reason", "wikipedia")
    assert "https://en.wikipedia.org/wiki/Water" in only.output
    assert "Kept by" not in only.output
    counted = call("inspect", config, "--reason", "self-post")
    assert counted.exit_code == 0
    assert "never documents are only counted" in " ".join(counted.output.split())


def test_inspect_as_json_lines(config: Path) -> None:
    found = objects(call("inspect", config, "--stage", "near-dedup", "--dropped", "-n", "100", "--json"))
    assert [item["kind"] for item in found[:2]] == ["stage", "reason"]
    documents = [item for item in found if item["kind"] == "document"]
    assert len(documents) == small_web.NEAR_COPIES
    assert all(item["text"] and not item["kept"] for item in documents)
    events = objects(call("inspect", config, "--url", "https://site1.org/page/1", "--json"))
    assert [event["stage"] for event in events][:2] == ["submissions", "links"]


def test_the_way_of_a_removed_page_ends_there(config: Path) -> None:
    text = call("inspect", config, "--url", "https://copy.net/near/0").output
    assert "near-dedup: near-duplicate" in text
    assert "shards" not in text


def test_card_to_the_screen_and_to_a_file(config: Path, tmp_path: Path) -> None:
    shown = call("card", config)
    assert shown.exit_code == 0
    written = call("card", config, "--output", tmp_path / "README.md")
    assert written.exit_code == 0
    assert (tmp_path / "README.md").read_text() == shown.stdout


def test_report_on_an_object_store(config: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(config.parent / "root"), "/looks-test", recursive=True)
    try:
        result = call("report", "memory://looks-test", "--stage", "filter")
        assert result.exit_code == 0, result.output
        assert "page: memory://looks-test/report/filter.html" in result.output
        assert memory.cat_file("/looks-test/report/filter.html").startswith(b"<!doctype html>")
        assert call("inspect", "memory://looks-test", "--reason", "near-duplicate").exit_code == 0
        assert call("card", "memory://looks-test").exit_code == 0
    finally:
        memory.rm("/looks-test", recursive=True)


def test_plan_prints_a_table_and_writes_nothing(config: Path, tmp_path: Path) -> None:
    root = tmp_path / "unmade"
    result = call("plan", config, f"root={root}")
    assert result.exit_code == 0, result.output
    assert not root.exists()
    assert max(map(len, result.stdout.splitlines())) <= 80
    for part in ("core-hours", "near-dedup", "measured: all of it", "disk:", "near dedup finds: 14 bands of 8"):
        assert part in result.stdout
    assert "measuring links" in result.stderr
