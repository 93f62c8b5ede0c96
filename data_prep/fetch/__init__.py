"""Live fetching of the linked pages: polite, safe against hostile servers, resumable, into WARC files.

Off unless the config has a section `fetch`; the User-Agent with a way to reach you is the one value it must have:

    fetch:
      user_agent: "WebTextRebuild/1.0 (+https://example.org/about-this-crawl; crawl@example.org)"

Then `data-prep fetch CONFIG`. All other values have defaults, see `data_prep.fetch.settings`. Crawling puts load on the
servers of others: the duty to have the right to do so, and to answer those who write to the contact, is the user's.
"""
