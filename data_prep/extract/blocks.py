"""A page as a row of text blocks and the elements that contain them, read in one pass over the tree.

A block is the text between two boundaries of block-level elements: a paragraph, a heading, a list item, a table row. A
container is a block-level element, known by the range of blocks inside it. What can never be main text (scripts,
navigation, forms, hidden elements, elements whose class says what they are) is passed over with all it contains.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from lxml import etree


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BREAK = "\0"
"""Stands for <br> until a block is complete; a parsed page has no such character."""

# HTML 4.4-4.15: elements that hold no running text, or text of the site and not of the page.
_PASSED_OVER = _words(
    "head script style noscript template svg math iframe object embed applet canvas audio video map picture"
    " nav aside footer dialog menu search button select option textarea input label fieldset datalist output"
    " progress meter noframes frameset"
)
_INLINE = _words(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd mark nobr q rp rt ruby s samp small span"
    " strike strong sub sup time tt u var wbr"
)
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
# Elements an author writes text in, against those a template is built of.
_TEXT_LEVEL = frozenset(("p", "li", "dd", "dt", "blockquote", "pre", "tr", "caption", "address"))
_CELLS = frozenset(("td", "th"))
_CELL = " | "
_LONG_CELL = 300
"""Characters of a cell that is no datum but part of the page's layout."""
_LISTS = frozenset(("ul", "ol", "table"))

# What the words of class and id commonly name. A word that is a value (`tag-social`, `has-sidebar`) names nothing.
_VALUE = re.compile(
    r"(?:has|no|non|with|without|layout|theme|type|format|status|term|topic|section|category|cat)[_-]"
    r"|(?:post_)?tag-(?!list|cloud|links)|author-(?!bio|box|info|name|card|meta|desc|profile|image|avatar)"
)
_COMMENTS = re.compile(
    r"comments?(?![a-z]|-?(?:open|closed|status|enabled|on|off)\b)|commentlist|disqus|(?:^|[_-])(?:respond|replies)$"
)
_AROUND = re.compile(
    r"sidebar|breadcrumb|newsletter|cookie|consent|gdpr|social|sharing|share(?![dh])|advert|sponsor|promo|outbrain"
    r"|taboola|recommend|related|popular|trending|most-?read|read-?(?:more|next)|more-?(?:from|on|stories|articles)"
    r"|next-?up|popup|modal|lightbox|overlay|subscribe(?!r)|subscription|sign-?up|sign-?in|log-?in|masthead|copyright"
    r"|byline|author|pagination|pager|tag-?(?:list|cloud)|skip-?(?:to|link)|toolbar|widget-?area|navigation|navbar"
    r"|editsection|no-?print|print-?hide|screen-?reader|visually-?hidden|sr-only|caption|jump-?to|catlinks"
    r"|disclaimer|^(?:hidden|hide|widget)$|^widget_"
    r"|(?:^|[_-])(?:nav|menu|ads?|meta|tags?|tools|buttons?|banner|footer|foot|ratings?|toc|search|categories|cta"
    r"|follow|links|linklist|rail)(?:$|[_-])|(?:article|post|entry)-?infos?$"
)
_TEXT = re.compile(
    r"(?:article|post|entry|story|blog|main|body)[_-]*(?:body|content|text|copy|entry)|wysiwyg|rich-?text|^prose$"
)
_ARTICLE = re.compile(r"^(?:h-?entry|article|post|story|entry|content|main)$")
_ROLES_AROUND = _words(
    "navigation banner contentinfo complementary search menu menubar toolbar dialog alertdialog alert form button"
    " tablist"
)
_HIDING = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

NEUTRAL, CONTENT, DECLARED, AROUND, NAMED = range(5)
"""What the attributes of an element say of it: nothing; about the text; declared to be the text; around the text for
certain; around the text by its name, which may mislead."""


@dataclass(slots=True)
class Block:
    """A run of text.

    Attributes:
        text: whitespace collapsed but for line breaks that the page asks for; not empty.
        linked: share of its characters that belong to links.
        level: 1 to 6 of a heading, else 0.
        authored: whether it stands in an element for text (paragraph, list item, row) rather than of layout.
        listed: number of the innermost list around it, or of the table whose row it is; -1 for none.
    """

    text: str
    linked: float
    level: int
    authored: bool
    listed: int


@dataclass(slots=True)
class Reading:
    """A page as blocks.

    Attributes:
        blocks: in their order.
        containers: in the order of their starts, the element read first.
        paragraphs_left_out: paragraphs (<p>) of elements passed over for their name alone.
    """

    blocks: list[Block]
    containers: list[Container]
    paragraphs_left_out: int


@dataclass(slots=True)
class Container:
    """A block-level element.

    Attributes:
        first: index of its first block.
        after: index after its last block.
        mark: CONTENT or DECLARED where its tag or attributes say so, else NEUTRAL.
    """

    first: int
    after: int
    mark: int


