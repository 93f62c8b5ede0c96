"""The configuration of a whole corpus: every stage's settings, composed."""

from __future__ import annotations

from pydantic import Field

from data_prep.configfile import Settings
from data_prep.dedup.near import NearDedupSettings
from data_prep.filter import FilterSettings
from data_prep.links import LinksSettings
from data_prep.pages import PagesSettings
from data_prep.shard_stage import ShardsSettings
from data_prep.tasks import TasksSettings
from data_prep.tokenizer import TokenizerSettings


class InputsSettings(Settings):
    """Raw input: paths, folders or glob patterns on any fsspec file system.

    `$NAME` and `${NAME}` stand for environment variables.
    """

    dumps: tuple[str, ...] = Field(min_length=1)
    """Pushshift submissions, RS_*."""
    archives: tuple[str, ...] = Field(min_length=1)
    """WARC files of the linked pages."""


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
    pages: PagesSettings = PagesSettings()
    filter: FilterSettings = FilterSettings()
    near_dedup: NearDedupSettings = NearDedupSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    shards: ShardsSettings = ShardsSettings()
    tasks: TasksSettings = TasksSettings()
