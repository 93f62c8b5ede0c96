"""Which pages of the archives belong to which links: by canonical URL, and through recorded redirects.

Three short stages, none of which holds more than one partition of the id space in memory:
addresses (every page's address and every redirect, out of the archives) -> redirects (links followed to where they
lead) -> page-links (links beside the tasks that will read their pages). The stage `pages` then reads each archive once
more.

A page B belongs to link A if their canonical URLs are equal, or if A redirects to B through at most `MAX_HOPS` recorded
redirects, whatever archives these lie in. A document keeps the link's id, url and score; its metadata say which page it
is. Where several links lead to one page each gives a document of its own, and where several pages belong to one link
each gives one: exact deduplication decides between them, by text and by id.
"""
