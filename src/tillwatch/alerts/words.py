"""Numbers and times as messages say them."""

from __future__ import annotations

from decimal import Decimal

from tillwatch.model import Detection


def many(count: int, noun: str) -> str:
    """A count with its noun.

    >>> many(1, "chunk"), many(1200, "row")
    ('1 chunk', '1,200 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def lasting(seconds: Decimal) -> str:
    """A configured time, in its largest unit that is whole.

    >>> [lasting(Decimal(text)) for text in ("0.5", "90", "600", "7200", "86400")]
    ['0.5 s', '90 s', '10 min', '2 h', '1 d']
    """
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds and seconds % size == 0:
            return f"{int(seconds / size)} {unit}"
    return f"{seconds.normalize():f} s"


def percent(part: int, whole: int) -> str:
    """A share, to two digits behind the point.

    >>> percent(1, 3), percent(1, 20)
    ('33.33%', '5%')
    """
    return f"{100 * part / whole if whole else 0:.2f}".rstrip("0").rstrip(".") + "%"


def of_detection(seq: int, found: Detection) -> str:
    """A detection in a line.

    >>> of_detection(7, Detection(3, "PatId2", "CHILD", {"customer": "C1", "merchant": "M2"}, {}))
    '7: customer C1, merchant M2, chunk 3'
    """
    return f"{seq}: {', '.join(f'{name} {value}' for name, value in found.key.items())}, chunk {found.chunk}"
