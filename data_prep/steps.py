"""The stages from raw dumps to token shards in their order, and which reads what of which.

To add a stage, write it in a file of its own and give it a `Step` here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from data_prep.common_crawl.keys import KeysStage
from data_prep.common_crawl.settings import CommonCrawlSettings
from data_prep.common_crawl.stage import WARC, CommonCrawlStage
from data_prep.config import DataConfig
from data_prep.configfile import Settings
from data_prep.dedup import exact, near, star_stages
from data_prep.dedup.clusters import NearClustersStage
from data_prep.dedup.settings import MAX_STAR_ROUNDS, ClustersSettings, EdgesSettings, SignatureSettings, VerifySettings
from data_prep.dedup.verify import NearVerifyStage
from data_prep.fetch import stage as fetch
from data_prep.fetch.queues import FetchQueuesStage
from data_prep.filter import FilterStage
from data_prep.links import LinksStage
from data_prep.manifest import FileRef
from data_prep.overlap import decontaminate, table
from data_prep.overlap.evaluation import NgramsSettings
from data_prep.page_links.addresses import ADDRESSES, REDIRECTS, AddressesSettings, AddressesStage
from data_prep.page_links.matches import PageLinksStage
from data_prep.page_links.redirects import RedirectsStage
from data_prep.pages import PagesStage
from data_prep.quality import stage as quality
from data_prep.shard_stage import EncodeStage, ShardsStage, ShardsStageSettings, SplitSettings
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

S = TypeVar("S", bound=Settings)

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
        replaces: the stage instead of which all later ones read this one, if a corpus has it.
    """

    name: str
    command: str
    reads: Mapping[str, tuple[Source, ...]]
    build: Build
    funnel: bool = True
    lineage: bool = False
    enabled: Callable[[DataConfig], bool] = _always
    replaces: str = ""

    @property
    def optional(self) -> bool:
        """Whether some corpora do not have it."""
        return self.enabled is not _always


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


def _partitions(config: DataConfig) -> exact.PartitionSettings:
    return exact.PartitionSettings(partitions=config.partitions)


def _of_near_dedup(kind: type[S], config: DataConfig) -> S:
    """Those of the settings of near dedup that one of its stages has."""
    found = {**config.near_dedup.model_dump(), "partitions": config.partitions}
    return kind(**{name: found[name] for name in kind.model_fields})


def _star(number: int) -> Step:
    """One operation of large-star and small-star."""

    def build(config: DataConfig, folder: str, inputs: Files, upstream: Digests) -> Stage:
        settings = star_stages.StarSettings(partitions=config.partitions, number=number)
        return star_stages.StarStage(folder, settings, inputs, upstream)

    return Step(
        star_stages.star_name(number),
        "near-dedup",
        STARS,
        build,
        funnel=False,
        enabled=lambda c: 2 * c.near_dedup.star_rounds >= number,
        replaces=star_stages.star_name(0),
    )


def _by_stars(config: DataConfig) -> bool:
    return config.near_dedup.star_rounds > 0


def _by_one_task(config: DataConfig) -> bool:
    return not _by_stars(config)


def _verifies(config: DataConfig) -> bool:
    return config.near_dedup.verify


def _split(config: DataConfig) -> SplitSettings:
    return SplitSettings(validation_share=config.shards.validation_share, seed=config.shards.seed)


def _shards(config: DataConfig) -> ShardsStageSettings:
    return ShardsStageSettings(shard_bytes=config.shards.shard_bytes, name=config.name)


def _tasks(config: DataConfig) -> TasksStageSettings:
    return TasksStageSettings(**config.tasks.model_dump(), shards=_split(config))


def _quality(config: DataConfig) -> bool:
    return config.quality is not None


def _part(kind: type[S], settings: Settings | None) -> S:
    """Those of a section's settings that one stage gets."""
    assert settings is not None  # or the step is not enabled
    return kind(**settings.model_dump(include=set(kind.model_fields)))


