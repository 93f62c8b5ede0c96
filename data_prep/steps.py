"""The stages from raw dumps to token shards in their order, and which reads what of which.

To add a stage, write it in a file of its own and give it a `Step` here.
"""

from __future__ import annotations

from dataclasses import replace

from data_prep.common_crawl.keys import KeysStage
from data_prep.common_crawl.settings import CommonCrawlSettings
from data_prep.common_crawl.stage import WARC, CommonCrawlStage
from data_prep.config import DataConfig
from data_prep.dedup import exact
from data_prep.dedup.steps import DEDUP_STEPS, partitions
from data_prep.fetch import stage as fetch
from data_prep.fetch.queues import FetchQueuesStage
from data_prep.filter import FilterStage
from data_prep.links import LinksStage
from data_prep.overlap.steps import OVERLAP_STEPS
from data_prep.page_links.addresses import ADDRESSES, REDIRECTS, AddressesSettings, AddressesStage
from data_prep.page_links.matches import PageLinksStage
from data_prep.page_links.redirects import RedirectsStage
from data_prep.pages import PagesStage
from data_prep.quality import stage as quality
from data_prep.shard_stage import EncodeStage, ShardsStage, ShardsStageSettings, SplitSettings
from data_prep.stage import Stage
from data_prep.step import RAW, Digests, Files, Source, Step, connected, given, part_of
from data_prep.submissions import SubmissionsStage
from data_prep.tasks import TasksStage, TasksStageSettings
from data_prep.tokenizer import TokenizerStage
from data_prep.wikipedia_sample import NGRAMS, WikipediaSampleSettings, WikipediaSampleStage


def _wikipedia_sample(config: DataConfig) -> WikipediaSampleSettings:
    assert config.filter.wikipedia is not None  # or the step is not enabled
    return WikipediaSampleSettings(ngram=config.filter.wikipedia.ngram)


def _linked(config: DataConfig) -> bool:
    return bool(config.inputs.dumps)


def _common_crawl(config: DataConfig) -> bool:
    return config.common_crawl is not None


def _common_crawl_settings(config: DataConfig) -> CommonCrawlSettings:
    assert config.common_crawl is not None  # or the step is not enabled
    return config.common_crawl


def _fetch(config: DataConfig, folder: str, inputs: Files, upstream: Digests) -> Stage:
    assert config.fetch is not None  # or the step is not enabled
    return fetch.FetchStage(folder, config.fetch, inputs, upstream, partitions=config.partitions)


def _split(config: DataConfig) -> SplitSettings:
    return SplitSettings(validation_share=config.shards.validation_share, seed=config.shards.seed)


def _shards(config: DataConfig) -> ShardsStageSettings:
    return ShardsStageSettings(shard_bytes=config.shards.shard_bytes, name=config.name)


def _tasks(config: DataConfig) -> TasksStageSettings:
    return TasksStageSettings(**config.tasks.model_dump(), shards=_split(config))


def _quality(config: DataConfig) -> bool:
    return config.quality is not None


ARCHIVES: tuple[Source, ...] = ((RAW, "archives"), ("common-crawl", WARC), ("fetch", fetch.WARC))
"""Where pages come from."""

