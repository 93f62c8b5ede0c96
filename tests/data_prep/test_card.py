from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import finished_corpus
import pytest
import yaml

from data_prep import card
from data_prep.corpus import Corpus
from data_prep.errors import UserError
from data_prep.report import build


@pytest.fixture(scope="module")
def text(finished_config: Path) -> str:
    return card.render(Corpus.open(str(finished_config)))


def test_the_metadata_block_is_yaml_as_dataset_hubs_read_it(text: str) -> None:
    assert text.startswith("---\n")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["language"] == ["en"]
    assert front["license"] == "other"
    assert front["size_categories"] == ["n<1K"]


def test_it_has_the_sections_of_a_datasheet(text: str) -> None:
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [head.split()[0] for head in heads] == [
        *("Motivation", "Composition", "Collection", "Preprocessing,", "Uses", "Distribution", "Maintenance", "Known")
    ]


def test_sources_funnel_reasons_and_shards_are_those_of_the_manifests(text: str, finished_config: Path) -> None:
    dump = finished_config.parent / "web" / "RS_small"
    assert f"| `RS_small` | {dump.stat().st_size:,} | `{hashlib.sha256(dump.read_bytes()).hexdigest()}` |" in text
    assert text.count("### Input: archives (2 files") == 1
    assert "| filter | 90 | 89 | 98.9 % |" in text
    assert "| near-dedup | near-duplicate | 6 |" in text
    assert "`min_karma` = `3`" in text
    assert re.search(r"\| train \| [0-9]+ \| [0-9,]+ \| [0-9]+ \|", text)
    assert "400 ids" in text
    assert str(finished_config.parent) not in text


def test_it_names_the_duty_of_the_user_and_what_cannot_be_repeated(text: str) -> None:
    assert "must see to it that they may" in text
    assert "Dragnet can no longer be installed" in text
    assert "45 million" in text


def test_the_figures_of_a_report_enter_only_while_they_are_true(finished_config: Path, tmp_path: Path) -> None:
    config = finished_corpus.copied(finished_config, tmp_path / "corpus")
    assert "has not been run on this state" in card.render(Corpus.open(str(config)))
    made = build.make(Corpus.open(str(config)))
    assert "Languages as detected: en 100.0 %" in card.render(Corpus.open(str(config)))
    figures = Path(made.figures)
    figures.write_text(re.sub(r'"digest": "[0-9a-f]+"', '"digest": "0"', figures.read_text()))
    assert "has not been run" in card.render(Corpus.open(str(config)))


def test_values_cannot_break_the_markdown() -> None:
    assert card._code("a`b|c\nd") == "`a\u2019b\uff5cc d`"
    assert card._md("a|b*c_<d>") == r"a\|b\*c\_\<d\>"


def test_without_documents_there_is_no_card(finished_config: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for stage in ("submissions", "links"):
        shutil.copytree(finished_config.parent / "root" / stage, root / stage)
    with pytest.raises(UserError, match="no stage that makes documents is complete"):
        card.render(Corpus.open(str(root)))
