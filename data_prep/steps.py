"""The stages from raw dumps to token shards in their order, and which reads what of which.

To add a stage, write it in a file of its own and give it a `Step` here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from data_prep.common_crawl.keys import KeysStage
from data_prep.common_crawl.settings import CommonCrawlSettings
from data_prep.common_crawl.stage import WARC, CommonCrawlStage
from data_prep.config import DataConfig
from data_prep.dedup import exact, near
from data_prep.fetch import stage as fetch
from data_prep.fetch.queues import FetchQueuesStage
from data_prep.filter import FilterStage
from data_prep.links import LinksStage
from data_prep.manifest import FileRef
from data_prep.page_links.addresses import ADDRESSES, REDIRECTS, AddressesSettings, AddressesStage
from data_prep.page_links.matches import PageLinksStage
from data_prep.page_links.redirects import RedirectsStage
from data_prep.pages import PagesStage
from data_prep.shard_stage import ShardsStage, ShardsStageSettings
from data_prep.stage import Stage
from data_prep.submissions import SubmissionsStage
from data_prep.tasks import TasksStage, TasksStageSettings
from data_prep.tokenizer import TokenizerStage
from data_prep.wikipedia_sample import NGRAMS, WikipediaSampleSettings, WikipediaSampleStage

Files = dict[str, list[FileRef]]
Digests = dict[str, str]
Source = tuple[str, str]
"""(stage, start of the names of the files wanted of it), or (RAW, field of `inputs`)."""
Build = Callable[[DataConfig, str, Files, Digests], Stage]

RAW = "inputs"
"""Where a label comes from if no stage made it: the config's section `inputs`."""


def _always(config: DataConfig) -> bool:
    return True


@dataclass(frozen=True)
class Step:
    """One stage in its place.

    Attributes:
        name: the stage's name, and its folder under the root.
        command: the command that runs it; a command may run several steps.
        reads: label -> where its files come from, put together in order; a stage that is not enabled gives none.
        build: makes the stage.
        funnel: whether its rows are the corpus, so that their number belongs into the funnel and must not be 0.
        lineage: whether it is given the digests of everything before it.
        enabled: whether a corpus has this stage.
    """

    name: str
    command: str
    reads: Mapping[str, tuple[Source, ...]]
    build: Build
    funnel: bool = True
    lineage: bool = False
    enabled: Callable[[DataConfig], bool] = _always

    @property
    def optional(self) -> bool:
        """Whether some corpora do not have it."""
        return self.enabled is not _always


def _wikipedia_sample(config: DataConfig) -> WikipediaSampleSettings:
    assert config.filter.wikipedia is not None  # or the step is not enabled
    return WikipediaSampleSettings(ngram=config.filter.wikipedia.ngram)


def _common_crawl(config: DataConfig) -> bool:
    return config.common_crawl is not None


def _common_crawl_settings(config: DataConfig) -> CommonCrawlSettings:
    assert config.common_crawl is not None  # or the step is not enabled
    return config.common_crawl


def _fetch(config: DataConfig, folder: str, inputs: Files, upstream: Digests) -> Stage:
    assert config.fetch is not None  # or the step is not enabled
    return fetch.FetchStage(folder, config.fetch, inputs, upstream, partitions=config.partitions)


def _partitions(config: DataConfig) -> exact.PartitionSettings:
    return exact.PartitionSettings(partitions=config.partitions)


def _signatures(config: DataConfig) -> near.SignatureSettings:
    return near.SignatureSettings(**config.near_dedup.model_dump(), partitions=config.partitions)


def _shards(config: DataConfig) -> ShardsStageSettings:
    return ShardsStageSettings(**config.shards.model_dump(), name=config.name)


def _tasks(config: DataConfig) -> TasksStageSettings:
    return TasksStageSettings(**config.tasks.model_dump(), shards=config.shards)


ARCHIVES: tuple[Source, ...] = ((RAW, "archives"), ("common-crawl", WARC), ("fetch", fetch.WARC))
"""Where pages come from."""

