"""Whole runs on a tiny model: every kind of task, pairs of runs, the training text, and what is missing."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from run_folder import metrics
from small_model import write_rows
from tiny_models import native_checkpoint, random_model

from data_prep.configfile import load, merge, validate
from data_prep.errors import UserError
from pipeline.checkpoint.store import CheckpointManifest, Cursor
from pipeline.config.schema import EvaluateConfig
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.suite.compare import compare, read_examples
from pipeline.evaluate.suite.formats import FORMATS

ABOUT = {"title": "made up", "licence": "none", "source": "nowhere.example"}
WORDS = ["moon", "boat", "road", "dog", "cat"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [str(native_checkpoint(folder / str(seed), random_model("pre-norm", seed=seed))) for seed in (0, 1)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    (folder / "text.txt").write_text(" the cat does n't see the moon \n" * 6)
    write_rows(folder / "passages.jsonl", [{"text": f"the cat sees the {word}"} for word in WORDS])
    (folder / "stop").write_text("the\na\n")
    rows = [
        {"q": f"who sees the {word}", "choices": ["nobody", "a cat", "it"], "gold": i % 3}
        for i, word in enumerate(WORDS)
    ]
    write_rows(folder / "choices.jsonl", rows)
    write_rows(folder / "sums.jsonl", [{"context": f"\n{word} =", "completion": f" {word[::-1]}"} for word in WORDS])
    labels = "".join(f"x\t{i % 2}\t\tthe cat sees the {word}\n" for i, word in enumerate(WORDS * 2))
    (folder / "cola.tsv").write_text(labels)
    return folder


def definitions() -> dict[str, Any]:
    table = {"path": "cola.tsv", "format": "tsv", "options": {"columns": ["source", "label", "mark", "sentence"]}}
    sums = {"path": "sums.jsonl", "format": "jsonl", "options": {"rename": {"answers": "completion"}}}
    answers = {"kind": "free-form", "about": ABOUT, "data": sums, "context": "{context}", "shots": {"separator": ""}}
    return {
        "text": {
            "kind": "language-model",
            "about": ABOUT,
            "data": {"path": "text.txt", "format": "text"},
            "detokenizer": "ptb",
            "references": [{"source": "a paper", "metric": "ppl_word", "values": {"small": 50, "large": 20}}],
        },
        "words": {
            "kind": "last-word",
            "about": ABOUT,
            "data": {"path": "passages.jsonl", "format": "last-word"},
            "stop_words": "stop",
            "beam": 3,
        },
        "choices": {
            "kind": "choice",
            "about": ABOUT,
            "data": {"path": "choices.jsonl", "format": "jsonl", "options": {"rename": {"answer": "gold"}}},
            "context": "{q}?",
            "shots": {"counts": [0, 1], "separator": "\n"},
        },
        "forced": {**answers, "metrics": ["exact"], "decoding": {"method": "forced", "stop": []}},
        "written": {**answers, "metrics": ["exact", "squad_f1"], "decoding": {"max_tokens": 4}},
        "beam": {**answers, "metrics": ["squad_exact"], "decoding": {"method": "beam", "beam": 2, "max_tokens": 4}},
        "sampled": {**answers, "metrics": ["squad_f1"], "decoding": {"method": "top-k", "max_tokens": 4, "stop": []}},
        "cola": {"kind": "acceptability", "about": ABOUT, "data": table, "tuning": table},
        "absent": {"kind": "choice", "about": ABOUT, "data": {"path": "absent.jsonl", "format": "jsonl"}},
    }


def config(checkpoint: str, root: Path, folder: Path, /, **changes: Any) -> EvaluateConfig:
    data = {
        "run": {"name": "e", "dir": str(folder)},
        "checkpoint": checkpoint,
        "suite": {
            "root": str(root),
            "tasks": [name for name in definitions() if name != "absent"],
            "definitions": definitions(),
        },
        "tracking": {"mlflow": False},
    }
    return validate(EvaluateConfig, merge(data, changes), "test")


def test_every_kind_of_task_with_its_definitions(
    checkpoints: list[str], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluate(config(checkpoints[0], root, tmp_path))
    scores = {score["key"]: score for score in result["suite"]["scores"]}
    assert result["suite"]["is_a_result"]
    assert {key.split("/")[0] for key in scores} == set(definitions()) - {"absent"}
    text = scores["text/detokenized/stride-64/ppl_word"]
    assert (text["definition"]["units"], text["definition"]["window"]) == (6 * 7 + 6, 64)
    assert text["definition"]["detokenized"]["whole"] == 6
    assert text["references"] == [{"source": "a paper", "metric": "ppl_word", "values": {"small": 50.0, "large": 20.0}}]
    assert scores["choices/1-shot/accuracy"]["definition"]["shots"] == 1
    assert scores["choices/0-shot/accuracy"]["floors"]["chance"] == pytest.approx(1 / 3)
    assert scores["words/accuracy_filtered"]["examples"] == 5
    assert scores["forced/0-shot/exact"]["floors"] == {"majority": pytest.approx(1 / 5)}
    (free, *_) = read_examples(str(tmp_path / "e"), "written")
    assert free["correct"] is False and 0 <= free["squad_f1"] <= 1 and "value" not in free
    assert {"value", "written", "answer"} < read_examples(str(tmp_path / "e"), "sampled")[0].keys()
    low, high = scores["choices/0-shot/accuracy"]["interval_95"]
    assert 0 <= low <= scores["choices/0-shot/accuracy"]["value"] <= high <= 1
    for key, score in scores.items():
        assert re.fullmatch(r"[A-Za-z0-9_./-]+", key), "MLflow takes the name"
        assert score["definition"]["version"] == 1
        assert result["metrics"][key] == score["value"]
    shown = capsys.readouterr().out
    assert "small 50.00, large 20.00" in shown
    assert (tmp_path / "e" / "shots.png").read_bytes().startswith(b"\x89PNG"), "choices have two numbers of shots"
    assert "| text | raw/stride-32 | ppl_token |" in (tmp_path / "e" / "scores.md").read_text()
    examples = [
        orjson.loads(line) for line in (tmp_path / "e" / "examples" / "choices.jsonl").read_bytes().splitlines()
    ]
    assert [(row["id"], row["variant"]) for row in examples] == [(i, f"{k}-shot") for k in (0, 1) for i in range(5)]
    right = sum(row["correct"] for row in examples[:5]) / 5
    assert right == scores["choices/0-shot/accuracy"]["value"]
    assert evaluate(config(checkpoints[0], root, tmp_path)) == {
        **evaluate(config(checkpoints[0], root, tmp_path)),
        **result,
    }


def test_what_forced_decoding_calls_right_the_model_writes(checkpoints: list[str], root: Path, tmp_path: Path) -> None:
    """Of answers that the model itself wrote greedily; not all, since it may have spelled some by other tokens."""
    first = evaluate(config(checkpoints[0], root, tmp_path, suite={"tasks": ["written"]}))
    assert first["metrics"]["written/0-shot/exact"] == 0
    written = [row["written"] for row in read_examples(str(tmp_path / "e"), "written")]
    assert any(text.strip() for text in written)
    rows = [{"context": f"\n{word} =", "completion": text} for word, text in zip(WORDS, written, strict=True)]
    usable = [row for row in rows if row["completion"].strip()]
    write_rows(tmp_path / "sums.jsonl", [*usable, *({**row, "completion": row["completion"] + "x"} for row in usable)])
    again = definitions()
    for name in ("forced", "written"):
        again[name]["data"]["options"] = {"rename": {"raw": "completion"}}
        again[name]["data"]["options"]["rename"]["answers"] = "completion"
        again[name]["completion"] = "{raw}"
    second = config(
        checkpoints[0],
        tmp_path,
        tmp_path,
        run={"name": "f"},
        suite={"tasks": ["forced", "written"], "definitions": again},
    )
    found = evaluate(second)["metrics"]
    assert found["written/0-shot/exact"] == 0.5
    lines = {
        name: (tmp_path / "f" / "examples" / f"{name}.jsonl").read_bytes().splitlines()
        for name in ("forced", "written")
    }
    right = {name: [orjson.loads(line)["correct"] for line in some] for name, some in lines.items()}
    assert 0 < sum(right["forced"]) <= sum(right["written"]) == len(usable)
    assert all(two for one, two in zip(right["forced"], right["written"], strict=True) if one)


def test_two_models_pair_by_pair(
    checkpoints: list[str], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = ["text", "choices", "words"]
    evaluate(config(checkpoints[0], root, tmp_path, suite={"tasks": tasks}))
    against = {"against": str(tmp_path / "e"), "run": {"name": "f"}}
    rows = evaluate(config(checkpoints[1], root, tmp_path, suite={"tasks": [*tasks, "cola"]}, **against))["against"]
    found = {(row["task"], row.get("variant")): row for row in rows}
    assert found["choices", "0-shot"]["test"] == "McNemar, exact"
    assert found["choices", "0-shot"]["n"] == 5
    text = found["text", "raw/stride-64"]
    assert (text["test"], text["better"] + text["worse"]) == ("permutation", text["n"])
    assert found["cola", None]["not_compared"] == "the other run has not scored it"
    assert "McNemar, exact; " in capsys.readouterr().out
    same = evaluate(
        config(checkpoints[0], root, tmp_path, suite={"tasks": tasks}, against=against["against"], run={"name": "g"})
    )
    assert {row["p_value"] for row in same["against"]} == {1.0}
    with pytest.raises(UserError, match="no complete evaluation here; give the folder of an evaluation run"):
        evaluate(config(checkpoints[0], root, tmp_path, against=str(tmp_path), run={"name": "h"}))
    other_seed = {"tasks": tasks, "seeds": [5]}
    seeds = config(checkpoints[0], root, tmp_path, suite=other_seed, against=against["against"], run={"name": "i"})
    drawn = {row["variant"]: row.get("not_compared") for row in evaluate(seeds)["against"] if row["task"] == "choices"}
    assert drawn == {"0-shot": None, "1-shot": "the other run drew its solved examples by another seed"}
    other = {"sets": {"choices": {"digest": "another"}}}
    assert compare(str(tmp_path / "e"), other, str(tmp_path / "f"))[0]["not_compared"].startswith(
        "the other run read other files"
    )


def test_of_two_texts_the_likelier_one_is_better(tmp_path: Path) -> None:
    rows = {
        "text": [{"id": i, "variant": "", "nll": 30.0, "tokens": 10} for i in range(20)],
        "free": [{"id": i, "variant": "", "value": 0.2, "squad_exact": False} for i in range(20)],
        "right": [{"id": i, "variant": "", "correct": i < 3, "nll": 9.0} for i in range(20)],
    }
    worse = {
        "text": [{**row, "nll": 32.0 + row["id"] % 2} for row in rows["text"]],
        "free": [{**row, "value": 0.1} for row in rows["free"]],
        "right": [{**row, "correct": False} for row in rows["right"]],
    }
    for name, some in (("a", rows), ("b", worse)):
        for task, lines in some.items():
            write_rows(tmp_path / name / "examples" / f"{task}.jsonl", lines)
        (tmp_path / name / "result.json").write_bytes(
            orjson.dumps({"suite": {"sets": {task: {"digest": "d"} for task in rows}}})
        )
    described = {"sets": {task: {"digest": "d"} for task in rows}}
    text, free, right = compare(str(tmp_path / "a"), described, str(tmp_path / "b"))
    assert (text["of"], text["difference"], text["better"]) == ("log-probability per token", pytest.approx(0.25), 20)
    assert (free["of"], free["difference"], free["better"]) == ("score", pytest.approx(0.1), 20)
    assert (right["of"], right["difference"], right["better"]) == ("accuracy", pytest.approx(0.15), 3)
    assert text["p_value"] < 0.01 < right["p_value"] == 0.25


def test_rows_that_do_not_suit_their_task_are_named(checkpoints: list[str], root: Path, tmp_path: Path) -> None:
    wrong = {"choices": {"data": {"path": "passages.jsonl", "format": "last-word"}}}
    with pytest.raises(
        UserError, match="task choices: the rows of the format 'last-word' have no choices and no answer"
    ):
        evaluate(config(checkpoints[0], root, tmp_path, suite={"tasks": ["choices"], "definitions": wrong}))


def test_the_training_text(
    checkpoints: list[str], root: Path, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = {
        "corpus": str(small_dataset),
        "prefix": 4,
        "continuation": 3,
        "passages": 5,
        "samples": 2,
        "sample_tokens": 8,
    }
    found = evaluate(config(checkpoints[0], root, tmp_path, suite={"tasks": ["choices"]}, memorization=memory))[
        "memorization"
    ]
    overlap = found["overlap"]["choices"]
    assert (overlap["percent"], overlap["n"], overlap["examples"], overlap["dirty"]) == (0.0, 8, 5, 0)
    assert overlap["scores"][0]["all"] == overlap["scores"][0]["clean"]
    assert found["verbatim"][0]["passages"] == 5
    assert 0 <= found["samples"]["samples"]["value"] <= 8
    assert found["samples"]["held_out"]["value"] > found["samples"]["samples"]["value"], "the model is a random one"
    shown = capsys.readouterr().out
    assert "0.00 % of its 8-grams stand in the training text" in shown
    assert "passages with 1 copy: " in shown
    too_long = {**memory, "prefix": 60, "continuation": 9}
    with pytest.raises(UserError, match="passages of 69 tokens do not fit into the model's 64"):
        evaluate(
            config(
                checkpoints[0], root, tmp_path, run={"name": "f"}, suite={"tasks": ["choices"]}, memorization=too_long
            )
        )


def test_what_is_missing_is_named(
    checkpoints: list[str], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        UserError,
        match=r"absent.jsonl: the task absent needs this file.*made up \(from nowhere.example\), licence none",
    ):
        evaluate(config(checkpoints[0], root, tmp_path, suite={"tasks": ["choices", "absent"]}))
    assert not (tmp_path / "e").exists()
    found = evaluate(
        config(checkpoints[0], root, tmp_path, suite={"tasks": ["choices", "absent"], "missing": "skip", "limit": 3})
    )
    assert found["suite"]["left_out"] == {"absent": str(root / "absent.jsonl")}
    assert not found["suite"]["is_a_result"]
    assert {score["examples"] for score in found["suite"]["scores"]} == {3}
    shown = capsys.readouterr().out
    assert f"absent: left out, {root}/absent.jsonl is not there" in shown
    assert "LIMITED to 3 examples of each set, no result" in shown
    with pytest.raises(UserError, match="none of the tasks has its files"):
        evaluate(config(checkpoints[0], root, tmp_path, suite={"tasks": ["absent"], "missing": "skip"}))
    with pytest.raises(UserError, match="'nothing' is none of definitions"):
        config(checkpoints[0], root, tmp_path, suite={"tasks": ["nothing"]})


def test_all_checkpoints_of_a_run_are_one_curve(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        checkpoint = native_checkpoint(tmp_path / f"models-{seed}", random_model("lstm", seed=seed))
        step = tmp_path / "checkpoints" / f"step_{seed + 7:08d}"
        shutil.copytree(checkpoint, step)
        replace(CheckpointManifest.load(step), cursor=Cursor(seed + 7, 0, 100 * (seed + 7))).write(step)
    tasks = {"suite": {"tasks": ["cola", "choices"]}}
    result = evaluate(config(str(tmp_path / "checkpoints"), root, tmp_path, **tasks))
    assert [(point["step"], point["tokens"]) for point in result["curve"]] == [(7, 700), (8, 800)]
    assert "e, step 8\n" in re.sub(" +\n", "\n", capsys.readouterr().out)
    assert (result["limit"], result["is_a_result"]) == (None, True)
    assert [(step, tokens) for step, tokens, _ in metrics(tmp_path / "e")] == [(7, 700), (8, 800)]
    alone = evaluate(
        config(str(tmp_path / "checkpoints" / "step_00000008"), root, tmp_path, run={"name": "f"}, **tasks)
    )
    assert result["metrics"] == pytest.approx(alone["metrics"])
    assert (tmp_path / "e" / "curve.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="only a suite: is scored on several checkpoints; name one of them"):
        evaluate(config(str(tmp_path / "checkpoints"), root, tmp_path, run={"name": "g"}, against=str(tmp_path / "f")))


@pytest.mark.parametrize("name", ["gpt1-heuristics", "gpt2-zero-shot", "gpt3-few-shot", "memorization"])
def test_shipped_suites_are_valid_and_say_where_their_numbers_come_from(name: str) -> None:
    suite = load(str(Path(__file__).parents[4] / "configs" / "evaluate" / f"{name}.yaml"), EvaluateConfig).suite
    assert suite is not None
    assert set(suite.tasks) == set(suite.definitions)
    for task in suite.definitions.values():
        assert task.data.format in {*FORMATS, "text"}
        assert all(one.source for one in task.references)
        for one in task.references:
            if one.metric.startswith(("accuracy", "exact", "squad", "rouge", "matthews")):
                assert all(0 <= value <= 1 for value in one.values.values()), one
