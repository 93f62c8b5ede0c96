"""The rules for single submissions: a line of a Pushshift dump -> a row that may become a link, or why not.

GPT-2 2.1: "we scraped all outbound links from Reddit". A row is a candidate if it is a link post with a usable
URL that leads out of Reddit, a score and a date inside the window. All else that a rule can ask (adult, removed,
promoted, crossposted, on a media host, in some subreddit) the paper leaves open; every rule is a setting. Self posts
carry no outbound link and have none.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Annotated

import msgspec
import pyarrow as pa
from pydantic import BeforeValidator, Field

from data_prep.configfile import Count, Settings
from data_prep.lists import blocked_by
from data_prep.urls import canonical_url, host_of, url_id

REDDIT_DOMAINS = frozenset({"reddit.com", "redd.it", "redditmedia.com", "redditstatic.com", "redditblog.com"})
MEDIA_HOSTS = frozenset(
    {
        "reddituploads.com", "imgur.com", "gfycat.com", "redgifs.com", "giphy.com", "tenor.com",
        "flickr.com", "flic.kr", "instagram.com",
        "minus.com", "tinypic.com", "photobucket.com", "imageshack.us", "imageshack.com", "quickmeme.com", "qkme.me",
        "livememe.com", "memecrunch.com", "makeameme.org", "deviantart.com", "twimg.com",
        "youtube.com", "youtu.be", "vimeo.com", "dailymotion.com", "liveleak.com", "streamable.com", "twitch.tv",
        "vine.co", "tiktok.com", "mediacru.sh", "vid.me", "ustream.tv",
        "soundcloud.com", "bandcamp.com", "spotify.com", "grooveshark.com", "mixcloud.com",
    }
)  # fmt: skip
"""Hosts of images, videos and music, whose pages hold hardly any text; with all their subdomains. The list is ours."""
_NUMBER_BOUND = 2**53
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#39;", "'"), ("&amp;", "&"))
_GONE = ("[deleted]", "[removed]")
_REMEMBERED_HOSTS = 1 << 16

SUBMISSION = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("posted_url", pa.string(), nullable=False),
        pa.field("score", pa.int64(), nullable=False),
        pa.field("created_utc", pa.int64(), nullable=False),
        pa.field("subreddit", pa.string()),
        pa.field("submission", pa.string(), nullable=False),
    ]
)
"""`id`, `url`: of the canonical URL; `posted_url`: as submitted, entities decoded; `score`: karma at the time of the
dump; `created_utc`: seconds since 1970; `subreddit`: null for the promoted posts that have none; `submission`:
Reddit's id of the post."""

Row = tuple[str, str, str, int, int, str | None, str]
"""The values of `SUBMISSION`, in its order."""


def _keep(value: object) -> object:
    return {"keep": True, "drop": False}.get(value, value) if isinstance(value, str) else value


Keep = Annotated[bool, BeforeValidator(_keep)]
"""`keep` (true) or `drop` (false)."""


class SubmissionsSettings(Settings):
    """Which submissions count.

    Attributes:
        after: only submissions created on this day, 00:00 UTC, or later; null for no limit.
        before: only submissions created before this day, 00:00 UTC; null for no limit.
        over_18: posts marked "over 18".
        crossposts: posts that pass on another post, with its link.
        removed: posts that a moderator, Reddit or the author took down (`removed_by_category`; in older dumps author
            or text "[deleted]" or "[removed]"; an author "[deleted]" may also just have left).
        promoted: advertisements; of 2014 to 2017 also the posts without a subreddit.
        media_hosts: links to `MEDIA_HOSTS`. Links to `i.redd.it` and `v.redd.it` lead to Reddit and never count.
        exclude_domains: links to these domains and all below them are left out.
        exclude_subreddits: posts in these subreddits are left out.
        include_subreddits: if any is given, only posts in these subreddits count.
        task_bytes: least part of a dump that is a task of its own, where the file can be cut (see
            `dumps.byte_ranges`), in bytes of the file as it is.

    Domains and subreddits are given one by one, as `list:NAME` or as paths of list files (see `data_prep.lists`).
    """

    after: date | None = None
    before: date | None = None
    over_18: Keep = True
    crossposts: Keep = True
    removed: Keep = True
    promoted: Keep = True
    media_hosts: Keep = True
    exclude_domains: tuple[str, ...] = ()
    exclude_subreddits: tuple[str, ...] = ()
    include_subreddits: tuple[str, ...] = ()
    task_bytes: Count = Field(default=256 << 20, gt=0)


class RowSettings(SubmissionsSettings):
    """The same with all lists written out, as the stage keeps it.

    Attributes:
        least_score: submissions with less can make no link and are left out; null if they can.
    """

    least_score: int | None = None


class Submission(msgspec.Struct, gc=False):
    """The fields that are always read, with every type they have had in the dumps since 2005."""

    id: str | None = None
    url: str | None = None
    url_overridden_by_dest: str | None = None
    score: Annotated[int, msgspec.Meta(gt=-_NUMBER_BOUND, lt=_NUMBER_BOUND)] | float | None = None
    created_utc: Annotated[int, msgspec.Meta(gt=-_NUMBER_BOUND, lt=_NUMBER_BOUND)] | float | str | None = None
    subreddit: str | None = None
    domain: str | None = None
    is_self: bool | None = None