class _Marks:
    """What class, id, role and the like say; remembers each text, since a page repeats few."""

    def __init__(self, comments: bool, prune: bool) -> None:
        self._comments, self._prune = comments, prune
        self._known: dict[str, int] = {}

    def of(self, items: list[tuple[str, str]]) -> int:
        mark = NEUTRAL
        names = ""
        for key, value in items:
            if key in ("class", "id"):
                names += value + " "
            elif key == "itemprop":
                if value == "articleBody":
                    mark = DECLARED
            elif (
                key == "hidden"
                or (key == "aria-hidden" and value == "true")
                or (key == "role" and value in _ROLES_AROUND)
                or (key == "style" and _HIDING.search(value))
            ):
                return AROUND
            elif key == "role" and value in ("main", "article"):
                mark = mark or CONTENT
        if names and mark != DECLARED:
            found = self._known.get(names)
            if found is None:
                found = self._known[names] = self._named(names)
            return found or mark
        return mark

    def _named(self, names: str) -> int:
        around = text = article = False
        for word in _CAMEL.sub("-", names).lower().split():
            if _VALUE.match(word):
                continue
            if not self._comments and _COMMENTS.search(word):
                return AROUND
            if self._prune and _AROUND.search(word):
                around = True
            elif _TEXT.search(word):
                text = True
            elif _ARTICLE.search(word):
                article = True
        if around and not text:
            return NAMED
        return CONTENT if text or article else NEUTRAL


def read_blocks(body: Any, comments: bool = False, tables: bool = True, prune: bool = True) -> Reading:
    """The blocks of an element and its containers.

    Time is linear in the size of the tree and depth needs no recursion.

    Args:
        body: lxml element.
        comments: keep what is named as readers' comments.
        tables: keep the rows of tables of more than one column.
        prune: pass over what class and id name as a part of the site around the text.
    """
    marks = _Marks(comments, prune)
    blocks: list[Block] = []
    containers: list[Container] = []
    buffer: list[str] = []
    # Of the open containers: their index and tag.
    stack: list[tuple[int, str]] = []
    # Of the open lists and tables: their number, and whether all that is in them belongs to them.
    lists: list[tuple[int, bool]] = [(-1, True)]
    n_lists = in_link = in_pre = linked = cell_at = cell_linked = left_out = 0

    def flush() -> None:
        nonlocal linked
        raw = "".join(buffer)
        buffer.clear()
        if in_pre:
            text = raw.replace(_BREAK, "\n").strip("\n").rstrip()
        elif _BREAK in raw:
            text = "\n".join(line for part in raw.split(_BREAK) if (line := " ".join(part.split())))
        else:
            text = " ".join(raw.split())
        tag = stack[-1][1] if stack else ""
        if tag == "tr":
            if not tables and _CELL in text:
                text = ""
            text = text.strip(_CELL)
        if text:
            level = int(tag[1]) if tag in _HEADINGS else 0
            share = 0.0 if in_pre else min(linked / len(text), 1.0)
            number, whole = lists[-1]
            listed = number if whole or tag == "tr" else -1
            blocks.append(Block(text, share, level, in_pre > 0 or tag in _TEXT_LEVEL, listed))
        linked = 0

    walk = etree.iterwalk(body, events=("start", "end"))
    skipped: Any = None
    for event, element in walk:
        tag = element.tag
        if event == "start":
            if tag in _INLINE:
                if tag == "a":
                    in_link += 1
                elif tag == "span" and (items := element.items()) and marks.of(items) >= AROUND:
                    skipped = element
            elif tag == "br":
                buffer.append(_BREAK)
            elif tag in _PASSED_OVER:
                skipped = element
            elif tag in _CELLS:
                if buffer:
                    buffer.append(_CELL)
                cell_at, cell_linked = len(buffer), linked
            else:
                if buffer:
                    flush()
                items = element.items()
                mark = marks.of(items) if items and element is not body else NEUTRAL
                if (tag == "article" or tag == "main") and mark != DECLARED and mark != AROUND:
                    mark = CONTENT
                if mark >= AROUND or (tag == "figure" and not _frames_text(element)):
                    skipped = element
                    if mark == NAMED:
                        left_out += sum(1 for _ in element.iter("p"))
                else:
                    stack.append((len(containers), tag))
                    containers.append(Container(len(blocks), len(blocks), mark))
                    if tag in _LISTS:
                        lists.append((n_lists, tag != "table"))
                        n_lists += 1
                    elif tag == "pre":
                        in_pre += 1
            if skipped is not None:
                walk.skip_subtree()
            elif text := element.text:
                buffer.append(text)
                if in_link:
                    linked += len(text.strip())
            continue
        if element is skipped:
            skipped = None
        elif tag in _INLINE:
            if tag == "a":
                in_link -= 1
        elif tag in _CELLS:
            cell = buffer[cell_at:]
            if sum(map(len, cell)) > _LONG_CELL:
                # A cell of layout: what it holds is no part of a row.
                del buffer[cell_at:]
                linked, rest = cell_linked, linked - cell_linked
                flush()
                buffer.extend(cell)
                linked = rest
                flush()
        elif tag != "br":
            if buffer:
                flush()
            containers[stack.pop()[0]].after = len(blocks)
            if tag in _LISTS:
                lists.pop()
            elif tag == "pre":
                in_pre -= 1
        if (tail := element.tail) and element is not body:
            buffer.append(tail)
            if in_link:
                linked += len(tail.strip())
    return Reading(blocks, containers, left_out)


def _frames_text(figure: Any) -> bool:
    """Whether a figure holds code or a table."""
    return figure.find(".//pre") is not None or figure.find(".//tr") is not None
