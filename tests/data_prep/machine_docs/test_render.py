import ast

import pytest
import trafilatura

from data_prep.machine_docs import render

SOURCE = '''
"""Small tools for boats.

They float::

    boat = Boat()
    boat.float()
"""

class Boat(Vehicle):
    """A thing that floats on the water and carries people and goods from one harbour to the next.

    Parameters
    ----------
    name : str
        What the boat is called by its owners and by the harbour master.
    masts : int
        How many masts it has.
    """

    def sail(self, to: str, speed=3) -> "Log":
        """Sail to another harbour and write down what was seen on the way there."""

    def _hidden(self):
        """Nobody reads this."""

    def undocumented(self): ...

def sink(boat, *, slowly=True):
    """Let a boat go under, which is what happens if <holes> & cracks are not mended.

    >>> sink(Boat("a"))
    'gone'
    """
'''


@pytest.fixture(scope="module")
def html() -> str:
    synopsis, content = render.module("boats", ast.parse(SOURCE))
    assert synopsis == "Small tools for boats."
    return render.page("boats", [("Home", "/"), ("Imprint", "/imprint")], content, "All rights floated.")


def test_extraction_finds_the_documentation_and_not_the_page_furniture(html: str) -> None:
    text = trafilatura.extract(html)
    assert text is not None
    for kept in (
        "Small tools for boats.",
        "class Boat(Vehicle)",
        "What the boat is called by its owners and by the harbour master.",
        "write down what was seen",
        "if <holes> & cracks are not mended",
        "boat = Boat()\n",
    ):
        assert kept in text
    for gone in ("Imprint", "All rights floated.", "Nobody reads this", "undocumented"):
        assert gone not in text


def test_signatures_are_as_in_the_source(html: str) -> None:
    assert "<h4>sail(self, to: str, speed=3) -&gt; &#x27;Log&#x27;</h4>" in html
    assert "<h3>sink(boat, *, slowly=True)</h3>" in html


def test_a_module_without_documentation_gives_no_page() -> None:
    assert render.module("empty", ast.parse("x = 1\ndef f(): ...\n")) == ("", "")


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("one\ntwo\n\nthree", ["<p>one two</p>", "<p>three</p>"]),
        ("- a\n  more\n- b", ["<ul><li>a more</li><li>b</li></ul>"]),
        ("Title\n=====\ntext", ["<h4>Title</h4>", "<p>text</p>"]),
        ("so::\n\n  x = 1\n    y", ["<p>so::</p>", "<pre>  x = 1\n    y</pre>"]),
        ("so.\n\n  aside\n  more", ["<p>so.</p>", "<p>aside more</p>"]),
        ("x : int\n    The x.", ["<p>x : int</p>", "<p>The x.</p>"]),
        (">>> 1 < 2\nTrue", ["<pre>&gt;&gt;&gt; 1 &lt; 2\nTrue</pre>"]),
        ("", []),
    ],
)
def test_prose(text: str, html: list[str]) -> None:
    assert render.prose(text) == html


def test_readme_in_markdown_and_in_plain_text() -> None:
    assert "<h1>Boats</h1>" in render.readme("# Boats\n\nfloat", "text/markdown")
    plain = render.readme("Boats\n=====\n\n.. image:: x.png\n   :alt: y\n\nfloat", "text/x-rst")
    assert plain == "<h4>Boats</h4>\n<p>float</p>"
