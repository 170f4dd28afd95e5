"""The first cells of every notebook on the stock kernel of evcxr, in a table.

    cargo run --bin eigenlens -- python -- tools/stock_kernel.py [NOTEBOOK ...]

Installs `evcxr_jupyter` of the version of the crate `evcxr` in Cargo.lock into eigenlens' own folder,
where no other Jupyter sees it. Each notebook gets a kernel of its own, and a cell more before its
first: the `:dep` line of the README. All kernels compile into one folder, so that the library is
compiled once, which takes as long as `cargo lab` does the first time.

Ends with status 1 if a cell failed, or panicked, which the stock kernel answers with `ok`.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import registry
from registry import FetchError, say

ROOT = Path(__file__).resolve().parent.parent
KERNEL = "stock-rust"
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
HINT = "cargo comes with Rust: https://rustup.rs"


@dataclass
class Outcome:
    """How far a notebook came."""

    notebook: str
    ended: int
    cells: int
    seconds: float
    failure: str = ""


def locked_version(lock: str, package: str) -> str:
    """The version of a package in the text of a Cargo.lock."""
    found = re.findall(rf'^name = "{re.escape(package)}"\nversion = "([^"]+)"$', lock, re.MULTILINE)
    if len(found) != 1:
        raise FetchError(f"Cargo.lock has {len(found)} versions of {package}, expected one")
    return found[0]


def install(folder: Path, version: str) -> Path:
    """The stock kernel's program; cargo leaves one of the same version as it is."""
    command = ["cargo", "install", "evcxr_jupyter", "--version", version, "--locked"]
    command += ["--root", str(folder)]
    say(" ".join(command))
    try:
        done = subprocess.run(command, cwd=folder, check=False)
    except FileNotFoundError:
        raise FetchError(f"there is no `cargo` on this machine. {HINT}") from None
    if done.returncode != 0:
        raise FetchError(f"cargo install ended with {done.returncode}; its own words are above")
    return folder / "bin" / "evcxr_jupyter"


def register(folder: Path, program: Path) -> Path:
    """A folder of kernels in which the program is one."""
    place = folder / "jupyter" / "kernels" / KERNEL
    place.mkdir(parents=True, exist_ok=True)
    spec = {
        "argv": [str(program), "--control_file", "{connection_file}"],
        "display_name": "Rust (stock evcxr)",
        "language": "rust",
        "interrupt_mode": "message",
    }
    registry.replace(place / "kernel.json", json.dumps(spec, indent=1).encode())
    return place.parent


def environment(folder: Path) -> dict[str, str]:
    """That of a kernel: a compile for all, none of the user's settings, notebooks in small."""
    own = {"EVCXR_TMPDIR": folder / "compiled", "EVCXR_CONFIG_DIR": folder / "settings"}
    for place in own.values():
        place.mkdir(parents=True, exist_ok=True)
    return {**os.environ, **{name: str(place) for name, place in own.items()}, "EIGENLENS_QUICK": "1"}