STEPS: tuple[Step, ...] = (
    Step(
        "submissions",
        "links",
        {"dumps": ((RAW, "dumps"),)},
        lambda c, folder, i, u: SubmissionsStage(folder, c.links, i, u, partitions=c.partitions),
        enabled=_linked,
    ),
    Step(
        "links",
        "links",
        {"submissions": (("submissions", ""),)},
        lambda c, folder, i, u: LinksStage(folder, c.links, i, u, partitions=c.partitions),
        enabled=_linked,
    ),
    Step(
        "common-crawl-keys",
        "common-crawl",
        {"links": (("links", "part-"),)},
        lambda c, folder, i, u: KeysStage(folder, exact.NoSettings(), i, u),
        funnel=False,
        enabled=_common_crawl,
    ),
    Step(
        "common-crawl",
        "common-crawl",
        {"keys": (("common-crawl-keys", "part-"),)},
        lambda c, folder, i, u: CommonCrawlStage(folder, _common_crawl_settings(c), i, u),
        funnel=False,
        enabled=_common_crawl,
    ),
    Step(
        "fetch-queues",
        "fetch",
        {"links": (("links", "part-"),)},
        lambda c, folder, i, u: FetchQueuesStage(folder, partitions(c), i, u),
        funnel=False,
        enabled=lambda c: c.fetch is not None,
    ),
    Step("fetch", "fetch", {"queues": (("fetch-queues", "0"),)}, _fetch, enabled=lambda c: c.fetch is not None),
    Step(
        "addresses",
        "pages",
        {"archives": ARCHIVES},
        lambda c, folder, i, u: AddressesStage(
            folder, AddressesSettings(task_bytes=c.pages.task_bytes), i, u, partitions=c.partitions
        ),
        funnel=False,
        enabled=_linked,
    ),
    Step(
        "redirects",
        "pages",
        {"links": (("links", "part-"),), "redirects": (("addresses", REDIRECTS),)},
        lambda c, folder, i, u: RedirectsStage(folder, exact.NoSettings(), i, u, partitions=c.partitions),
        funnel=False,
        enabled=_linked,
    ),
    Step(
        "page-links",
        "pages",
        {
            "links": (("links", "part-"),),
            "redirects": (("redirects", "0"),),
            "addresses": (("addresses", ADDRESSES),),
        },
        lambda c, folder, i, u: PageLinksStage(folder, exact.NoSettings(), i, u, partitions=c.partitions),
        funnel=False,
        enabled=_linked,
    ),
    Step(
        "pages",
        "pages",
        {"archives": ARCHIVES, "links": (("page-links", "part-"),)},
        lambda c, folder, i, u: PagesStage(folder, c.pages, i, u, source=c.name, linked=_linked(c)),
    ),
    Step(
        "wikipedia-sample",
        "filter",
        {"wikipedia": ((RAW, "wikipedia"),)},
        lambda c, f, i, u: WikipediaSampleStage(f, _wikipedia_sample(c), i, u),
        funnel=False,
        enabled=lambda c: bool(c.inputs.wikipedia) and c.filter.wikipedia is not None,
    ),
    Step(
        "filter",
        "filter",
        {"documents": (("pages", "part-"),), "wikipedia": (("wikipedia-sample", NGRAMS),)},
        lambda c, f, i, u: FilterStage(f, c.filter, i, u),
    ),
    Step(
        "quality-model",
        "quality",
        {},
        lambda c, f, i, u: quality.QualityModelStage(f, part_of(quality.QualityModelSettings, c.quality), i, u),
        funnel=False,
        enabled=_quality,
    ),
    Step(
        "quality",
        "quality",
        {"documents": (("filter", "part-"),), "model": (("quality-model", quality.MODEL),)},
        lambda c, f, i, u: quality.QualityStage(f, part_of(quality.KeepSettings, c.quality), i, u),
        enabled=_quality,
        replaces="filter",
    ),
    *DEDUP_STEPS,
    *OVERLAP_STEPS,
    Step(
        "tokenizer",
        "tokenizer",
        {"documents": (("near-dedup", "part-"),)},
        lambda c, f, i, u: TokenizerStage(f, c.tokenizer, i, u),
        funnel=False,
    ),
    Step(
        "encode",
        "shards",
        {"documents": (("near-dedup", "part-"),), "tokenizer": (("tokenizer", "tokenizer.json"),)},
        lambda c, f, i, u: EncodeStage(f, _split(c), i, u),
        funnel=False,
    ),
    Step(
        "shards",
        "shards",
        {
            "train": (("encode", "train/"),),
            "validation": (("encode", "validation/"),),
            "tokenizer": (("tokenizer", "tokenizer.json"),),
        },
        lambda c, f, i, u: ShardsStage(f, _shards(c), i, u),
        lineage=True,
    ),
    Step(
        "tasks",
        "tasks",
        {"documents": (("near-dedup", "part-"),)},
        lambda c, f, i, u: TasksStage(f, _tasks(c), i, u),
        funnel=False,
    ),
)
COMMANDS: tuple[str, ...] = tuple(dict.fromkeys(step.command for step in STEPS))


def enabled_steps(config: DataConfig) -> list[Step]:
    """The stages that a corpus has, in order, as `connected`."""
    steps = [step for step in STEPS if step.enabled(config)]
    return connected([replace(step, reads=given(step.reads, config)) for step in steps])
