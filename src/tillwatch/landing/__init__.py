"""The landing zone: the log of immutable numbered chunks, from which everything else follows.

A Parquet chunk is one object, such as `000000000012.parquet`; the layout says where it is. Its footer holds the
chunk's metadata as JSON under the key `tillwatch`, which starts with the digest: the SHA-256 of the object's bytes with
the 64 characters of the digest itself replaced by zeros, like the checksum in a tar header. To check a chunk without
this program:

    data = open("000000000012.parquet", "rb").read()
    at = data.rindex(b'{"digest":"') + 11
    assert hashlib.sha256(data[:at] + b"0" * 64 + data[at + 64 :]).hexdigest().encode() == data[at : at + 64]

A CSV chunk is `000000000012.csv`, and beside it a sidecar, `000000000012.<first 16 digits of the CSV's
SHA-256>.json`, with the same metadata, the CSV's whole SHA-256 as `data`, and a digest of itself made and
checked as above. The sidecar is written first, so the CSV is the commit. When there is a sidecar already for
the same rows with other metadata (a run ended before its CSV was there, and the source file has grown since),
the next one is `….2.json`: the last one counts.

A digest shows damage and mix-ups. It is no signature: who can write chunks can also write digests.
"""

from tillwatch.landing.codec import Format
from tillwatch.landing.layout import LAYOUTS, LayoutName
from tillwatch.landing.log import Landing

__all__ = ["LAYOUTS", "Format", "Landing", "LayoutName"]