STEPS: tuple[Step, ...] = (
    Step(
        "submissions",
        "links",
        {"dumps": ((RAW, "dumps"),)},
        lambda c, folder, i, u: SubmissionsStage(folder, c.links, i, u, partitions=c.partitions),
    ),
    Step(
        "links",
        "links",
        {"submissions": (("submissions", ""),)},
        lambda c, folder, i, u: LinksStage(folder, c.links, i, u, partitions=c.partitions),
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
        lambda c, folder, i, u: FetchQueuesStage(folder, _partitions(c), i, u),
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
    ),
    Step(
        "redirects",
        "pages",
        {"links": (("links", "part-"),), "redirects": (("addresses", REDIRECTS),)},
        lambda c, folder, i, u: RedirectsStage(folder, exact.NoSettings(), i, u, partitions=c.partitions),
        funnel=False,
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
    ),
    Step(
        "pages",
        "pages",
        {"archives": ARCHIVES, "links": (("page-links", "part-"),)},
        lambda c, folder, i, u: PagesStage(folder, c.pages, i, u, source=c.name),
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
        "exact-keys",
        "exact-dedup",
        {"documents": (("filter", "part-"),)},
        lambda c, f, i, u: exact.ExactKeysStage(f, _partitions(c), i, u),
        funnel=False,
    ),
    Step(
        "exact-urls",
        "exact-dedup",
        {"keys": (("exact-keys", ""),)},
        lambda c, f, i, u: exact.ExactUrlsStage(f, _partitions(c), i, u),
        funnel=False,
    ),
    Step(
        "exact-duplicates",
        "exact-dedup",
        {"keys": (("exact-urls", "keys/"),)},
        lambda c, f, i, u: exact.ExactDuplicatesStage(f, _partitions(c), i, u),
        funnel=False,
    ),
    Step(
        "exact-dedup",
        "exact-dedup",
        {
            "documents": (("filter", "part-"),),
            exact.SAME_URL: (("exact-urls", "lost/"),),
            exact.SAME_TEXT: (("exact-duplicates", "part-"),),
        },
        lambda c, f, i, u: exact.ExactDedupStage(f, exact.NoSettings(), i, u),
    ),
    Step(
        "near-signatures",
        "near-dedup",
        {"documents": (("exact-dedup", "part-"),)},
        lambda c, f, i, u: near.NearSignaturesStage(f, _signatures(c), i, u),
        funnel=False,
    ),
    Step(
        "near-edges",
        "near-dedup",
        {"bands": (("near-signatures", "bands/"),)},
        lambda c, f, i, u: near.NearEdgesStage(f, _partitions(c), i, u),
        funnel=False,
    ),
    Step(
        "near-clusters",
        "near-dedup",
        {"edges": (("near-edges", "part-"),), "members": (("near-signatures", "members/"),)},
        lambda c, f, i, u: near.NearClustersStage(f, exact.NoSettings(), i, u),
        funnel=False,
    ),
    Step(
        "near-dedup",
        "near-dedup",
        {"documents": (("exact-dedup", "part-"),), near.NEAR_DUPLICATE: (("near-clusters", "part-"),)},
        lambda c, f, i, u: near.NearDedupStage(f, exact.NoSettings(), i, u),
    ),
    Step(
        "tokenizer",
        "tokenizer",
        {"documents": (("near-dedup", "part-"),)},
        lambda c, f, i, u: TokenizerStage(f, c.tokenizer, i, u),
        funnel=False,
    ),
    Step(
        "shards",
        "shards",
        {"documents": (("near-dedup", "part-"),), "tokenizer": (("tokenizer", "tokenizer.json"),)},
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
    """The stages that a corpus has, in order."""
    return [step for step in STEPS if step.enabled(config)]


def ancestors(steps: Sequence[Step], among: Sequence[Step] = STEPS) -> set[str]:
    """Names of all stages that some steps build upon, as far as they are `among` those given."""
    by_name = {step.name: step for step in among}
    found: set[str] = set()
    waiting = [source for step in steps for sources in step.reads.values() for source, _ in sources]
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in found:
            found.add(name)
            waiting += [source for sources in by_name[name].reads.values() for source, _ in sources]
    return found
