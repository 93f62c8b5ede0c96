"""Where an index and its archives lie."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from data_prep.configfile import Count, Settings


class CommonCrawlSettings(Settings):
    """Which collections are searched, and how.

    An index is known to be immutable once it is published: it is named by the config, but its bytes are not hashed.

    Attributes:
        index: one or more of: a folder with `cluster.idx` and `cdx-*.gz` as Common Crawl publishes it
            (`.../cc-index/collections/CC-MAIN-YYYY-WW/indexes`), read block by block; sorted CDXJ files, plain (found
            by binary search) or .gz (read from the start); Parquet files or folders of the columnar index
            (`.../cc-index/table/cc-main/warc/crawl=CC-MAIN-YYYY-WW/subset=warc`). Any fsspec URL.
        data: what to put before the file names in the index, for example `s3://commoncrawl/`.
        before: only captures before this day (UTC); null: of any date.
        task_links: links that one task looks up. 50,000: ours.
        connections: captures that one task reads at a time. 8: ours.
        retries: how often a read that failed is repeated, after 1, 2, 4, ... seconds. 5: ours.
    """

    index: tuple[str, ...] = Field(min_length=1)
    data: str = Field(min_length=1)
    before: date | None = None
    task_links: Count = Field(default=50_000, gt=0)
    connections: int = Field(default=8, gt=0, le=64)
    retries: int = Field(default=5, ge=0, le=20)
