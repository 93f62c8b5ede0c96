"""How text is taken from pages."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data_prep.configfile import Count, Settings

Method = Literal[
    "trafilatura-fast", "trafilatura", "trafilatura-precision", "resiliparse", "density", "combined", "cascade"
]


class ExtractSettings(Settings):
    """How text is taken from HTML, and what one page may cost.

    Attributes:
        extractor: `trafilatura`; `trafilatura-fast`, without its fallback extractors; `trafilatura-precision`, which
            rather leaves text out; `resiliparse`, fast, but it keeps more of what stands around; `density`, ours: text
            density in one pass over the tree; `combined`, what `trafilatura-fast` and `resiliparse` agree upon;
            `cascade`, `density` where the page is clearly divided and `trafilatura-fast` where it is not.
        tables: whether the text of tables is kept.
        comments: whether readers' comments below an article are kept.
        page_seconds: processor time after which a page is given up.
        page_memory: bytes of memory, beside the process's own, beyond which a page is given up.
        recycle_pages: pages after which the extracting process is replaced, so that memory stays bounded.
    """

    extractor: Method = "trafilatura-fast"
    tables: bool = True
    comments: bool = False
    page_seconds: float = Field(default=30.0, gt=0)
    page_memory: Count = Field(default=2 << 30, ge=64 << 20)
    recycle_pages: Count = Field(default=1000, gt=0)