class FullSubmission(Submission, gc=False):
    """With the fields that some rules ask for."""

    over_18: bool | None = None
    crosspost_parent: str | None = None
    removed_by_category: str | None = None
    author: str | None = None
    selftext: str | None = None
    promoted: bool | None = None
    is_created_from_ads_ui: bool | None = None


def unescape(url: str) -> str:
    """Undo the entities that Reddit writes into URLs.

    Only those: a general HTML decoder would turn `?a=1&copy=2` into `?a=1(c)=2`.
    """
    for entity, character in _ENTITIES:
        url = url.replace(entity, character)
    return url


def _whole(value: int | float | str | None) -> int | None:
    """A number that the dumps write as integer, float or string; None if it is none."""
    try:
        number = None if value is None else int(float(value))
    except (ValueError, OverflowError):
        return None
    return number if number is not None and -_NUMBER_BOUND < number < _NUMBER_BOUND else None


def _midnight(day: date | None, otherwise: float) -> float:
    return otherwise if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _names(subreddits: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name.lower() for name in subreddits)


class RowRules:
    """Decides on single submissions; built once per task.

    A line that gives no row gives the first reason that applies, in this order: `not-json`, `bad-field` (a field of a
    type that it never had), `self-post`, `no-score`, `low-karma`, `no-url`, `no-date`, `too-early`, `too-late`,
    `over-18`, `crosspost`, `removed-post`, `promoted`, `excluded-subreddit`, `other-subreddit`, `bad-url`,
    `link-to-reddit`, `media-host`, `excluded-domain`.

    Args:
        settings: the rules.
    """

    def __init__(self, settings: RowSettings) -> None:
        self._settings = settings
        self._after = _midnight(settings.after, float("-inf"))
        self._before = _midnight(settings.before, float("inf"))
        self._least = -_NUMBER_BOUND if settings.least_score is None else settings.least_score
        self._excluded = _names(settings.exclude_subreddits)
        self._included = _names(settings.include_subreddits)
        self._domains = frozenset(settings.exclude_domains)
        self._hosts: dict[str, str] = {}
        kept = settings.over_18 and settings.crossposts and settings.removed and settings.promoted
        fields = Submission if kept and not (self._excluded or self._included) else FullSubmission
        self._decode: Callable[[bytes | memoryview], Submission] = msgspec.json.Decoder(fields).decode

    def __call__(self, line: bytes | memoryview) -> Row | str:
        """A row, or the reason why the line gives none."""
        try:
            post = self._decode(line)
        except msgspec.ValidationError:
            return "bad-field"
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "not-json"
        if post.is_self or (post.is_self is None and (post.domain or "").startswith("self.")):
            return "self-post"
        score, created = post.score, post.created_utc
        if type(score) is not int and (score := _whole(score)) is None:
            return "no-score"
        if score < self._least:
            return "low-karma"
        posted = post.url_overridden_by_dest or post.url
        if not posted:
            return "no-url"
        if type(created) is not int and (created := _whole(created)) is None:
            return "no-date"
        if created < self._after:
            return "too-early"
        if created >= self._before:
            return "too-late"
        if isinstance(post, FullSubmission) and (reason := self._unwanted(post)):
            return reason
        if "&" in posted:
            posted = unescape(posted)
        if (url := canonical_url(posted)) is None:
            return "bad-url"
        origin = url[: url.index("/", 8)]
        if (hosts_reason := self._hosts.get(origin)) is None:
            hosts_reason = self._hosts_reason(origin, host_of(url))
        return hosts_reason or (url_id(url), url, posted, score, created, post.subreddit, post.id or "")

    def _unwanted(self, post: FullSubmission) -> str:
        """Why the post does not count, whatever it links to; empty if it does."""
        rules = self._settings
        if post.over_18 and not rules.over_18:
            return "over-18"
        if post.crosspost_parent and not rules.crossposts:
            return "crosspost"
        if not rules.removed and (post.removed_by_category or post.author in _GONE or post.selftext in _GONE):
            return "removed-post"
        if not rules.promoted and (post.promoted or post.is_created_from_ads_ui or post.subreddit is None):
            return "promoted"
        subreddit = (post.subreddit or "").lower()
        if subreddit in self._excluded:
            return "excluded-subreddit"
        return "other-subreddit" if self._included and subreddit not in self._included else ""

    def _hosts_reason(self, origin: str, host: str) -> str:
        """Why links to a host do not count, remembered; empty if they do."""
        reason = ""
        if blocked_by(host, REDDIT_DOMAINS):
            reason = "link-to-reddit"
        elif not self._settings.media_hosts and blocked_by(host, MEDIA_HOSTS):
            reason = "media-host"
        elif self._domains and blocked_by(host, self._domains):
            reason = "excluded-domain"
        if len(self._hosts) >= _REMEMBERED_HOSTS:
            self._hosts.clear()
        self._hosts[origin] = reason
        return reason
