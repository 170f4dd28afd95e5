"""Execute one notebook through its kernel and save it; a line of progress for each cell.

Ends with status 1 at the first cell that fails. The notebook is saved then too, with the outputs
up to and including the error. Saving writes a neighbour and renames it: a reader sees all or none.
"""

import argparse
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def first_line(source: str) -> str:
    """The line of a cell that tells most: the first that is no comment."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    code = [line for line in lines if not line.startswith("//")]
    line = (code or lines or [""])[0]
    return line if len(line) <= 60 else line[:59] + "…"


def save(notebook: nbformat.NotebookNode, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            nbformat.write(notebook, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Progress:
    """Hooks of the client that print `[3/24] 0.42 s  let model = …`."""

    def __init__(self, notebook: nbformat.NotebookNode) -> None:
        runs = [
            index
            for index, cell in enumerate(notebook.cells)
            if cell.cell_type == "code" and cell.source.strip()
        ]
        self.number = {index: number for number, index in enumerate(runs, start=1)}
        self.total = len(runs)
        self.begin = 0.0
        self.running = ""

    def started(self, cell: nbformat.NotebookNode, cell_index: int) -> None:
        self.begin = time.monotonic()
        self.running = f"[{self.number.get(cell_index, '-')}/{self.total}] {first_line(cell.source)}"

    def executed(
        self, cell: nbformat.NotebookNode, cell_index: int, execute_reply: dict
    ) -> None:
        took = time.monotonic() - self.begin
        number = self.number.get(cell_index, "-")
        line = f"[{number}/{self.total}] {took:.2f} s  {first_line(cell.source)}"
        if execute_reply["content"]["status"] != "ok":
            line += "  FAILED"
        print(line, flush=True)


def complain(text: str) -> int:
    print(f"error: {text}", file=sys.stderr, flush=True)
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--kernel", required=True, help="name of the kernelspec")
    parser.add_argument("--save", type=Path, required=True, help="file to save to")
    parser.add_argument("--timeout", type=int, help="longest time for one cell, in seconds")
    options = parser.parse_args()

    try:
        notebook = nbformat.read(options.notebook, as_version=4)
        nbformat.validate(notebook)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        return complain(f"{options.notebook} is no valid notebook: {error}")

    progress = Progress(notebook)
    client = NotebookClient(
        notebook,
        kernel_name=options.kernel,
        timeout=options.timeout,
        startup_timeout=300,
        interrupt_on_timeout=False,
        record_timing=False,  # so that running again changes only what differs
        resources={"metadata": {"path": str(options.notebook.resolve().parent)}},
        on_cell_execute=progress.started,
        on_cell_executed=progress.executed,
    )
    print(f"{options.notebook}: {progress.total} cells", flush=True)
    begin = time.monotonic()
    failure = None
    try:
        client.execute()
    except CellTimeoutError:
        failure = f"{progress.running}: took longer than {options.timeout} s (--timeout)"
    except CellExecutionError as error:
        failure = f"{progress.running} failed\n{ESCAPES.sub('', str(error)).strip()}"
    except DeadKernelError:
        failure = f"{progress.running}: the kernel died; see: eigenlens doctor"
    except (NoSuchKernel, RuntimeError) as error:
        return complain(f"the kernel did not start: {error}; see: eigenlens doctor")
    try:
        save(notebook, options.save)
    except OSError as error:
        return complain(f"{options.save} could not be saved: {error}")
    if failure is not None:
        return complain(failure)
    print(f"saved {options.save}, {time.monotonic() - begin:.1f} s in all", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