def first_cells(path: Path, count: int) -> list[str]:
    """The sources of the first cells of code that are not empty."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FetchError(f"{path} is no notebook: {error!r}") from None
    sources = ["".join(source) for source in code]
    return [source for source in sources if source.strip()][:count]


def dependency(root: Path) -> str:
    """The cell that makes the library known."""
    path = json.dumps(str(root / "kernel" / "dylib"))
    return f':dep eigenlens = {{ package = "eigenlens-notebook", path = {path} }}'


def failure(reply: dict, errors: str) -> str:
    """What is wrong with a cell, in a line; nothing if it ended well. `errors` is what it wrote to
    standard error."""
    errors = ESCAPES.sub("", errors)
    if reply.get("status") != "ok":
        words = ESCAPES.sub("", str(reply.get("evalue") or "")).strip()
        words = words or next(filter(None, map(str.strip, errors.splitlines())), "no reason given")
        return words.splitlines()[0]
    panicked = re.search(r"^thread .*panicked at .*$", errors, re.MULTILINE)
    return panicked.group(0) if panicked else ""


def run(client, source: str, timeout: float) -> tuple[dict, str]:
    """The reply to a cell, and what it wrote to standard error."""
    errors: list[str] = []

    def keep(message: dict) -> None:
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stderr":
            errors.append(content["text"])
        elif message["msg_type"] == "error":
            errors.extend(content.get("traceback", []))

    reply = client.execute_interactive(
        source, allow_stdin=False, timeout=timeout, output_hook=keep, stop_on_error=False
    )
    return reply["content"], "".join(errors)


def try_notebook(path: Path, cells: list[str], timeout: float, variables: dict[str, str]) -> Outcome:
    """Runs the cells after each other on a kernel of their own, up to the first that fails."""
    from jupyter_client.manager import KernelManager

    start, name = time.monotonic(), os.path.relpath(path, ROOT)
    outcome = Outcome(name, 0, len(cells), 0.0)
    manager = KernelManager(kernel_name=KERNEL)
    manager.start_kernel(cwd=str(path.parent), env=variables)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        for source in [dependency(ROOT), *cells]:
            outcome.failure = failure(*run(client, source, timeout))
            if outcome.failure:
                break
            outcome.ended += 1
    except (TimeoutError, queue.Empty):
        outcome.failure = f"took longer than {timeout:.0f} s (--timeout)"
    except RuntimeError as error:
        outcome.failure = f"the kernel died: {error}"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
    # The first is that of `:dep`.
    outcome.ended = max(outcome.ended - 1, 0)
    outcome.seconds = time.monotonic() - start
    return outcome


def table(outcomes: list[Outcome]) -> str:
    lines = [("notebook", "cells", "s", "failure")]
    for outcome in outcomes:
        cells = f"{outcome.ended}/{outcome.cells}"
        lines.append((outcome.notebook, cells, f"{outcome.seconds:.0f}", outcome.failure))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    rows = (
        f"{line[0]:<{widths[0]}}  {line[1]:>{widths[1]}}  {line[2]:>{widths[2]}}  {line[3]}".rstrip()
        for line in lines
    )
    return "\n".join(rows)


def check(cells: dict[Path, list[str]]) -> None:
    """Fails if a run would test nothing, of all or of a notebook that was asked for."""
    if not cells:
        raise FetchError(f"there is no notebook in {ROOT / 'notebooks'}")
    for path, sources in cells.items():
        if not sources:
            raise FetchError(f"{path} has no cell of code to run")


def at_least_one(text: str) -> int:
    """A number of cells, as the command line has it."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {count}")
    return count


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="all of notebooks/ if none is named")
    parser.add_argument("--cells", type=at_least_one, default=3, help="of each notebook; 3")
    parser.add_argument("--timeout", type=float, default=5400, help="seconds for a cell; 5400")
    parser.add_argument("--folder", type=Path, default=registry.home() / "stock-kernel")
    options = parser.parse_args()
    folder = options.folder.resolve()
    try:
        notebooks = options.notebooks or sorted((ROOT / "notebooks").glob("*/*.ipynb"))
        cells = {path.resolve(): first_cells(path, options.cells) for path in notebooks}
        check(cells)
        version = locked_version((ROOT / "Cargo.lock").read_text(encoding="utf-8"), "evcxr")
        folder.mkdir(parents=True, exist_ok=True)
        kernels = register(folder, install(folder, version))
        place = str(kernels.parent)
        os.environ["JUPYTER_PATH"] = os.pathsep.join(
            [place, *filter(None, [os.environ.get("JUPYTER_PATH")])]
        )
        variables = environment(folder)
        outcomes = []
        for path, sources in cells.items():
            outcomes.append(try_notebook(path, sources, options.timeout, variables))
            say(table(outcomes[-1:]).splitlines()[-1])
    except (FetchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    say("\n" + table(outcomes))
    return 1 if any(outcome.failure for outcome in outcomes) else 0


if __name__ == "__main__":
    raise SystemExit(main())
