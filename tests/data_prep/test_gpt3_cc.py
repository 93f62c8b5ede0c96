"""The preset `gpt3-cc` from WET files to shards: archives without links, each of GPT-3's steps at work."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest
from small_corpus import complete
from test_chain import run_here
from warcio.warcwriter import WARCWriter

from data_prep import chain, configfile, runner
from data_prep.config import DataConfig
from data_prep.documents import read_rows
from data_prep.errors import UserError
from data_prep.manifest import FileRef
from data_prep.mixture import MixtureSettings, mix
from data_prep.pages import PagesSettings, PagesStage
from data_prep.shards import DatasetManifest, TokenSplit
from data_prep.tokenizer import Tokenizer, train
from data_prep.urls import canonical_url, url_id

PRESET = Path(__file__).parents[2] / "configs/data/gpt3-cc.yaml"
GOOD = [
    f"{stem}{ending}"
    for stem in ("river", "garden", "letter", "winter", "morning")
    for ending in ("", "s", "ing", "ed")
]
BAD = [f"{stem}{number}" for stem in ("buy", "click", "cheap", "casino", "login") for number in range(4)]


def text(draw: random.Random, vocabulary: list[str], words: int = 120) -> str:
    return " ".join(draw.choice(vocabulary) for _ in range(words)).capitalize() + "."


def write_wet(path: Path, pages: dict[str, str]) -> None:
    with path.open("wb") as handle:
        writer = WARCWriter(handle, gzip=True)
        for url, body in pages.items():
            headers = {"WARC-Date": "2019-01-01T00:00:00Z"}
            record = writer.create_warc_record(
                url, "conversion", io.BytesIO(body.encode()), warc_content_type="text/plain", warc_headers_dict=headers
            )
            writer.write_record(record)


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Folders as the preset's variables name them; returns the pages."""
    draw = random.Random(1)
    for name in ("wets", "positive", "negative", "evaluation", "vocabulary"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name.upper(), str(tmp_path / name))
    for name, vocabulary in (("positive", GOOD), ("negative", BAD)):
        rows = [json.dumps({"text": text(draw, vocabulary)}) for _ in range(80)]
        (tmp_path / name / "texts.jsonl").write_text("\n".join(rows))
    pages = {f"https://good.org/{i}": text(draw, GOOD) for i in range(60)}
    pages |= {f"https://bad.org/{i}": text(draw, BAD) for i in range(60)}
    pages["https://good.org/copy"] = pages["https://good.org/0"][:-1] + " too."
    question = text(draw, GOOD, 16)
    pages["https://good.org/leak"] = f"{text(draw, GOOD, 90)} {question} {text(draw, GOOD, 90)}"
    (tmp_path / "evaluation/questions.jsonl").write_text(json.dumps({"text": question}) + "\n")
    (tmp_path / "vocabulary/tokenizer.json").write_bytes(train(iter(pages.values()), 400))
    monkeypatch.setenv("WETS", str(tmp_path / "wets"))
    urls = list(pages)
    for part in range(2):
        write_wet(tmp_path / f"wets/{part}.wet.gz", {url: pages[url] for url in urls[part::2]})
    return pages


def test_the_preset_end_to_end(inputs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_run_tasks", run_here)
    small = ["partitions=2", "shards.validation_share=0.3"]
    tasks = ["tasks.labelled.labels=2", "tasks.labelled.train_per_label=1", "tasks.labelled.validation_per_label=1"]
    settings = configfile.load(str(PRESET), DataConfig, [f"root={tmp_path}/root", *small, *tasks])
    made = chain.Chain(settings, workers=1, say=lambda line: None)
    assert {step.name for step in made.steps}.isdisjoint({"submissions", "links", "page-links", "fetch"})
    done = {}
    for result in made.each():
        done[result.step.name] = result.manifest
        if result.step.name == "shards":
            break
    assert done["pages"].totals.rows_out == len(inputs)
    kept = done["quality"].totals
    assert kept.dropped["low-quality"] > 50
    assert kept.rows_out > 50
    assert done["near-dedup"].totals.dropped == {"near-duplicate": 1}
    folder = f"{tmp_path}/root/shards"
    manifest = DatasetManifest.load(folder)
    manifest.verify(folder)
    tokenizer = Tokenizer.load(f"{folder}/tokenizer.json")
    assert tokenizer.vocab_size == manifest.vocab_size > 257
    texts = [
        tokenizer.decode(split.document(i).tolist()[:-1])
        for split in (TokenSplit(folder, manifest, name) for name in manifest.splits)
        for i in range(split.documents)
    ]
    question = json.loads((tmp_path / "evaluation/questions.jsonl").read_text())["text"]
    assert any(question in page for page in inputs.values())
    assert not any(question in page for page in texts)
    assert "archives" in manifest.lineage and "dumps" not in manifest.lineage
    mixed = {"name": "m", "tokens": 1000, "sources": {"common-crawl": {"path": folder, "weight": 60}}}
    assert mix(configfile.validate(MixtureSettings, mixed, "test"), "test").quotas == [1024]


def test_without_links_each_page_is_a_document_of_its_own_url(tmp_path: Path) -> None:
    write_wet(tmp_path / "a.wet.gz", {"http://www.a.org/x?utm_source=y": "One page.", "not a url": "Another."})
    inputs = {"archives": [FileRef.of(str(tmp_path / "a.wet.gz"))], "links": []}
    stage = PagesStage(str(tmp_path / "out"), PagesSettings(), inputs, {}, source="cc", linked=False)
    manifest = complete(stage)
    assert (manifest.totals.rows_in, manifest.totals.dropped) == (2, {"bad-url": 1})
    (document,) = read_rows(str(tmp_path / "out/part-00000.parquet"))
    url = canonical_url("http://www.a.org/x?utm_source=y")
    assert url is not None
    assert (document["id"], document["url"], document["text"]) == (url_id(url), url, "One page.")
    assert (document["score"], document["created_utc"], document["source"]) == (None, None, "cc")
    linked = PagesStage(str(tmp_path / "out"), PagesSettings(), inputs, {}, source="cc")
    assert linked.plan_entry(linked.plan()[0]) != stage.plan_entry(stage.plan()[0])


def test_what_looks_for_links_needs_them() -> None:
    with pytest.raises(
        UserError, match=r"common_crawl and fetch look for links, but there are none: set inputs\.dumps"
    ):
        configfile.load(str(PRESET), DataConfig, ["fetch.user_agent=Bot/1 (+https://b.org; b@b.org)"])
