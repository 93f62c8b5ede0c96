"""A small web: a dump of submissions and a WARC of the pages they link to, with known numbers of everything."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

TEXT = """
the people of this small town have always known that water comes from a river and not from any well so when their
mayor asked what could be done about dry summers nobody answered for some time until one old woman said she had seen
years worse than these and that every garden needs less than its owner thinks if only he would work early in each
morning before light and heat take away whatever was given by night while children were still asleep under open windows
"""
WORDS = TEXT.split()
PAGES = 80
NEAR_COPIES = 6
EXACT_COPIES = 3
LOW_KARMA = 5


def _paragraphs(rng: random.Random) -> list[str]:
    return [" ".join(rng.choice(WORDS) for _ in range(45)).capitalize() + "." for _ in range(5)]


def pages() -> dict[str, list[str]]:
    """URL -> paragraphs."""
    rng = random.Random(3)
    found = {f"https://site{i % 3}.org/page/{i}": _paragraphs(rng) for i in range(PAGES)}
    originals = list(found.values())
    for i in range(NEAR_COPIES):
        found[f"https://copy.net/near/{i}"] = [*originals[i][:4], originals[i][4] + " Copied with thanks."]
    for i in range(EXACT_COPIES):
        found[f"https://copy.net/exact/{i}"] = originals[10 + i]
    for i in range(LOW_KARMA):
        found[f"https://poor.org/{i}"] = _paragraphs(rng)
    found["https://en.wikipedia.org/wiki/Water"] = _paragraphs(rng)
    return found


def make(folder: Path) -> list[str]:
    """Write `RS_small` and `pages-{0,1}.warc.gz`; returns the overrides that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    web = pages()
    with (folder / "RS_small").open("w") as dump:
        for i, url in enumerate(web):
            score = 1 if "poor.org" in url else 3 if "copy.net" in url else 10 + i
            row = {"id": f"a{i}", "url": url, "score": score, "created_utc": 1400000000 + i, "subreddit": "small"}
            dump.write(json.dumps({**row, "is_self": False, "domain": url.split("/")[2]}) + "\n")
        dump.write(json.dumps({"id": "self", "is_self": True, "url": "https://reddit.com/x", "score": 9}) + "\n")
    for part in range(2):
        with (folder / f"pages-{part}.warc.gz").open("wb") as handle:
            writer = WARCWriter(handle, gzip=True)
            for i, (url, texts) in enumerate(web.items()):
                if i % 2 == part:
                    body = "".join(f"<p>{text}</p>" for text in texts)
                    html = f"<html><head><title>Page {i}</title></head><body><article>{body}</article></body></html>"
                    headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], "HTTP/1.1")
                    payload = io.BytesIO(html.encode())
                    writer.write_record(writer.create_warc_record(url, "response", payload, http_headers=headers))
    return [f"inputs.dumps=[{folder}/RS_small]", f"inputs.archives=[{folder}/pages-*.warc.gz]"]


CONFIG = """
name: small
root: runs/small
inputs: {dumps: [none], archives: [none]}
partitions: 3
filter: {wikipedia: {}, length: {}, language: {}}
tokenizer: {vocab_size: 400}
shards: {validation_share: 0.3}
tasks:
  labelled:
    {labels: 3, train_per_label: 10, validation_per_label: 2, test_per_label: 4, per_document: 3, validation_share: 0.3}
  choice: {items: 20}
"""
