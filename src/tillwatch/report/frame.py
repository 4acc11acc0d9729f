"""The frame of a page of HTML: no script, nothing loaded from elsewhere, light and dark, fit to be printed."""

from __future__ import annotations

from html import escape
from importlib import resources
from string import Template


def framed(title: str, about: str, body: str, *, wide: bool = False) -> str:
    """A page with a title, a sentence about it and a body of HTML, in the common style `page.css`.

    `title` and `about` are plain text. What has pictures and broad tables is `wide`.
    """
    files = resources.files("tillwatch.report")
    template = Template((files / "frame.html").read_text("utf-8"))
    style = (files / "page.css").read_text("utf-8").rstrip()
    kind = ' class="wide"' if wide else ""
    return template.substitute(title=escape(title), about=escape(about), style=style, wide=kind, body=body)
