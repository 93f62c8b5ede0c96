"""Captures of the links out of Common Crawl (or any collection of WARC files), found by URL through an index.

Two stages: common-crawl-keys (links sorted by the index's key) -> common-crawl (merge of the sorted links with the
sorted index, then a read of just the bytes of each capture). Nothing is fetched from a network unless the config names
an address on one.
"""
