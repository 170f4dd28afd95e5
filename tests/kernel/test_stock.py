"""The parts of tools/stock_kernel.py that need no stock kernel."""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import stock_kernel  # noqa: E402
from registry import FetchError  # noqa: E402
from stock_kernel import Outcome  # noqa: E402


class StockKernel(unittest.TestCase):
    def test_the_version_is_that_of_the_lock_file(self):
        lock = (ROOT / "Cargo.lock").read_text(encoding="utf-8")
        self.assertRegex(stock_kernel.locked_version(lock, "evcxr"), r"^\d+\.\d+\.\d+$")
        two = '[[package]]\nname = "a"\nversion = "1.0.0"\n\n[[package]]\nname = "a"\nversion = "2.0.0"\n'
        for text, count in [(two, 2), ("", 0)]:
            with self.assertRaisesRegex(FetchError, f"has {count} versions of a"):
                stock_kernel.locked_version(text, "a")

    def test_cells_are_the_first_of_code_that_are_not_empty(self):
        cells = [
            {"cell_type": "markdown", "source": "# a"},
            {"cell_type": "code", "source": []},
            {"cell_type": "code", "source": ["let a = 1;\n", "a"]},
            {"cell_type": "code", "source": "b"},
            {"cell_type": "code", "source": "c"},
        ]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.ipynb"
            path.write_text(json.dumps({"cells": cells}))
            self.assertEqual(stock_kernel.first_cells(path, 2), ["let a = 1;\na", "b"])
            self.assertEqual(len(stock_kernel.first_cells(path, 9)), 3)
            for text in ["[]", "{", '{"cells": [1]}']:
                path.write_text(text)
                with self.assertRaisesRegex(FetchError, "a.ipynb is no notebook"):
                    stock_kernel.first_cells(path, 1)

    def test_every_notebook_has_cells_and_the_line_of_the_readme_names_the_library(self):
        for path in (ROOT / "notebooks").glob("*/*.ipynb"):
            self.assertIn("eigenlens::prelude", stock_kernel.first_cells(path, 3)[0], path)
        line = stock_kernel.dependency(Path("../.."))
        self.assertIn(line, (ROOT / "README.md").read_text(encoding="utf-8"))

    def test_a_panic_is_a_failure_whatever_the_reply_says(self):
        failure = stock_kernel.failure
        self.assertEqual(failure({"status": "ok"}, "warning: slow\n"), "")
        panic = "\x1b[31mthread '<unnamed>' panicked at src/lib.rs:3:5:\nno\n"
        self.assertIn("panicked at src/lib.rs:3:5", failure({"status": "ok"}, panic))
        reply = {"status": "error", "evalue": "\x1b[1mcannot find `x`\nat line 2"}
        self.assertEqual(failure(reply, ""), "cannot find `x`")
        self.assertEqual(failure({"status": "error", "evalue": ""}, "\n a\nb"), "a")
        self.assertEqual(failure({"status": "error"}, ""), "no reason given")

    def test_the_kernel_is_registered_where_only_this_program_looks(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            kernels = stock_kernel.register(folder, folder / "bin" / "evcxr_jupyter")
            spec = json.loads((kernels / stock_kernel.KERNEL / "kernel.json").read_text())
            self.assertEqual(spec["argv"][1:], ["--control_file", "{connection_file}"])
            variables = stock_kernel.environment(folder)
            for name in ["EVCXR_TMPDIR", "EVCXR_CONFIG_DIR"]:
                self.assertTrue(Path(variables[name]).is_relative_to(folder))
                self.assertTrue(Path(variables[name]).is_dir())
            with mock.patch.dict(os.environ, {"JUPYTER_PATH": str(kernels.parent)}):
                from jupyter_client.kernelspec import KernelSpecManager

                found = KernelSpecManager().get_kernel_spec(stock_kernel.KERNEL)
            self.assertEqual(found.argv[0], str(folder / "bin" / "evcxr_jupyter"))

    def test_what_cannot_be_installed_or_read_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            nowhere = {"PATH": folder}
            with mock.patch.dict(os.environ, nowhere), contextlib.redirect_stdout(io.StringIO()):
                with self.assertRaisesRegex(FetchError, "no `cargo` on this machine"):
                    stock_kernel.install(Path(folder), "0.22.0")
            arguments = ["stock_kernel.py", f"{folder}/none.ipynb", "--folder", folder]
            errors = io.StringIO()
            with mock.patch.object(sys, "argv", arguments), contextlib.redirect_stderr(errors):
                self.assertEqual(stock_kernel.main(), 1)
            self.assertIn("none.ipynb is no notebook", errors.getvalue())

    def test_a_run_that_would_test_nothing_fails(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            path = folder / "a.ipynb"
            path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "# a"}]}))

            def ended(*arguments):
                words = ["stock_kernel.py", *arguments, "--folder", str(folder / "kernel")]
                errors = io.StringIO()
                with mock.patch.object(sys, "argv", words), contextlib.redirect_stderr(errors):
                    try:
                        return stock_kernel.main(), errors.getvalue()
                    except SystemExit as end:
                        return end.code, errors.getvalue()

            status, errors = ended(str(path))
            self.assertEqual(status, 1)
            self.assertIn("a.ipynb has no cell of code to run", errors)
            with mock.patch.object(stock_kernel, "ROOT", folder):
                status, errors = ended()
            self.assertEqual(status, 1)
            self.assertIn("there is no notebook in", errors)
            for count in ["0", "-1"]:
                status, errors = ended(str(path), f"--cells={count}")
                self.assertEqual(status, 2)
                self.assertIn(f"expected at least 1, found {count}", errors)
            self.assertFalse((folder / "kernel").exists())

    def test_a_notebook_ends_at_its_first_failure(self):
        # On the kernel of Python, which speaks the same protocol.
        replaced = {"KERNEL": "python3", "dependency": lambda root: "x = 1"}
        path, variables = ROOT / "notebooks" / "a.ipynb", dict(os.environ)
        with mock.patch.multiple(stock_kernel, **replaced):
            cells = ["x", "raise ValueError('no')", "x"]
            bad = stock_kernel.try_notebook(path, cells, 60, variables)
            good = stock_kernel.try_notebook(path, ["print(x)", "x + 1"], 60, variables)
            slow = stock_kernel.try_notebook(path, ["import time; time.sleep(9)"], 1, variables)
        self.assertEqual((good.ended, good.cells, good.failure), (2, 2, ""))
        self.assertEqual((bad.ended, bad.cells, bad.failure), (1, 3, "no"))
        self.assertEqual((slow.ended, slow.failure), (0, "took longer than 1 s (--timeout)"))
        self.assertTrue(good.notebook.endswith("a.ipynb") and good.seconds > 0)

    def test_the_table_has_a_line_a_notebook(self):
        outcomes = [Outcome("a/b.ipynb", 3, 3, 61.4), Outcome("c.ipynb", 1, 3, 5.0, "no")]
        self.assertEqual(
            stock_kernel.table(outcomes).splitlines(),
            [
                "notebook   cells   s  failure",
                "a/b.ipynb    3/3  61",
                "c.ipynb      1/3   5  no",
            ],
        )


if __name__ == "__main__":
    unittest.main()
