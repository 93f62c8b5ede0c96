"""Pages for the tests of extraction."""

from __future__ import annotations

MENU = "<nav><ul><li><a href='/'>Home</a></li><li><a href='/x'>Log in</a></li></ul></nav>"
KOREAN = "안녕하세요 여러분 반갑습니다 오늘은 좋은 날입니다. " * 5
JAPANESE = "これは日本語の文章です。文字化けしないでください。" * 5
CHINESE = "今天的天气很好，我们一起去公园散步，看到了很多美丽的花。" * 5
RUSSIAN = "Привет, это обычный русский текст, который надо распознать. " * 5
FRENCH = "Voilà un texte français qui a été écrit à Paris, où l’été fut très chaud. " * 5
TURKISH = "Bugün hava çok güzel, çocuklar bahçede oynuyor ve şarkı söylüyorlar. " * 5


def page(text: str, head: str = "", title: str = "A title") -> str:
    """A page with a menu and one paragraph."""
    return f"<html><head>{head}<title>{title}</title></head><body>{MENU}<article><p>{text}</p></article></body></html>"


def sentence(number: int) -> str:
    """A sentence of its own, long enough to be text by its length."""
    return (
        f"Sentence {number} tells of the river, of the old mill beside it and of the people who lived there long ago."
    )