def _evaluation_ngrams(config: DataConfig, ngram: int) -> NgramsSettings:
    assert config.evaluation is not None  # or the step is not enabled
    return NgramsSettings(**config.evaluation.model_dump(), ngram=ngram)


def _decontaminate(config: DataConfig) -> bool:
    return config.decontaminate is not None


def _overlap(config: DataConfig) -> bool:
    return config.overlap is not None


def _overlap_settings(config: DataConfig) -> table.HitsSettings:
    assert config.overlap is not None  # or the step is not enabled
    return table.HitsSettings(**config.overlap.model_dump(), partitions=config.partitions)


def _overlap_hits(config: DataConfig, folder: str, inputs: Files, upstream: Digests) -> Stage:
    settings = _overlap_settings(config)
    stage = table.BloomHitsStage if settings.method == "bloom" else table.ExactHitsStage
    return stage(folder, settings, inputs, upstream)


ARCHIVES: tuple[Source, ...] = ((RAW, "archives"), ("common-crawl", WARC), ("fetch", fetch.WARC))
"""Where pages come from."""

NEAR_EDGES: tuple[Source, ...] = (("near-edges", near.EDGES), ("near-verify", "part-"))
"""Where edges between near-duplicates come from."""
STARS: dict[str, tuple[Source, ...]] = {"edges": ((star_stages.star_name(0), star_stages.SPREAD),)}
"""Edges as the last operation on them left them."""

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
        lambda c, f, i, u: quality.QualityModelStage(f, _part(quality.QualityModelSettings, c.quality), i, u),
        funnel=False,
        enabled=_quality,
    ),
    Step(
        "quality",
        "quality",
        {"documents": (("filter", "part-"),), "model": (("quality-model", quality.MODEL),)},
        lambda c, f, i, u: quality.QualityStage(f, _part(quality.KeepSettings, c.quality), i, u),
        enabled=_quality,
        replaces="filter",
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
        {"documents": (("exact-dedup", "part-"),), "against": ((RAW, "against"),)},
        lambda c, f, i, u: near.NearSignaturesStage(f, _of_near_dedup(SignatureSettings, c), i, u),
        funnel=False,
    ),
    Step(
        "near-edges",
        "near-dedup",
        {"bands": (("near-signatures", near.BANDS),)},
        lambda c, f, i, u: near.NearEdgesStage(f, _of_near_dedup(EdgesSettings, c), i, u),
        funnel=False,
    ),
    Step(
        "near-verify",
        "near-dedup",
        {
            "pairs": (("near-edges", near.PAIRS),),
            "documents": (("exact-dedup", "part-"),),
            "against": ((RAW, "against"),),
        },
        lambda c, f, i, u: NearVerifyStage(f, _of_near_dedup(VerifySettings, c), i, u),
        funnel=False,
        enabled=_verifies,
    ),
    Step(
        "near-clusters",
        "near-dedup",
        {"edges": NEAR_EDGES, "members": (("near-signatures", near.MEMBERS),)},
        lambda c, f, i, u: NearClustersStage(f, _of_near_dedup(ClustersSettings, c), i, u),
        funnel=False,
        enabled=_by_one_task,
    ),
    Step(
        star_stages.star_name(0),
        "near-dedup",
        {"edges": NEAR_EDGES},
        lambda c, f, i, u: star_stages.StarSpreadStage(f, _partitions(c), i, u),
        funnel=False,
        enabled=_by_stars,
    ),
    *(_star(number) for number in range(1, 2 * MAX_STAR_ROUNDS + 1)),
    Step(
        "near-members",
        "near-dedup",
        {**STARS, "members": (("near-signatures", near.MEMBERS),)},
        lambda c, f, i, u: star_stages.StarClustersStage(f, _partitions(c), i, u),
        funnel=False,
        enabled=_by_stars,
    ),
    Step(
        "near-lost",
        "near-dedup",
        {"members": (("near-members", star_stages.PARTITIONED),)},
        lambda c, f, i, u: star_stages.StarLostStage(f, _partitions(c), i, u),
        funnel=False,
        enabled=_by_stars,
    ),
    Step(
        "near-dedup",
        "near-dedup",
        {
            "documents": (("exact-dedup", "part-"),),
            near.NEAR_DUPLICATE: (("near-clusters", "part-"), ("near-lost", "part-")),
            near.IN_OTHER_CORPUS: (("near-clusters", "against-"), ("near-lost", "against-")),
        },
        lambda c, f, i, u: near.NearDedupStage(f, exact.NoSettings(), i, u),
    ),
    Step(
        "contaminant-ngrams",
        "decontaminate",
        {},
        lambda c, f, i, u: decontaminate.ContaminantNgramsStage(
            f, _evaluation_ngrams(c, _part(decontaminate.LengthSettings, c.decontaminate).ngram), i, u
        ),
        funnel=False,
        enabled=_decontaminate,
    ),
    Step(
        "contaminant-documents",
        "decontaminate",
        {"documents": (("near-dedup", "part-"),), "distinct": (("contaminant-ngrams", "distinct"),)},
        lambda c, f, i, u: decontaminate.ContaminantDocumentsStage(
            f, _part(decontaminate.LengthSettings, c.decontaminate), i, u
        ),
        funnel=False,
        enabled=_decontaminate,
    ),
    Step(
        "contaminants",
        "decontaminate",
        {
            "found": (("contaminant-documents", "part-"),),
            "ngrams": (("contaminant-ngrams", "ngrams"),),
            "distinct": (("contaminant-ngrams", "distinct"),),
        },
        lambda c, f, i, u: decontaminate.ContaminantsStage(
            f, _part(decontaminate.CommonSettings, c.decontaminate), i, u
        ),
        funnel=False,
        enabled=_decontaminate,
    ),
    Step(
        "decontaminate",
        "decontaminate",
        {"documents": (("near-dedup", "part-"),), "contaminants": (("contaminants", "contaminants"),)},
        lambda c, f, i, u: decontaminate.DecontaminateStage(f, _part(decontaminate.CutSettings, c.decontaminate), i, u),
        enabled=_decontaminate,
        replaces="near-dedup",
    ),
    Step(
        "overlap-ngrams",
        "overlap",
        {},
        lambda c, f, i, u: table.OverlapNgramsStage(f, _evaluation_ngrams(c, _overlap_settings(c).ngram), i, u),
        funnel=False,
        enabled=_overlap,
    ),
    Step(
        "overlap-hits",
        "overlap",
        {"documents": (("near-dedup", "part-"),), "distinct": (("overlap-ngrams", "distinct"),)},
        _overlap_hits,
        funnel=False,
        enabled=_overlap,
    ),
    Step(
        "overlap",
        "overlap",
        {"hits": (("overlap-hits", "part-"),), "ngrams": (("overlap-ngrams", "ngrams"),)},
        lambda c, f, i, u: table.OverlapStage(f, _overlap_settings(c), i, u),
        funnel=False,
        enabled=_overlap,
    ),
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
    return connected([replace(step, reads=_given(step.reads, config)) for step in steps])


def _given(reads: Mapping[str, tuple[Source, ...]], config: DataConfig) -> dict[str, tuple[Source, ...]]:
    """What a step reads without labels that are optional inputs which the config leaves empty."""

    def is_given(source: Source) -> bool:
        return source[0] != RAW or bool(getattr(config.inputs, source[1]))

    return {label: sources for label, sources in reads.items() if any(map(is_given, sources))}


def connected(steps: Sequence[Step]) -> list[Step]:
    """Steps that read from those of their number that replace others, instead of from the others.

    Args:
        steps: some of `STEPS`, in order.
    """
    latest: dict[str, str] = {}
    found = []
    for step in steps:
        reads = {
            label: tuple((latest.get(source, source), part) for source, part in sources)
            for label, sources in step.reads.items()
        }
        found.append(replace(step, reads=reads))
        if step.replaces:
            latest[step.replaces] = step.name
    return found


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
