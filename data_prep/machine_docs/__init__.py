"""Raw input that every machine has: the documentation of Python and of the installed packages, as a web archive.

`make` writes under one folder, in the forms in which real data come (WARC files and a Pushshift dump),

    pages/part-TTTTT.warc.gz   documentation, README and licence pages under plausible documentation URLs
    dump/RS_demo.zst           made-up submissions that link to them
    README.txt                 what these files are

All text stands on the machine already. Addresses, scores, dates and subreddits are made up, and the dump says so. No
documented module is imported: pages are rendered from source, so that making them runs none of the packages' code.
"""

from __future__ import annotations

from dataclasses import dataclass

from data_prep import store
from data_prep.configfile import Settings
from data_prep.machine_docs.dump import DUMP_FILE, DumpSettings, MachineDumpStage
from data_prep.machine_docs.pages import INDEX, WARCS, MachinePagesStage, PagesSettings
from data_prep.runner import Say, run_stage, say

PAGES_FOLDER = "pages"
DUMP_FOLDER = "dump"
README = "README.txt"

_README = """\
What this folder is
===================
Raw input for the demo, made from the machine it runs on. The text of every page is real: documentation strings of the
Python standard library and of the installed packages, Python's language reference as it comes with pydoc, and the
packages' README and licence files. Each text stays under the licence of the package it comes from.

Everything else is MADE UP: the addresses under which the pages stand are plausible, but nothing was fetched from them;
the submissions, scores, dates and subreddits of the dump are drawn by a keyed hash. Nobody wrote these submissions.
They are good for trying the pipeline, and for nothing else.

  {warcs}   {pages:,} pages
  {dump}   {rows:,} submissions in the form of a Pushshift dump
"""


class MachineDocsSettings(Settings):
    """What to make.

    Attributes:
        pages: the web archive.
        dump: the submissions.
    """

    pages: PagesSettings = PagesSettings()
    dump: DumpSettings = DumpSettings()


@dataclass(frozen=True)
class MachineDocs:
    """What was made: glob patterns for a config's `inputs`, and counts."""

    archives: str
    dumps: str
    pages: int
    submissions: int


def make(folder: str, settings: MachineDocsSettings | None = None, workers: int = 2, say: Say = say) -> MachineDocs:
    """Make the pages and the dump under `folder`; what is complete there is verified and kept.

    Holds one task's page addresses and titles in memory, never the corpus.

    Raises:
        UserError: a file of an installed package cannot be read, or the disk is full.
    """
    settings = settings or MachineDocsSettings()
    pages_folder, dump_folder = store.join(folder, PAGES_FOLDER), store.join(folder, DUMP_FOLDER)
    pages = run_stage(MachinePagesStage(pages_folder, settings.pages, {}, {}), workers, say)
    index = pages.files(pages_folder, INDEX)
    dump = run_stage(MachineDumpStage(dump_folder, settings.dump, {"index": index}, {"index": pages.digest}), 1, say)
    made = MachineDocs(
        archives=store.join(pages_folder, f"{WARCS}*.warc.gz"),
        dumps=store.join(dump_folder, DUMP_FILE),
        pages=pages.totals.rows_out,
        submissions=dump.totals.rows_out,
    )
    text = _README.format(
        warcs=f"{PAGES_FOLDER}/{WARCS}*.warc.gz",
        dump=f"{DUMP_FOLDER}/{DUMP_FILE}",
        pages=made.pages,
        rows=made.submissions,
    )
    store.write_bytes(store.join(folder, README), text.encode())
    return made
