"""Parts that the pages share: sections, tables, facts. What is not marked as HTML is text, whatever it holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


def html(text: str) -> Html:
    """A text as HTML.

    >>> html("a < b"), html(Html("<b>a</b>"))
    ('a &lt; b', '<b>a</b>')
    """
    return text if isinstance(text, Html) else Html(escape(text))


def section(title: str, body: str, about: str = "") -> Html:
    """A section with a heading, and a line about it if there is one."""
    said = f"<p>{html(about)}</p>" if about else ""
    return Html(f"<section><h2>{html(title)}</h2>{said}{body}</section>")


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], texts: Collection[str] = (), brief: Collection[str] = ()
) -> Html:
    """A table, its first column heads the rows; "None." when it has none.

    Columns are numbers but for `texts`, and those with `brief` words, which are not broken.
    """
    kinds = [' class="text"' if name in texts else ' class="brief"' if name in brief else "" for name in head]
    lines = [_row(row, kinds) for row in rows]
    if not lines:
        return Html("<p>None.</p>")
    cells = "".join(f'<th scope="col"{kind}>{html(name)}</th>' for name, kind in zip(head, kinds, strict=True))
    label, body = html(", ".join(filter(None, head))), "\n".join(lines)
    return Html(
        f'<div class="scroll" role="group" tabindex="0" aria-label="{label}">'
        f"<table><thead><tr>{cells}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )


def _row(row: Sequence[str], kinds: Sequence[str]) -> str:
    first, *rest = map(html, row)
    kind = kinds[0]
    cells = "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(rest, kinds[1:], strict=True))
    return f'<tr><th scope="row"{kind}>{first}</th>{cells}</tr>'


def facts(values: Mapping[str, str]) -> Html:
    """Names with a value each."""
    each = (f"<div><dt>{html(name)}</dt><dd>{html(value)}</dd></div>" for name, value in values.items())
    return Html("\n".join(["<dl>", *each, "</dl>"]))


def listing(values: Mapping[str, str]) -> Html:
    """Names with a text each, one below the other."""
    rows = (
        f'<tr><th scope="row">{html(name)}</th><td class="text">{html(value)}</td></tr>'
        for name, value in values.items()
    )
    return Html("<table><tbody>\n" + "\n".join(rows) + "\n</tbody></table>")


def behind(numbers: str) -> Html:
    """The numbers of a picture, shown when they are asked for; they are not printed."""
    return Html(f"<details><summary>In numbers</summary>{numbers}</details>")


def share(part: int, whole: int) -> str:
    """A share for people; one that is not none is never shown as none.

    >>> share(1, 3), share(0, 5), share(1, 10**6), share(0, 0), share(999_999, 10**6), share(5, 5)
    ('33.33 %', '0 %', '< 0.01 %', '0 %', '> 99.99 %', '100 %')
    """
    if part in (0, whole):
        return "100 %" if part else "0 %"
    percent = 100 * part / whole
    if percent < 0.01:
        return "< 0.01 %"
    return "> 99.99 %" if percent > 99.99 else f"{percent:.2f} %"
