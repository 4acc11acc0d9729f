"""The frame of a page of HTML: no script, nothing loaded from elsewhere, light and dark, fit to be printed."""

from __future__ import annotations

from html import escape
from importlib import resources
from string import Template


def framed(title: str, about: str, package: str, body: str) -> str:
    """A page with a title, a sentence about it and a body of HTML, in the common style and what the package adds to it.

    `title` and `about` are plain text; the style is `page.css` of the package.
    """
    template = Template((resources.files("tillwatch.report") / "frame.html").read_text("utf-8"))
    style = (resources.files(package) / "page.css").read_text("utf-8").rstrip()
    return template.substitute(title=escape(title), about=escape(about), style=style, body=body)
