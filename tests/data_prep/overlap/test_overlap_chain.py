"""The quality filter, the decontamination and the overlap table in the chain of a whole corpus."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import time
import uuid
from pathlib import Path

import pytest
import small_web
import test_chain
from test_kills import Runs, is_running, runs  # noqa: F401 -- a fixture

from data_prep import chain, configfile, runner, shards, store
from data_prep.config import DataConfig
from data_prep.corpus import Corpus
from data_prep.documents import read_rows
from data_prep.errors import CorruptFile, UserError

OWN = (
    "quality-model",
    "quality",
    "contaminant-ngrams",
    "contaminant-documents",
    "contaminants",
    "decontaminate",
    "overlap-ngrams",
    "overlap-hits",
    "overlap",
)
QUIZ_PAGE = "https://site1.org/page/40"
"""One of its paragraphs is a question of the evaluation set."""


def write_config(folder: Path, web: list[str], root: str) -> str:
    """A config with all that is tested here, and its evaluation set and good and bad documents."""
    folder.mkdir(parents=True, exist_ok=True)
    question = small_web.pages()[QUIZ_PAGE][2]
    (folder / "quiz.txt").write_text(f"{question}\nnobody has ever written these eleven words in a row here\n")
    sites = {
        f"site{i}.org": [" ".join(p) for url, p in small_web.pages().items() if f"site{i}.org" in url] for i in (1, 2)
    }
    for name, texts in (("good", sites["site1.org"]), ("bad", sites["site2.org"][::2])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    dumps, archives = (item.partition("=")[2] for item in web)
    text = small_web.CONFIG.replace("{dumps: [none], archives: [none]}", f"{{dumps: {dumps}, archives: {archives}}}")
    text = text.replace("root: runs/small", f"root: {root}")
    text += f"""
evaluation: {{sets: {{quiz: {folder}/quiz.txt}}, lines: [quiz]}}
decontaminate: {{window: 20, min_chars: 100}}
overlap: {{}}
quality: {{positive: [{folder}/good.jsonl], negative: [{folder}/bad.jsonl], held_out: 0.3, alpha: 1}}
"""
    path = folder / f"{hashlib.sha256(root.encode()).hexdigest()[:12]}.yaml"
    path.write_text(text)
    return str(path)


def silent_chain(config: str, *overrides: str) -> chain.Chain:
    return chain.Chain(configfile.load(config, DataConfig, list(overrides)), 1, lambda line: None, "inline")


Made = tuple[Path, list[str], dict[str, chain.StepResult]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("overlap-chain")
    web = small_web.make(folder / "web")
    config = write_config(folder / "sets", web, f"{folder}/root")
    return folder, web, {result.step.name: result for result in silent_chain(config).run()}


def test_each_stage_does_its_part(made: Made) -> None:
    folder, _, results = made
    totals = {name: result.manifest.totals for name, result in results.items()}
    kept = totals["quality"].rows_out
    assert 0 < kept < totals["filter"].rows_out
    assert totals["exact-dedup"].rows_in == kept
    assert totals["decontaminate"].extra["documents_cut"] == 1
    refs = results["decontaminate"].manifest.files(f"{folder}/root/decontaminate", "part-")
    pages = [row for ref in refs for row in read_rows(ref.path)]
    question = small_web.pages()[QUIZ_PAGE][2]
    assert [row["url"] for row in pages if "decontaminated" in row["metadata"]] == [QUIZ_PAGE] * 2
    assert not any(question[40:-40] in row["text"] for row in pages)
    assert totals["shards"].rows_out == totals["decontaminate"].rows_out == len(pages)
    (row,) = json.loads((folder / "root" / "overlap" / "overlap.json").read_text())
    assert (row["set"], row["ngrams"], row["found"]) == ("quiz", 45 - 7 + 11 - 7, 0)
    lineage = shards.DatasetManifest.load(f"{folder}/root/shards").lineage
    assert {"quality", "quality-model", "decontaminate", "contaminants", "overlap"} <= lineage.keys()


def test_without_the_cut_the_table_shows_the_question(made: Made) -> None:
    folder, web, _ = made
    config = write_config(folder / "sets", web, f"{folder}/uncut")
    steps = {result.step.name: result for result in silent_chain(config, "decontaminate=null").run()}
    assert "contaminants" not in steps
    assert steps["overlap"].manifest.summary["quiz"].startswith("90.48 % (38 of 42 8-grams)")


def test_a_moved_corpus_is_looked_at_through_what_its_stages_read(made: Made) -> None:
    reads = {view.name: view.step.reads for view in Corpus.open(f"{made[0]}/root").stages}
    assert reads["tokenizer"]["documents"] == (("decontaminate", "part-"),)
    assert reads["exact-keys"]["documents"] == (("quality", "part-"),)


def test_a_command_needs_its_section(made: Made) -> None:
    folder, web, _ = made
    config = write_config(folder / "sets", web, f"{folder}/none")
    off = silent_chain(config, "decontaminate=null", "overlap=null", "quality=null")
    for command in ("decontaminate", "overlap", "quality"):
        with pytest.raises(UserError, match=f"no such stage; give the config a `{command}:` section"):
            off.run_command(command)
    with pytest.raises(UserError, match=r"decontaminate looks for evaluation sets.*set evaluation\.sets"):
        silent_chain(config, "evaluation=null")
    assert len(silent_chain(write_config(folder / "sets", web, f"{folder}/root")).run_command("overlap")) == 3


def test_the_same_bytes_in_memory_in_reversed_order_and_after_breaks(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, web, _ = made
    root = f"memory://{uuid.uuid4().hex}"
    config = write_config(folder / "sets", web, root)

    def backwards(stage, tasks, todo, complete, workers, executor):  # type: ignore[no-untyped-def]
        test_chain.run_here(stage, tasks, list(reversed(todo)), complete, workers, executor)

    def breaks(stage, tasks, todo, complete, workers, executor):  # type: ignore[no-untyped-def]
        backwards(stage, tasks, todo[len(todo) // 2 :], complete, workers, executor)
        if stage.name == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_run_tasks", breaks)
    for stop in ("quality", "contaminant-documents", "decontaminate", "overlap-hits", ""):  # noqa: B007
        with contextlib.suppress(KeyboardInterrupt, CorruptFile):
            silent_chain(config).run()
    monkeypatch.setattr(runner, "_run_tasks", backwards)
    silent_chain(config).run()
    names = (f"{root}/{name}" for name in OWN)
    found = {path.removeprefix(root): store.sha256_of(path) for name in names for path in store.listing(f"{name}/**")}
    expected = {
        f"/{name}": sha for name, sha in test_chain.hashes(folder / "root").items() if name.split("/")[0] in OWN
    }
    kept = {name: sha for name, sha in found.items() if "/logs/" not in name and not name.endswith(runner.PLAN_FILE)}
    assert kept == expected


@pytest.mark.slow
def test_the_same_bytes_with_two_workers_and_after_kills(made: Made, runs: Runs) -> None:  # noqa: F811
    folder, web, _ = made
    config, draw, landed = write_config(folder / "sets", web, f"{folder}/killed"), random.Random(8), 0
    for stage in ("quality-model", "contaminant-documents", "decontaminate", "overlap-hits"):
        pid = runs.start([config])
        while not (folder / "killed" / stage / runner.PLAN_FILE).exists() and is_running(pid):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.1))
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
            landed += 1
        runs.status()
    runs.start([config])
    assert runs.status() == 0
    assert landed >= 2
    assert test_chain.hashes(folder / "killed") == test_chain.hashes(folder / "root")
