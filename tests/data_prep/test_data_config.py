from __future__ import annotations

import re
from pathlib import Path

import pytest

from data_prep import configfile
from data_prep.config import DataConfig
from data_prep.errors import UserError
from data_prep.filter import FilterSettings
from data_prep.submissions import row_settings

FOLDER = Path(__file__).parents[2] / "configs" / "data"
ALL = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", [p for p in ALL if p.name != "base.yaml"], ids=lambda p: p.name)
def test_every_config_is_valid(path: Path) -> None:
    assert configfile.load(str(path), DataConfig).name == path.stem


def base_with_what_is_commented_out() -> dict[str, object]:
    text = (FOLDER / "base.yaml").read_text()
    text = re.sub(r"^( *)# ((?:  )*\w+:( .*)?)$", r"\1\2", text, flags=re.MULTILINE)
    return configfile.parse_yaml(text, "base.yaml")


def test_the_base_gives_every_setting() -> None:
    """So that a reader sees all choices in one file; those of sections that are off in comments."""
    given = configfile.flatten(base_with_what_is_commented_out())
    own = {"name", "root", "inputs.dumps", "inputs.archives", "inputs.wikipedia", "tasks.labelled.url_patterns"}
    own |= {"inputs.against"}
    own |= {"fetch.unsafe_test_hosts"}  # for tests only: no config shows it
    sections = {key.rpartition(".")[0] for key in configfile.known_keys(DataConfig)}
    assert {key for key in configfile.known_keys(DataConfig) if key not in sections} - own == given.keys()


def test_what_is_commented_out_says_the_defaults() -> None:
    """So that `filter.c4={}` does what the comment says."""
    rules = configfile.resolved(FilterSettings.model_validate({rule: {} for rule in FilterSettings.model_fields}))
    assert configfile.flatten(rules) == configfile.flatten(base_with_what_is_commented_out()["filter"])


def test_every_value_outside_the_own_tasks_says_its_source() -> None:
    source = re.compile(r"GPT-[23]|community|ours")
    for path in ALL:
        for line in path.read_text().split("\ntasks:")[0].splitlines():
            value = re.match(r"^ *(\w+): *[^#\s]", line)
            if value and value.group(1) not in {"base", "name", "root", "dumps", "archives"}:
                assert source.search(line.partition("#")[2]), f"{path.name}: {line}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tokenizer.vocab=9", r"unknown key tokenizer\.vocab; did you mean tokenizer\.vocab_size\?"),
        ("near_dedup.band=9", r"unknown key near_dedup\.band; did you mean near_dedup\.bands\?"),
        ("tokenizer.vocab_size=-5", r"tokenizer\.vocab_size: .*greater than 256 \(got -5\)"),
        ("partitions=0", r"partitions: .*greater than 0"),
        ("shards.validation_share=1", r"shards\.validation_share: .*less than 1"),
        ("inputs.dumps=[]", r"inputs\.dumps: "),
        ("inputs.archives=[]", r"no source of pages: set inputs\.archives"),
        ("common_crawl={data: x}", r"common_crawl\.index is missing"),
        ("filter.language.target=eng", r"filter\.language\.target.*not a language .*\(got 'eng'\)"),
        ("filter.blocklist.domains=[missing.txt]", r"missing\.txt: this list file cannot be read"),
        ("filter.blocklist.domains=['list:wikipedia']", r"did you mean list:wikipedia-mirrors\?"),
        ("filter.c4.bad_words=[no/such.txt]", r"no/such\.txt: this list file cannot be read"),
        ("name=a/b", r"name: "),
    ],
)
def test_wrong_settings_are_named(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        configfile.load(str(FOLDER / "demo.yaml"), DataConfig, [override])


def test_a_sample_of_wikipedia_needs_its_rule() -> None:
    overrides = ["inputs.wikipedia=[wiki.txt]", "filter.wikipedia=null"]
    with pytest.raises(UserError, match=r"set filter\.wikipedia=\{\}"):
        configfile.load(str(FOLDER / "demo.yaml"), DataConfig, overrides)
    configfile.load(str(FOLDER / "demo.yaml"), DataConfig, overrides[:1])


@pytest.mark.parametrize("name", ["gpt2", "openwebtext", "webtext2"])
def test_presets(name: str) -> None:
    config = configfile.load(str(FOLDER / f"{name}.yaml"), DataConfig)
    submissions = row_settings(config.links)
    rules = {rule for rule in FilterSettings.model_fields if getattr(config.filter, rule) is not None}
    assert rules == {"wikipedia", "length", "language"}
    assert config.filter.language is not None
    assert (config.filter.language.target, config.links.min_karma) == (("en",), 3)
    got = (config.links.karma, str(config.links.before), config.links.over_18, len(submissions.exclude_domains))
    assert (
        got
        == {
            "gpt2": ("any", "2018-01-01", True, 0),
            "openwebtext": ("sum", "2018-01-01", False, 51),
            "webtext2": ("sum", "2018-11-01", True, 40),
        }[name]
    )
