"""Stage pages: archives joined to the links -> documents with text.

Which pages belong to which links is settled before: see `data_prep.page_links`.
"""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import Field

from data_prep.configfile import Count
from data_prep.documents import DOCUMENT
from data_prep.extract import Extracted, Extractor, ExtractSettings, Failure
from data_prep.manifest import FileRef
from data_prep.page_links.addresses import archive_tasks
from data_prep.page_links.matches import links_of_task
from data_prep.stage import Stage, Task, TaskOutput
from data_prep.urls import canonical_url, url_id
from data_prep.warc import Response, read_responses


class PagesSettings(ExtractSettings):
    """How pages become documents.

    Attributes:
        max_bytes: longest page in bytes, decompressed; a longer one is left out. 10 MiB: ours.
        task_bytes: about how much of a gzip-compressed archive is one task, in compressed bytes. 16 MiB: ours.
    """

    task_bytes: Count = Field(default=16 << 20, gt=0)
    max_bytes: Count = Field(default=10 << 20, gt=0)


class PagesStage(Stage):
    """Archives -> documents, one task per file or, of a large compressed file, per range of bytes.

    Reads the pages that belong to links, or all; the text of a WET file is taken as it is. Counts every record as a
    row, and one more for each further link that it belongs to. A redirect (`redirect`, with its target) and a page
    whose payload is recorded elsewhere (`same-payload`, with the URI it refers to) are logged, but give no document.

    Holds in memory the links of the range's pages and one page: nothing that grows with the corpus.

    Args:
        source: name of the corpus, for `Document.source`.
        linked: whether only pages that belong to links count; without, each page is a document of its own URL, with
            neither score nor date.
    """

    name = "pages"
    revision = 2

    def __init__(
        self,
        folder: str,
        settings: PagesSettings,
        inputs: dict[str, list[FileRef]],
        upstream: dict[str, str],
        *,
        source: str,
        linked: bool = True,
    ) -> None:
        super().__init__(folder, settings, inputs, upstream)
        self.rules = settings
        self.source, self.linked = source, linked

    def plan(self) -> list[Task]:
        """One task per range of an archive; every task looks for its links in all files of them."""
        return [
            Task(
                task.index,
                {**task.inputs, "links": self.inputs["links"]},
                {**task.params, "source": self.source, **({} if self.linked else {"linked": False})},
            )
            for task in archive_tasks(self.inputs["archives"], self.rules.task_bytes)
        ]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Read one range of an archive.

        Raises:
            CorruptFile: it is cut short or damaged.
        """
        archive = task.inputs["archives"][0]
        start, end = task.params["start"], task.params["end"]
        any_page = not task.params.get("linked", True)
        links = links_of_task(task.inputs["links"], task.params["number"])
        writer = out.rows(f"part-{task.index:05d}.parquet", DOCUMENT)

        def linked(uri: str) -> bool:
            out.rows_in += 1
            url = canonical_url(uri)
            if url is None or not (any_page or url_id(url) in links):
                out.skip("not-linked" if url is not None else "bad-url")
                return False
            return True

        with Extractor(self.rules) as extract:
            for page in read_responses(archive.path, self.rules.max_bytes, linked, start, end):
                out.advance(page.offset - start, end - start, "bytes")
                found = _text(page, extract)
                url = canonical_url(page.url) or ""
                belongs_to = [_own_link(url)] if any_page else links[url_id(url)]
                out.rows_in += len(belongs_to) - 1
                for link in belongs_to:
                    if isinstance(found, Failure):
                        out.drop(found.reason, id=link["id"], url=link["url"], detail=found.detail)
                        continue
                    document = self._document(page, found, link)
                    writer.add(document)
                    out.rows_out += 1
                    out.extra["characters"] += len(document["text"])
                    out.extra["undecodable-characters"] += found.undecodable

    def _document(self, page: Response, found: Extracted, link: dict[str, Any]) -> dict[str, Any]:
        metadata = {
            "title": found.title,
            "date": found.date,
            "author": found.author,
            "content_type": page.content_type,
            "encoding": found.encoding,
            "undecodable": found.undecodable,
            "extractor": self.rules.extractor,
            "extracted_by": found.extractor,
            "page_url": page.url,
            "subreddit": link["subreddit"],
            "submissions": link["submissions"],
        }
        if link["hops"]:
            metadata["redirects"] = link["hops"]
        if page.language:
            metadata["identified_languages"] = page.language
        return {
            "id": link["id"],
            "url": link["url"],
            "text": found.text,
            "source": self.source,
            "score": link["score"],
            "created_utc": link["created_utc"],
            "language": None,
            "metadata": orjson.dumps(metadata).decode(),
        }


def _own_link(url: str) -> dict[str, Any]:
    """What stands for a link of a page that has none."""
    nothing = dict.fromkeys(("score", "created_utc", "subreddit"))
    return {"id": url_id(url), "url": url, "submissions": 0, "hops": 0, **nothing}


def _text(page: Response, extract: Extractor) -> Extracted | Failure:
    """The text of a page, or why it gives none."""
    if page.redirects:
        return Failure("redirect", page.location)
    if page.kind == "revisit":
        return Failure("same-payload", page.refers_to)
    if page.body is None:
        return Failure("too-large")
    if page.status != 200:
        return Failure("not-200", str(page.status))
    return extract(page.body, page.content_type, page.charset)
