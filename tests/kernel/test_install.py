"""The kernel where other people put it: odd paths, odd settings, other Jupyters, broken machines."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from harness import Kernel, KernelTest

# Written by the set-up that runs these tests.
INSTALLED = pathlib.Path(os.environ["JUPYTER_DATA_DIR"], "kernels", "eigenlens")
SPEC = json.loads((INSTALLED / "kernel.json").read_text())
ENV = {name: value.replace("$$", "$") for name, value in SPEC["env"].items()}
ODD = "my lab/it's \"ü\" 部屋 $HOME"


def copy_template(folder):
    """A copy of the template that shares its large files; those that tests change are its own."""
    subprocess.run(["cp", "-al", ENV["EIGENLENS_TEMPLATE"], folder], check=True)
    for name in ("ready.json", "cells/target/library.json", "start/evcxr.toml"):
        path = pathlib.Path(folder, name)
        if path.exists():
            content = path.read_text()
            path.unlink()
            path.write_text(content)
    return pathlib.Path(folder)


class OddKernel(Kernel):
    """A kernel from a kernelspec with other variables; `argv` stands before the usual command."""

    def __init__(self, env, argv=(), cwd=None):
        self.data = tempfile.mkdtemp(prefix="eigenlens odd ")
        spec = {**SPEC, "argv": [*argv, *SPEC["argv"]]}
        spec["env"] = {n: v.replace("$", "$$") for n, v in {**ENV, **env}.items() if v is not None}
        folder = pathlib.Path(self.data, "kernels", "odd")
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps(spec))
        before = os.environ.get("JUPYTER_PATH")
        os.environ["JUPYTER_PATH"] = self.data
        try:
            super().__init__("odd", cwd)
        finally:
            os.environ.pop("JUPYTER_PATH")
            if before is not None:
                os.environ["JUPYTER_PATH"] = before

    def close(self):
        super().close()
        shutil.rmtree(self.data, ignore_errors=True)


class Odd(KernelTest):
    """Cells and dependencies where every path is odd and every setting is meant for others."""

    @classmethod
    def setUpClass(cls):
        # Hard links need the template's disk.
        beside = pathlib.Path(ENV["EIGENLENS_HOME"])
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="odd test ", dir=beside))
        home = cls.root / ODD
        (home / "builds").mkdir(parents=True)
        template = copy_template(home / "builds" / "the template")
        temporary, notebooks, elsewhere = (cls.root / n for n in ("t m p 'ü'", "note books", "cargo home"))
        for folder in (temporary, notebooks, elsewhere):
            folder.mkdir()
        # Cargo reads this file too, because it lies above the build folder.
        above = cls.root / ".cargo" / "config.toml"
        above.parent.mkdir()
        above.write_text(
            '[build]\nrustflags = ["-Ctarget-cpu=native"]\nrustc-wrapper = "/no/such/sccache"\n'
            'rustc-workspace-wrapper = "/no/such/wrapper"\ntarget = "wasm32-unknown-unknown"\n'
            'target-dir = "/no/such/target"\n[profile.dev]\nopt-level = 0\ndebug = 2\n'
            '[profile.dev.package."*"]\nopt-level = 0\n[term]\nquiet = true\n'
            '[target.x86_64-unknown-linux-gnu]\nlinker = "/no/such/linker"\n'
        )
        (cls.root / "rust-toolchain.toml").write_text('[toolchain]\nchannel = "1.0.0"\n')
        (notebooks / "rust-toolchain.toml").write_text('[toolchain]\nchannel = "1.0.0"\n')
        (notebooks / "evcxr.toml").write_text("[evcxr]\ntmpdir = \"/no/such\"\n")
        cls.kernel = OddKernel(
            {
                "EIGENLENS_HOME": str(home),
                "EIGENLENS_TEMPLATE": str(template),
                "RUSTUP_TOOLCHAIN": "1.0.0",
                "TMPDIR": str(temporary),
                "PATH": "/usr/bin:/bin",
                "CARGO_HOME": str(elsewhere),
                "RUSTFLAGS": "-Ctarget-cpu=native",
                "CARGO_ENCODED_RUSTFLAGS": "-Cdebuginfo=2\x1f-Ctarget-cpu=native",
                "CARGO_BUILD_RUSTFLAGS": "-Cdebuginfo=2",
                "CARGO_BUILD_TARGET": "wasm32-unknown-unknown",
                "CARGO_TARGET_DIR": "/no/such/target",
                "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER": "/no/such/linker",
                "CARGO_PROFILE_DEV_OPT_LEVEL": "0",
                "CARGO_PROFILE_DEV_DEBUG": "2",
                "CARGO_INCREMENTAL": "0",
                "RUSTC": "/no/such/rustc",
                "RUSTC_WRAPPER": "/no/such/sccache",
                "RUSTC_WORKSPACE_WRAPPER": "/no/such/wrapper",
                "CC": "/no/such/cc",
                "CFLAGS": "--no-such-flag",
                "RUST_BACKTRACE": "full",
                "RUST_LIB_BACKTRACE": "1",
                "EVCXR_TMPDIR": "/no/such",
            },
            cwd=notebooks,
        )

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.root, ignore_errors=True)

    def test_cells_run_and_keep_their_variables(self):
        self.ok("let odd: i64 = 20;")
        self.assertEqual(self.ok("odd + 1").results()[0]["text/plain"], "21")
        reply = self.ok("Tensor::new(&[1f32, 2.], &Device::Cpu)?.sum_all()?.to_scalar::<f32>()?")
        self.assertEqual(reply.results()[0]["text/plain"], "3.0")
        failed = self.fails("Tensor::new(&[1f32], &Device::Cpu)?.reshape((2, 3))?", "Error")
        self.assertNotIn("stack backtrace", failed.content["evalue"])
        self.assertNotIn("::", failed.content["evalue"])
        self.assertIn("E0308", self.fails("let x: i32 = \"a\";", "CompilationError").content["evalue"])

    def test_a_crate_below_an_odd_path_is_a_dependency_and_compiles_alone(self):
        crate = self.root / "my crates" / "it's ü"
        (crate / "src").mkdir(parents=True)
        (crate / "Cargo.toml").write_text('[package]\nname = "odd"\nversion = "0.1.0"\nedition = "2024"\n')
        (crate / "src" / "lib.rs").write_text("pub fn answer() -> i32 { 42 }\n")
        reply = self.ok(f":dep odd = {{ path = {json.dumps(str(crate), ensure_ascii=False)} }}")
        compiled = re.findall(r"Compiling (\S+)", "".join(c["text"] for c in reply.of("stream")))
        self.assertLessEqual(set(compiled), {"odd"})
        self.assertEqual(self.ok("odd::answer()").results()[0]["text/plain"], "42")


    def test_an_eigenlens_started_by_a_cell_is_no_part_of_this_kernel(self):
        reply = self.ok(
            f"let done = std::process::Command::new({json.dumps(SPEC['argv'][0])}).arg(\"--version\").output()?;\n"
            "println!(\"{}\", String::from_utf8_lossy(&done.stdout));"
        )
        self.assertRegex(reply.text(), r"eigenlens \d+\.\d+")


class Dependencies(KernelTest):
    """Crates of a registry compile by themselves: the library is not compiled with them again."""

    def compiled(self, line):
        start = time.monotonic()
        reply = self.ok(line, timeout=600)
        text = "".join(c["text"] for c in reply.of("stream"))
        print(f"{line}: {time.monotonic() - start:.1f} s", file=sys.stderr)
        return re.findall(r"Compiling (\S+)", text)

    def test_csv_and_itertools_compile_those_alone(self):
        self.ok("let kept: Tensor = Tensor::zeros(3, DType::F32, &Device::Cpu)?;")
        for line in (":dep csv = \"1\"", ":dep itertools = \"0.14\"", ":dep serde = { version = \"1\", features = [\"derive\"] }"):
            compiled = self.compiled(line)
            for name in ("eigenlens", "the", "serde", "serde_core", "candle", "tokenizers"):
                self.assertNotIn(name, compiled, line)
        self.ok("let mut reader = csv::Reader::from_reader(\"a,b\\n1,2\\n\".as_bytes());\n"
                "let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>()?;\n"
                "drop(reader);")
        self.assertEqual(self.ok("rows.len()").results()[0]["text/plain"], "1")
        self.ok("use itertools::Itertools;\nlet joined: String = (0..3).join(\"-\");")
        self.assertEqual(self.ok("joined").results()[0]["text/plain"], '"0-1-2"')
        self.assertEqual(self.ok("kept.elem_count()").results()[0]["text/plain"], "3")


class Announced(unittest.TestCase):
    def test_compiling_the_library_again_is_announced_with_its_time(self):
        beside = pathlib.Path(ENV["EIGENLENS_HOME"])
        with tempfile.TemporaryDirectory(prefix="announced-", dir=beside) as root:
            template = copy_template(pathlib.Path(root, "template"))
            path = template / "cells/target/library.json"
            built = json.loads(path.read_text())
            crates = [c for c in built["crates"] if not c.startswith("serde_core ")]
            # As if the library had been built with a feature that nothing asks for.
            path.write_text(json.dumps({**built, "seconds": 700, "crates": crates + ["serde_core v1.0.0 other"]}))
            crate = pathlib.Path(root, "small")
            (crate / "src").mkdir(parents=True)
            (crate / "Cargo.toml").write_text('[package]\nname = "small"\nversion = "0.1.0"\nedition = "2024"\n')
            (crate / "src" / "lib.rs").write_text("pub fn one() -> i32 { 1 }\n")
            kernel = OddKernel({"EIGENLENS_TEMPLATE": str(template)})
            try:
                reply = kernel.run(f":dep small = {{ path = {json.dumps(str(crate))} }}")
                text = "".join(c["text"] for c in reply.of("stream"))
                self.assertIn("library again", text)
                self.assertIn("12 minutes", text)
                self.assertIn("serde_core", text)
            finally:
                kernel.close()


class Broken(unittest.TestCase):
    """A kernel that cannot work answers, and its first cell says why and what to do."""

    def first_cell(self, env):
        start = time.monotonic()
        kernel = OddKernel(env)
        try:
            self.assertLess(time.monotonic() - start, 10)
            reply = kernel.run("1 + 1")
            self.assertEqual((reply.status, reply.content["ename"]), ("error", "NotReady"))
            again = kernel.run("2 + 2")
            self.assertEqual(again.content["evalue"], reply.content["evalue"])
            return reply.content["evalue"]
        finally:
            kernel.close()

    def test_the_template_is_gone(self):
        words = self.first_cell({"EIGENLENS_TEMPLATE": "/no/such/template"})
        self.assertIn("/no/such/template", words)
        self.assertIn("cargo lab", words)

    def test_the_kernelspec_names_no_template(self):
        self.assertIn("cargo lab", self.first_cell({"EIGENLENS_TEMPLATE": None}))

    def test_the_state_folder_cannot_be_written(self):
        # Root may write anywhere, but not below a file.
        with tempfile.NamedTemporaryFile() as file:
            words = self.first_cell({"EIGENLENS_HOME": f"{file.name}/home"})
        self.assertIn("cannot be written", words)
        self.assertIn("EIGENLENS_HOME", words)

    def test_there_is_no_folder_for_temporary_files(self):
        words = self.first_cell({"TMPDIR": "/no/such/folder"})
        self.assertIn("/no/such/folder", words)
        self.assertIn("TMPDIR", words)

    def test_the_compiler_is_gone_or_another_one(self):
        for change, expected in (
            ({"sysroot": "/no/such/rust"}, "/no/such/rust"),
            ({"verbose_version": "rustc 1.0.0 (another)\n"}, "rustc 1.0.0 (another)"),
        ):
            with tempfile.TemporaryDirectory() as folder:
                ready = json.loads(pathlib.Path(ENV["EIGENLENS_TEMPLATE"], "ready.json").read_text())
                ready["compiler"].update(change)
                pathlib.Path(folder, "ready.json").write_text(json.dumps(ready))
                words = self.first_cell({"EIGENLENS_TEMPLATE": folder})
            self.assertIn(expected, words)
            self.assertIn("cargo lab", words)

    def test_the_library_is_cut_off(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(pathlib.Path(ENV["EIGENLENS_TEMPLATE"], "ready.json"), folder)
            self.assertIn("start/evcxr.toml", self.first_cell({"EIGENLENS_TEMPLATE": folder}))


class Registered(unittest.TestCase):
    """`setup --user`: Jupyters that know nothing of this project's folders find the kernel."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="user's jupyter "))
        self.env = {n: v for n, v in os.environ.items() if not n.startswith(("JUPYTER", "IPYTHON"))}
        self.env.update({"XDG_DATA_HOME": str(self.folder), "JUPYTER_RUNTIME_DIR": str(self.folder / "run")})
        self.env.update(ENV)

    def tearDown(self):
        self.eigenlens("setup", "--remove")
        shutil.rmtree(self.folder, ignore_errors=True)

    def eigenlens(self, *arguments):
        done = subprocess.run(
            [SPEC["argv"][0], *arguments], env=self.env, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def kernels(self):
        command = [sys.executable, "-m", "jupyter_client.kernelspecapp", "list", "--json"]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["kernelspecs"]

    def test_it_is_found_runs_and_goes_again(self):
        self.assertNotIn("eigenlens", self.kernels())
        found = self.eigenlens("doctor")
        self.assertIn("setup --user", found)
        self.assertRegex(found, r"all +\d+  \d+\.\d % of models that load")
        said = self.eigenlens("setup", "--user")
        place = self.folder / "jupyter" / "kernels" / "eigenlens"
        self.assertIn(str(place), said)
        self.assertEqual(self.kernels()["eigenlens"]["spec"]["display_name"], "Rust (eigenlens)")
        for name in ("logo-svg.svg", "logo-64x64.png", "logo-32x32.png"):
            self.assertTrue((place / name).is_file(), name)
        self.assertIn(str(place), self.eigenlens("doctor"))

        notebook = self.folder / "a notebook.ipynb"
        cell = {"cell_type": "code", "source": "6 * 7", "metadata": {}, "outputs": [], "execution_count": None, "id": "a"}
        metadata = {"kernelspec": {"name": "eigenlens", "display_name": "", "language": "rust"}}
        notebook.write_text(json.dumps({"cells": [cell], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
        command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--stdout", str(notebook)]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        outputs = json.loads(done.stdout)["cells"][0]["outputs"]
        self.assertEqual("".join(outputs[0]["data"]["text/plain"]), "42")

        # A program that is gone is told, and a set-up mends it.
        path = place / "kernel.json"
        spec = json.loads(path.read_text())
        path.write_text(json.dumps({**spec, "argv": ["/no/such/program", *spec["argv"][1:]]}))
        self.assertIn("stale", self.eigenlens("doctor"))
        self.eigenlens("setup")
        self.assertEqual(json.loads(path.read_text()), spec)

        self.assertIn(str(place), self.eigenlens("setup", "--remove"))
        self.assertNotIn("eigenlens", self.kernels())

    def test_a_kernel_of_that_name_by_somebody_else_stays(self):
        place = self.folder / "jupyter" / "kernels" / "eigenlens"
        place.mkdir(parents=True)
        foreign = json.dumps({"argv": ["other", "{connection_file}"], "display_name": "Other", "language": "x"})
        (place / "kernel.json").write_text(foreign)
        self.assertIn("did not write", self.eigenlens("setup", "--user"))
        self.eigenlens("setup", "--remove")
        self.assertEqual((place / "kernel.json").read_text(), foreign)


if __name__ == "__main__":
    unittest.main()
