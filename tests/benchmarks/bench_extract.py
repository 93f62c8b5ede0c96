"""Pages to text: our extractors against datatrove's trafilatura step and resiliparse, on the same pages in turn.

Quality is measured on articles with known text, speed on these and on pages of every kind that the sample
has. Each extractor runs as a user runs it: ours and datatrove's in a guarded child that gets bytes and characters.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest
from datatrove.data import Document
from datatrove.pipeline.extractors import Trafilatura
from extraction_truth import Article, Strings, annotated, articles, score_strings, score_texts, unpack
from measure import Row, alternate, peak_mib
from resiliparse.extract.html2text import extract_plain_text

from data_prep.extract import Extracted, Extractor, ExtractSettings, decode, page_function
from data_prep.warc import read_responses

OURS = ("trafilatura-fast", "trafilatura", "trafilatura-precision", "combined", "resiliparse", "cascade", "density")
EVERY_NTH = 100
"""Of the pages of every kind, those whose speed is measured."""
REPEATS = 3


def guarded(extract: Extractor, bodies: list[bytes]) -> None:
    for body in bodies:
        extract(body, "text/html")


def unguarded(settings: ExtractSettings, bodies: list[bytes]) -> None:
    extract = page_function(settings)
    for body in bodies:
        extract(body, "text/html", "")


def through_datatrove(bodies: list[bytes]) -> None:
    documents = (Document(decode(body)[0], str(number)) for number, body in enumerate(bodies))
    for _ in Trafilatura(timeout=60).run(documents):
        pass


def datatrove_text(body: bytes) -> str:
    return Trafilatura().extract(decode(body)[0]) or ""


def resiliparse_text(body: bytes) -> str:
    return extract_plain_text(decode(body)[0], main_content=True)


def our_text(settings: ExtractSettings, body: bytes) -> str:
    found = page_function(settings)(body, "text/html", "")
    return found.text if isinstance(found, Extracted) else ""


def resiliparse_alone(bodies: list[bytes]) -> None:
    for body in bodies:
        resiliparse_text(body)


def datatrove_unguarded(bodies: list[bytes]) -> None:
    for body in bodies:
        datatrove_text(body)


def quality(extract: Callable[[bytes], str], strings: list[Strings], texts: list[Article]) -> str:
    a, b = score_strings(extract, strings), score_texts(extract, texts)
    return (
        f"strings F1 {a.f1:.3f} (P {a.precision:.3f}, R {a.recall:.3f}), "
        f"shingles F1 {b.f1:.3f} (P {b.precision:.3f}, R {b.recall:.3f})"
    )


def speeds(bodies: list[bytes]) -> tuple[list[float], list[float]]:
    """Pages/s of (datatrove's step, resiliparse alone, ours in their order), and of ours without the guard."""
    settings = [ExtractSettings(extractor=name) for name in OURS]
    extractors = [Extractor(each) for each in settings]
    seconds = alternate(
        partial(through_datatrove, bodies),
        partial(resiliparse_alone, bodies),
        *(partial(guarded, extractor, bodies) for extractor in extractors),
        *(partial(unguarded, each, bodies) for each in settings),
        repeats=REPEATS,
    )
    for extractor in extractors:
        extractor.close()
    rates = [len(bodies) / each for each in seconds]
    return rates[: -len(OURS)], rates[-len(OURS) :]


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.skipif("WEBTEXT_DATA_ROOT" not in os.environ, reason="WEBTEXT_DATA_ROOT is not set")
def test_extract(tmp_path: Path, table: list[Row]) -> None:
    root = Path(os.environ["WEBTEXT_DATA_ROOT"])
    unpack(root, tmp_path)
    strings, texts = annotated(tmp_path), articles(tmp_path)
    known = [page.body for page in strings] + [page.body for page in texts]
    archive = str(root / "e2e" / "pages.warc.gz")
    every_kind = [page.body for page in read_responses(archive, 10 << 20, lambda _: True) if page.body][::EVERY_NTH]
    (step, alone, *ours), free = speeds(known)
    (mixed_step, mixed_alone, *mixed), _ = speeds(every_kind)
    kilobytes = [sum(map(len, bodies)) / len(bodies) / 1e3 for bodies in (known, every_kind)]
    table.append(
        Row(
            "extraction, datatrove's trafilatura step",
            f"{step:,.1f} pages/s",
            "-",
            "-",
            f"{len(known)} articles of {kilobytes[0]:.0f} KB; {quality(datatrove_text, strings, texts)}; "
            f"{mixed_step:,.1f} pages/s on {len(every_kind)} pages of every kind of {kilobytes[1]:.0f} KB; "
            f"peak memory {peak_mib(datatrove_unguarded, known):.0f} MiB; trafilatura {version('trafilatura')}",
        )
    )
    peer = f"datatrove {step:,.1f} pages/s"
    table.append(
        Row(
            "extraction, resiliparse alone, main_content",
            f"{alone:,.1f} pages/s",
            peer,
            f"{alone / step:.2f}x the speed",
            f"{quality(resiliparse_text, strings, texts)}; {mixed_alone:,.1f} pages/s on every kind; "
            f"peak memory {peak_mib(resiliparse_alone, known):.0f} MiB; resiliparse {version('resiliparse')}",
        )
    )
    for number, name in enumerate(OURS):
        settings = ExtractSettings(extractor=name)
        table.append(
            Row(
                f"extraction, {name}",
                f"{ours[number]:,.1f} pages/s",
                peer,
                f"{ours[number] / step:.2f}x the speed",
                f"{quality(partial(our_text, settings), strings, texts)}; "
                f"{ours[number] / ours[0]:.2f}x trafilatura-fast; {mixed[number]:,.1f} pages/s on every kind; "
                f"guard {100 * (free[number] / ours[number] - 1):+.1f} % time; "
                f"peak memory {peak_mib(unguarded, settings, known):.0f} MiB",
            )
        )
