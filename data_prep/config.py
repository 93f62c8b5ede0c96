"""The configuration of a whole corpus: every stage's settings, composed."""

from __future__ import annotations

from pydantic import Field, model_validator

from data_prep.common_crawl.settings import CommonCrawlSettings
from data_prep.configfile import Settings
from data_prep.dedup.settings import NearDedupSettings
from data_prep.fetch.settings import FetchSettings
from data_prep.filter import FilterSettings
from data_prep.links import LinksSettings
from data_prep.overlap.decontaminate import DecontaminateSettings
from data_prep.overlap.evaluation import EvaluationSettings
from data_prep.overlap.table import OverlapSettings
from data_prep.pages import PagesSettings
from data_prep.quality.stage import QualitySettings
from data_prep.shard_stage import ShardsSettings
from data_prep.slurm_executor import SlurmSettings
from data_prep.tasks import TasksSettings
from data_prep.tokenizer import TokenizerSettings


class InputsSettings(Settings):
    """Raw input: paths, folders or glob patterns on any fsspec file system.

    `$NAME` and `${NAME}` stand for environment variables.
    """

    dumps: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Pushshift submissions, RS_*; None: there are no links, and every page of the archives is taken."""
    archives: tuple[str, ...] = ()
    """WARC, WET or ARC files of the pages; a folder stands for all of these below it."""
    wikipedia: tuple[str, ...] = ()
    """A sample of Wikipedia for the filter `wikipedia`: Parquet or JSON lines with `text`, or plain text."""
    against: tuple[str, ...] = ()
    """Other corpora: their roots, or Parquet files of documents. What is nearly the same as there is left out here."""


class DataConfig(Settings):
    """A corpus from raw dumps to token shards and tasks; the stages are described in `data_prep.chain`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the corpus, which every document and the dataset carry."""
    root: str = Field(min_length=1)
    """Folder under which every stage writes its own."""
    inputs: InputsSettings
    partitions: int = Field(default=8, gt=0, le=4096)
    """Partitions of each shuffle. A fact of the data's layout: the number of workers may change freely, this not."""
    links: LinksSettings = LinksSettings()
    common_crawl: CommonCrawlSettings | None = None
    """Captures found by URL through an index; none without this section."""
    fetch: FetchSettings | None = None
    """Fetch the linked pages from the web; without this section nothing is requested."""
    pages: PagesSettings = PagesSettings()
    filter: FilterSettings = FilterSettings()
    quality: QualitySettings | None = None
    """GPT-3's quality filter; off without this section."""
    near_dedup: NearDedupSettings = NearDedupSettings()
    evaluation: EvaluationSettings | None = None
    """Evaluation sets, for the two sections that follow."""
    decontaminate: DecontaminateSettings | None = None
    """Cut the n-grams of the evaluation sets out; off without this section."""
    overlap: OverlapSettings | None = None
    """Measure what the corpus shares with the evaluation sets; off without this section."""
    tokenizer: TokenizerSettings = TokenizerSettings()
    shards: ShardsSettings = ShardsSettings()
    tasks: TasksSettings = TasksSettings()
    slurm: SlurmSettings = SlurmSettings()
    """With `--executor slurm`; has no part in the bytes."""

    @model_validator(mode="after")
    def _has_pages(self) -> DataConfig:
        if not (self.inputs.archives or self.common_crawl or self.fetch):
            raise ValueError("no source of pages: set inputs.archives (files), common_crawl (captures by URL) or fetch")
        if not self.inputs.dumps and (self.common_crawl or self.fetch):
            raise ValueError("common_crawl and fetch look for links, but there are none: set inputs.dumps")
        return self

    @model_validator(mode="after")
    def _evaluation_sets_are_given(self) -> DataConfig:
        for name in ("decontaminate", "overlap"):
            if getattr(self, name) is not None and self.evaluation is None:
                raise ValueError(f"{name} looks for evaluation sets, but none is given: set evaluation.sets")
        return self

    @model_validator(mode="after")
    def _filter_can_start(self) -> DataConfig:
        if self.inputs.wikipedia and self.filter.wikipedia is None:
            raise ValueError("inputs.wikipedia is given, but the rule that reads it is off: set filter.wikipedia={}")
        self.filter.expanded()  # a list that cannot be read is said now, not after hours of extraction
        return self
