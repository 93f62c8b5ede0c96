"""Documentation as HTML pages: of a module in the order in which pydoc gives it, of a README, of a chapter."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from html import escape
from itertools import groupby

from markdown_it import MarkdownIt

_UNDERLINE = re.compile(r"^([-=~*^#\"'])\1{2,}$")
_BULLET = re.compile(r"^[-*+•] ")
_DIRECTIVE = re.compile(r"^\.\. .*(\n[ \t]+\S.*)*", re.MULTILINE)


def page(title: str, places: list[tuple[str, str]], body: str, foot: str) -> str:
    """A whole page: title, navigation bar, body, footer.

    Args:
        title: plain text.
        places: (label, address) of the navigation bar.
        body: HTML.
        foot: plain text of the footer.
    """
    links = "".join(f'<li><a href="{escape(address)}">{escape(label)}</a></li>' for label, address in places)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width">\n</head>\n<body>\n'
        f'<header><nav class="menu" role="navigation"><ul>{links}</ul></nav></header>\n'
        f'<main>\n<article class="documentation">\n{body}\n</article>\n</main>\n'
        f"<footer><p>{escape(foot)}</p></footer>\n</body>\n</html>\n"
    )


def module(name: str, tree: ast.Module) -> tuple[str, str]:
    """(synopsis, HTML) of a module's documentation strings; empty HTML if it has none.

    Documented public classes with their methods come first, then functions, as in pydoc. Undocumented names are left
    out: a list of bare signatures is no text.
    """
    doc = ast.get_docstring(tree) or ""
    synopsis = doc.partition("\n")[0]
    parts = prose(doc)
    classes = [part for node in tree.body if isinstance(node, ast.ClassDef) for part in _class(node)]
    functions = [part for node in tree.body for part in _function(node, "h3")]
    if classes:
        parts += ["<h2>Classes</h2>", *classes]
    if functions:
        parts += ["<h2>Functions</h2>", *functions]
    if not parts:
        return synopsis, ""
    return synopsis, "\n".join([f"<h1>{escape(name)}</h1>", *parts])


def _class(node: ast.ClassDef) -> Iterator[str]:
    doc = ast.get_docstring(node)
    methods = [part for child in node.body for part in _function(child, "h4")]
    if node.name.startswith("_") or not (doc or methods):
        return
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    yield f"<h3>class {escape(node.name)}{escape(f'({bases})') if bases else ''}</h3>"
    yield from prose(doc or "")
    yield from methods


def _function(node: ast.AST, heading: str) -> Iterator[str]:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return
    doc = ast.get_docstring(node)
    if not doc or (node.name.startswith("_") and not node.name.startswith("__")):
        return
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    yield f"<{heading}>{escape(node.name)}({escape(ast.unparse(node.args))}){escape(returns)}</{heading}>"
    yield from prose(doc)


def prose(text: str) -> list[str]:
    """Plain text, indented as a cleaned documentation string, as HTML blocks: paragraphs, headings, lists, examples."""
    html: list[str] = []
    before = ""
    for block in re.split(r"\n[ \t]*\n", text.expandtabs()):
        lines = block.strip("\n").rstrip().split("\n")
        html += _block(lines, example=before.endswith(":"))
        before = lines[-1]
    return html


def _block(lines: list[str], example: bool = False) -> Iterator[str]:
    """HTML of lines without a blank one; `example`: whether indented lines are to be kept as they stand."""
    if not any(line.strip() for line in lines):
        return
    if len(lines) > 1 and _UNDERLINE.match(lines[1].strip()) and not lines[0].startswith(" "):
        yield f"<h4>{escape(lines[0].strip())}</h4>"
        yield from _block(lines[2:])
        return
    indented = [line.startswith(" ") for line in lines]
    if lines[0].lstrip().startswith(">>>") or (all(indented) and example):
        yield f"<pre>{escape(chr(10).join(lines))}</pre>"
    elif all(indented):
        yield from _block(textwrap.dedent("\n".join(lines)).split("\n"))
    elif _BULLET.match(lines[0]):
        items: list[str] = []
        for line in lines:
            if _BULLET.match(line):
                items.append(line[2:].strip())
            else:
                items[-1] += " " + line.strip()
        yield "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
    elif any(indented) and not indented[0]:
        # `name : kind` lines, each with its explanation indented below.
        for _, run in groupby(zip(indented, lines, strict=True), key=lambda pair: pair[0]):
            yield from _block([line for _, line in run], example=example)
            example = False
    else:
        yield f"<p>{escape(' '.join(line.strip() for line in lines))}</p>"


def readme(text: str, content_type: str) -> str:
    """HTML of a long description: Markdown is rendered; of anything else the paragraphs are set, without directives."""
    if content_type == "text/markdown":
        html: str = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
        return html
    return "\n".join(prose(_DIRECTIVE.sub("", text)))
