"""What the kernel reports: failures, warnings, the words and places of errors, streams, launchers."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from harness import Kernel, KernelTest

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class ReportTest(KernelTest):
    def text_of(self, reply):
        """The traceback as a person reads it."""
        return ESCAPES.sub("", "\n".join(reply.content["traceback"]))

    def value(self, code, **options):
        results = self.ok(code, **options).results()
        self.assertEqual(len(results), 1, results)
        return results[0]["text/plain"]


class Results(ReportTest):
    """Case 17 of the field trials: the last expression is a `Result`."""

    def test_err_of_the_library_fails_the_cell(self):
        reply = self.fails("Sae::load(\"nowhere\", &Device::Cpu)", "Error")
        self.assertIn("nowhere", reply.content["evalue"])
        self.assertNotIn("Err(", reply.content["evalue"])
        self.assertEqual(reply.results(), [])

    def test_ok_of_a_figure_shows_the_figure(self):
        data = self.ok("line([1.0, 2.0])").results()[0]
        self.assertIn("application/vnd.plotly.v1+json", data)
        self.assertNotIn("Figure {", data.get("text/plain", ""))

    def test_a_figure_of_what_the_cell_moves_shows_the_figure(self):
        self.ok("let earlier = vec![1.0, 2.0];")
        for code in [
            "line(earlier)?",
            "let values = vec![1.0, 2.0];\nline(values)?",
            "let values = vec![1.0, 2.0];\nline(values)",
            "let parts = vec![line([1.0, 2.0])?, bar([1.0])?];\nlet title = String::from(\"both\");\n"
            "beside(parts)?.title(title)",
        ]:
            with self.subTest(code):
                self.assertIn("application/vnd.plotly.v1+json", self.ok(code).results()[0])

    def test_ok_of_a_value_shows_the_value_and_unit_shows_nothing(self):
        self.assertEqual(self.value("\"7\".parse::<i32>()"), "7")
        self.assertEqual(self.value("Ok::<Vec<i32>, String>(vec![1, 2])"), "[1, 2]")
        self.assertEqual(self.ok("Ok::<(), String>(())").results(), [])

    def test_errors_of_every_kind_fail(self):
        for code, text in [
            ("Err::<i32, _>(\"plain text\")", "plain text"),
            ("Err::<i32, String>(format!(\"a {}\", \"string\"))", "a string"),
            ("std::fs::read_to_string(\"no/such/file\")", "No such file or directory (os error 2)"),
            ("Err::<(), Box<dyn std::error::Error>>(\"boxed\".into())", "boxed"),
            ("Err::<(), Box<dyn std::error::Error + Send + Sync>>(\"sent\".into())", "sent"),
            ("Tensor::new(&[1f32, 2.], &Device::Cpu)?.to_scalar::<f32>()", "unexpected rank"),
            ("Ok::<Result<i32, String>, String>(Err(\"nested\".to_owned()))", "nested"),
            ("#[derive(Debug)] struct OnlyDebug(i32); Err::<(), OnlyDebug>(OnlyDebug(3))", "OnlyDebug(3)"),
        ]:
            with self.subTest(code=code):
                self.assertIn(text, self.fails(code, "Error").content["evalue"])

    def test_causes_are_told(self):
        self.ok(
            "#[derive(Debug)] struct Top(std::num::ParseIntError);\n"
            "impl std::fmt::Display for Top { fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result { write!(f, \"top\") } }\n"
            "impl std::error::Error for Top { fn source(&self) -> Option<&(dyn std::error::Error + 'static)> { Some(&self.0) } }"
        )
        for code in ["\"x\".parse::<i32>().map_err(Top)", "\"x\".parse::<i32>().map_err(|e| Box::new(Top(e)) as Box<dyn std::error::Error>)"]:
            reply = self.fails(code, "Error")
            self.assertEqual(reply.content["evalue"], "top")
            self.assertIn("caused by: invalid digit found in string", self.text_of(reply))

    def test_a_result_in_a_variable_is_not_moved_by_showing_it(self):
        self.ok("let parsed = \"5\".parse::<i32>(); let broken = \"five\".parse::<i32>();")
        self.assertEqual(self.value("parsed"), "5")
        self.fails("broken", "Error")
        self.assertEqual(self.value("parsed"), "5")
        self.assertEqual(self.value("(parsed, broken.is_err())"), "(Ok(5), true)")

    def test_variables_of_a_cell_that_ends_in_err_are_kept(self):
        reply = self.fails("let beside_an_err = 4;\nErr::<(), _>(\"no\")", "Error")
        self.assertIn("All variables are kept", self.text_of(reply))
        self.assertEqual(self.value("beside_an_err"), "4")

    def test_options_and_plain_values_stay_what_they_are(self):
        self.assertEqual(self.value("Some(1)"), "Some(1)")
        self.assertEqual(self.value("None::<i32>"), "None")
        self.assertEqual(self.value("let last = 3; last"), "3")
        self.assertEqual(self.value("vec![Ok::<i32, String>(1), Err(\"e\".to_owned())]"), "[Ok(1), Err(\"e\")]")

    def test_a_type_that_shows_itself_is_used_through_ok(self):
        self.ok(
            "struct Shows;\nimpl Shows { fn evcxr_display(&self) { eigenlens::notebook::MimeBundle::text(\"itself\").show_as_result(); } }"
        )
        self.assertEqual(self.value("Shows"), "itself")
        self.assertEqual(self.value("&Shows"), "itself")
        self.assertEqual(self.value("Ok::<Shows, String>(Shows)"), "itself")

    def test_large_values_are_cut(self):
        text = self.value("vec![0u8; 1_000_000]")
        self.assertLess(len(text), 21_000)
        self.assertRegex(text, r"\[2,980,000 further characters are not shown")


class Unused(ReportTest):
    """Rustc's warnings: below the cell, and never in place of an error."""

    def test_a_result_that_nobody_looked_at_is_told(self):
        reply = self.ok("let first = 1;\nstd::fs::remove_file(\"no/such/file\");")
        warning = ESCAPES.sub("", reply.text("stderr"))
        self.assertTrue(warning.startswith("warning unused `Result` that must be used"), warning)
        self.assertIn("line 2 of this cell", warning)
        self.assertIn("`?`", warning)

    def test_warnings_come_after_what_the_cell_prints(self):
        reply = self.ok("std::fs::remove_file(\"no/such/file\");\neprintln!(\"own\");\nprintln!(\"out\");")
        self.assertTrue(reply.text("stderr").startswith("own\n"), reply.outputs)
        self.assertEqual(reply.outputs[-1][0], "stream")
        self.assertIn("warning", reply.outputs[-1][1]["text"])

    def test_what_notebooks_do_naturally_is_no_warning(self):
        for code in [
            "let unused = 1; let mut never_changed = 2;",
            "use std::collections::BTreeMap;",
            "fn never_called() {}",
            "macro_rules! never_used { () => { 1 } }",
            "let W = 3; fn MyFn() {} const lower: i32 = 1;",
            "let assigned; assigned = 4;",
            "let _ = std::fs::remove_file(\"no/such/file\");",
        ]:
            with self.subTest(code=code):
                self.assertEqual(self.ok(code).text("stderr"), "")

    def test_a_warning_is_told_once_where_it_arises(self):
        reply = self.ok("#[deprecated(note = \"old\")] fn aged() -> i32 { 1 }\nlet _ = aged();")
        self.assertIn("deprecated", reply.text("stderr"))
        self.assertEqual(self.ok("1 + 1").text("stderr"), "")

    def test_no_lint_is_the_headline_of_an_error(self):
        for lint in [
            "macro_rules! mm { () => { 1 } }",
            "struct my_type;",
            "trait lowertrait { fn f(&self); }",
            "enum Kind { a, b }",
            "if (true) { println!(); }",
            "#[deprecated] fn very_old() {} very_old();",
            "std::fs::remove_file(\"no/such/file\");",
        ]:
            with self.subTest(lint=lint):
                self.ok(lint)
                reply = self.fails("let x: i32 = \"a\";", "CompilationError")
                self.assertEqual(reply.content["evalue"], "mismatched types [E0308]")
                self.assertTrue(self.text_of(reply).startswith("error mismatched types"))
                self.assertNotIn("warning", self.text_of(reply))
                both = self.fails(f"{lint}\nlet x: i32 = \"a\";", "CompilationError")
                self.assertEqual(both.content["evalue"], "mismatched types [E0308]")


class CompileErrors(ReportTest):
    def test_the_header_has_the_right_line_and_column(self):
        reply = self.fails("let a = 1;\n\nlet b: String = a;", "CompilationError")
        self.assertIn("--> cell:3:17 (line 3 of this cell)", self.text_of(reply))
        self.assertIn("3 | let b: String = a;", self.text_of(reply))
        self.assertIn("^ expected `String`", self.text_of(reply))

    def test_places_are_right_on_shared_lines_and_in_the_last_expression(self):
        reply = self.fails("let a = 1; let b: u8 = \"x\"; a", "CompilationError")
        self.assertIn("cell:1:24", self.text_of(reply))
        reply = self.fails("let a = 1;\n  a.nothing()", "CompilationError")
        self.assertIn("cell:2:5", self.text_of(reply))
        self.assertIn("nothing", reply.content["evalue"])

    def test_a_missing_import_is_named_with_what_to_write(self):
        for code, name, use in [
            ("Instant::now()", "Instant", "use std::time::Instant;"),
            ("HashMap::from([(1, 2)])", "HashMap", "use std::collections::HashMap;"),
            ("HashSet::<i32>::new().len()", "HashSet", "use std::collections::HashSet;"),
            ("PathBuf::from(\"a\")", "PathBuf", "use std::path::PathBuf;"),
            ("fs::read(\"x\")?", "fs", "use std::fs;"),
            ("thread::spawn(|| 1)", "thread", "use std::thread;"),
            ("Ordering::Less", "Ordering", "use std::cmp::Ordering;"),
            ("for x in HashSet::from([1]) { println!(\"{x}\"); }", "HashSet", "use std::collections::HashSet;"),
            ("let n = 1;\nlet m = 2;\nDuration::from_secs(n)", "Duration", "use std::time::Duration;"),
            ("Arc::new(1);", "Arc", "use std::sync::Arc;"),
        ]:
            with self.subTest(code=code):
                reply = self.fails(code, "CompilationError")
                self.assertIn(f"`{name}`", reply.content["evalue"])
                self.assertIn(use, self.text_of(reply))

    def test_a_suggestion_has_its_place(self):
        self.ok("let spelled = Tensor::zeros((2, 2), DType::F32, &Device::Cpu)?;")
        text = self.text_of(self.fails("spelled.matmull(&spelled)?", "CompilationError"))
        self.assertIn("    spelled.matmul(&spelled)?", text)
        self.assertFalse(text.endswith("\nmatmul"), text)

    def test_types_of_the_library_have_their_short_names(self):
        reply = self.fails("let t: Tensor = 1;", "CompilationError")
        self.assertNotIn("eigenlens_notebook", self.text_of(reply))
        reply = self.fails("fn f(t: Tensor) {} f(1)", "CompilationError")
        self.assertNotIn("eigenlens_notebook", self.text_of(reply))

    def test_text_of_an_error_is_not_coloured_without_a_ground(self):
        reply = self.fails("let a: i32 = \"x\";\nlet b: u8 = a;", "CompilationError")
        for codes in re.findall(r"\x1b\[([0-9;]*)m", "\n".join(reply.content["traceback"])):
            self.assertTrue(codes in ("0", "1") or "48;2;" in codes, codes)

    def test_errors_in_macros_show_the_call(self):
        text = self.text_of(self.fails("let a = 1;\nprintln!(\"{}\", missing);", "CompilationError"))
        self.assertIn("line 2 of this cell", text)

    def test_an_error_that_touches_an_earlier_cell_says_so(self):
        self.ok("fn takes_one(n: i32) -> i32 { n }")
        text = self.text_of(self.fails("takes_one(1, 2)", "CompilationError"))
        self.assertIn("line 1 of this cell", text)
        self.assertIn("earlier cell", text)
        self.assertIn("fn takes_one(n: i32)", text)

    def test_return_says_what_to_do(self):
        self.assertIn("a cell is not a function", self.text_of(self.fails("return;", "CompilationError")))

    def test_what_borrows_says_clone(self):
        self.ok("let owner = vec![String::from(\"a\")];")
        reply = self.fails("let part = &owner[0];", "CompilationError")
        self.assertIn(".clone()", self.text_of(reply))

    def test_an_error_type_without_words_says_what_to_do(self):
        self.ok("#[derive(Debug)] struct Mute;")
        text = self.text_of(self.fails("Err::<(), _>(Mute)?;", "CompilationError"))
        self.assertIn("map_err", text)
        self.assertNotIn("EvcxrUserCodeError", text)


class QuestionMarks(ReportTest):
    def test_line_and_expression_are_told(self):
        reply = self.fails(
            "let a = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;\nlet b = a.matmul(&a)?;", "Error"
        )
        self.assertIn("on line 2 of this cell:  let b = a.matmul(&a)?;", self.text_of(reply))
        self.assertIn("b.t()?", self.text_of(reply))

    def test_equal_lines_are_told_apart(self):
        code = (
            "let mut results = vec![Err(\"none left\"), Ok(1), Ok(2)];\n"
            + "results.pop().unwrap_or(Ok(0))?;\n" * 3
        )
        self.assertIn("on line 4 of this cell", self.text_of(self.fails(code, "Error")))

    def test_a_block_a_loop_and_the_last_expression_have_lines(self):
        for code, line in [
            ("for n in 0..3 {\n    if n == 2 {\n        Err::<(), _>(\"third\")?;\n    }\n}", 3),
            ("let n = 1;\n{\n    \"x\".parse::<i32>()?;\n}", 3),
            ("let n = 1;\n\n\"x\".parse::<i32>()?", 3),
        ]:
            with self.subTest(code=code):
                self.assertIn(f"on line {line} of this cell", self.text_of(self.fails(code, "Error")))

    def test_a_broadcast_slip_names_the_method(self):
        self.ok("let acts = Tensor::zeros((4, 3), DType::F32, &Device::Cpu)?;")
        for sign, name in [("-", "sub"), ("+", "add"), ("*", "mul"), ("/", "div")]:
            reply = self.fails(f"let centred = (&acts {sign} acts.mean(0)?)?;", "Error")
            self.assertIn(f"broadcast_{name}", self.text_of(reply))
        self.assertIn("mean_keepdim", self.text_of(self.fails("(&acts - acts.mean(1)?)?", "Error")))
        reply = self.fails("(&acts + acts.to_dtype(DType::F64)?)?", "Error")
        self.assertIn("to_dtype", self.text_of(reply))

    def test_missing_files_say_where_paths_begin(self):
        reply = self.fails("std::fs::read_to_string(\"nope.csv\")?", "Error")
        self.assertIn(os.getcwd(), self.text_of(reply))
        self.assertIn("nope.csv", self.text_of(reply))

    def test_the_error_format_can_be_chosen(self):
        self.ok(":efmt {:?}")
        try:
            self.assertIn("ParseIntError", self.fails("\"x\".parse::<i32>()?;", "Error").content["evalue"])
        finally:
            self.ok(":efmt {}")

    def test_borrowed_errors_work(self):
        code = "{ let text = String::from(\"borrowed\"); Err::<(), &str>(&text)?; }"
        self.assertEqual(self.fails(code, "Error").content["evalue"], "borrowed")


class Input(ReportTest):
    """Case 13: nothing waits for standard input."""

    def test_reading_standard_input_is_at_its_end_at_once(self):
        self.ok("let kept_over_input = 1;")
        began = time.monotonic()
        reply = self.ok("let mut s = String::new(); let n = std::io::stdin().read_line(&mut s)?; println!(\"{n}\");")
        self.assertEqual(reply.text(), "0\n")
        reply = self.ok("println!(\"{}\", std::io::stdin().lines().count());")
        self.assertEqual(reply.text(), "0\n")
        self.assertLess(time.monotonic() - began, 60)
        self.assertEqual(self.value("kept_over_input"), "1")

    def test_children_are_at_its_end_too(self):
        self.assertEqual(self.value("std::process::Command::new(\"cat\").status()?.success()"), "true")
        self.assertEqual(self.value("std::process::Command::new(\"sh\").args([\"-c\", \"read x || echo at end\"]).status()?.success()"), "true")

    def test_questions_still_work_after_that(self):
        reply = self.ok("println!(\"{}\", input(\"one\")?); println!(\"{}\", input(\"two\")?);", on_input=lambda c: c["prompt"].upper())
        self.assertEqual(reply.text(), "ONE\nTWO\n")

    def test_children_do_not_inherit_the_kernels_descriptors(self):
        code = "String::from_utf8(std::process::Command::new(\"sh\").args([\"-c\", \"ls /proc/self/fd | wc -l\"]).output()?.stdout)?.trim().parse::<i32>()?"
        if pathlib.Path("/proc/self/fd").exists():
            self.assertLessEqual(int(self.value(code)), 5)


class Streams(ReportTest):
    def test_own_stderr_stays_stderr_beside_an_error(self):
        reply = self.fails("eprintln!(\"mine\");\nprintln!(\"out\");\neprint!(\"no newline\");\nErr::<(), _>(\"the error\")?;", "Error")
        self.assertEqual(reply.text("stderr"), "mine\nno newline")
        self.assertEqual(reply.content["evalue"], "the error")

    def test_errors_of_any_length_stay_whole(self):
        reply = self.fails("Err::<(), _>(\"é\".repeat(3_000_000) + \"end\")?;", "Error")
        self.assertEqual(len(reply.content["evalue"]), 3_000_003)
        self.assertTrue(reply.content["evalue"].endswith("end"))
        self.assertEqual(reply.text("stderr"), "")
        reply = self.fails("Err::<(), _>(\"a\\nb\\n\\nc\\n\")", "Error")
        self.assertEqual(reply.content["evalue"], "a\nb\n\nc\n")

    def test_errors_after_a_flood_stay_whole(self):
        reply = self.fails("let line = \"x\".repeat(1000); for _ in 0..6_000 { eprintln!(\"{line}\"); }\nErr::<(), _>(\"still here\")?;", "Error", timeout=180)
        self.assertEqual(reply.content["evalue"], "still here")

    def test_a_line_of_megabytes_stays_whole(self):
        self.assertEqual(len(self.ok("print!(\"{}\", \"y\".repeat(3_000_000));").text()), 3_000_000)
        self.assertEqual(len(self.ok("eprint!(\"{}\", \"y\".repeat(3_000_000));").text("stderr")), 3_000_000)

    def test_text_that_looks_like_evcxrs_own_is_text(self):
        lines = [
            "EVCXR_EXECUTION_COMPLETE",
            "EVCXR_PANIC_NOTIFICATION",
            "EVCXR_ERROR_OCCURRED",
            "EVCXR_VARIABLE_CHANGED_TYPE:x",
            "EVCXR_INPUT_REQUEST:who",
            "EVCXR_END_CONTENT",
            "about EVCXR_BEGIN_CONTENT and more",
            "EVCXR_BEGIN_CONTENT text/html",
        ]
        code = "".join(f"println!({json.dumps(line)});\n" for line in lines) + "let after_markers = 1;"
        reply = self.ok(code)
        self.assertEqual(reply.text().splitlines(), lines)
        self.assertEqual(self.value("after_markers"), "1")

    def test_a_panic_is_still_a_panic(self):
        reply = self.fails("let v = vec![1];\nlet n = v.len();\nv[n + 1];\nv[n + 1];", "Panic")
        self.assertIn("on line 3 of this cell", self.text_of(reply))


class Commands(ReportTest):
    def test_timing_shows_the_time_of_each_cell(self):
        self.ok(":timing")
        try:
            self.assertRegex(self.ok("let timed = 1;").text("stderr"), r"\d\.\d\d s \(\d+\.\d\d s compiling, \d\.\d\d s running\)")
        finally:
            self.ok(":timing")
        self.assertEqual(self.ok("timed").text("stderr"), "")

    def test_answers_of_commands_are_never_empty(self):
        self.assertEqual(self.ok("!true").results(), [])
        kernel = Kernel()
        try:
            self.assertEqual(kernel.run(":vars").results()[0]["text/plain"], "no variables")
        finally:
            kernel.close()

    def test_markers_are_there_offline_too(self):
        self.ok(":offline 1")
        try:
            self.fails("panic!(\"offline\")", "Panic")
            self.fails("Err::<(), _>(\"offline\")?;", "Error")
        finally:
            self.ok(":offline 0")


def alive(process):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True)
    return state.stdout.strip() not in ("", "Z")


class Launchers(unittest.TestCase):
    """Case 43: a kernel lives as long as its client, whatever launched it."""

    def start(self, launcher):
        from jupyter_client.kernelspec import KernelSpecManager

        spec = KernelSpecManager().get_kernel_spec("eigenlens")
        with tempfile.TemporaryDirectory() as folder:
            kernel = pathlib.Path(folder, "launched", "kernel.json")
            kernel.parent.mkdir()
            kernel.write_text(json.dumps({
                "argv": ["sh", "-c", launcher, "sh", *spec.argv],
                "display_name": "launched", "language": "rust", "env": spec.env,
                "interrupt_mode": "message",
            }))
            from jupyter_client.manager import KernelManager

            manager = KernelManager(kernel_name="launched")
            manager.kernel_spec_manager = KernelSpecManager(kernel_dirs=[folder])
            manager.start_kernel()
            client = manager.client()
            client.start_channels()
            client.wait_for_ready(timeout=60)
        return manager, client

    def info(self, client):
        client.kernel_info()
        return client.get_shell_msg(timeout=20)["content"]["status"]

    def test_a_launcher_that_ends_does_not_end_the_kernel(self):
        # The manager gives a launcher up that has ended before the kernel answers.
        for launcher in ('"$@" & sleep 3', 'nohup "$@" >/dev/null 2>&1 & sleep 3'):
            with self.subTest(launcher=launcher):
                manager, client = self.start(launcher)
                try:
                    time.sleep(4)
                    self.assertEqual(self.info(client), "ok")
                finally:
                    client.shutdown()
                    client.get_control_msg(timeout=20)
                    client.stop_channels()
                    manager.cleanup_resources()

    def test_a_kernel_ends_with_its_client(self):
        code = (
            "import sys\n"
            "from jupyter_client.manager import KernelManager\n"
            "manager = KernelManager(kernel_name='eigenlens')\n"
            "manager.start_kernel()\n"
            "print(manager.provisioner.pid, flush=True)\n"
            "sys.stdin.read()\n"
        )
        client = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        kernel = int(client.stdout.readline())
        time.sleep(1.5)
        self.assertTrue(alive(kernel))
        os.kill(client.pid, signal.SIGKILL)
        client.communicate()
        deadline = time.monotonic() + 15
        while alive(kernel) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertFalse(alive(kernel))


class Runs(unittest.TestCase):
    """`eigenlens run` fails where a cell fails, says which, and saves what there is."""

    def run_notebook(self, *cells):
        import nbformat

        script = pathlib.Path(__file__).parents[2] / "tools" / "run_notebook.py"
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        with tempfile.TemporaryDirectory() as folder:
            path, out = pathlib.Path(folder, "a.ipynb"), pathlib.Path(folder, "out.ipynb")
            nbformat.write(notebook, path)
            done = subprocess.run(
                [sys.executable, script, "--kernel", "eigenlens", "--save", out, path],
                capture_output=True, text=True,
            )
            return done, nbformat.read(out, as_version=4)

    def test_an_err_as_last_value_fails_the_run(self):
        done, saved = self.run_notebook("let a = 1;", "Sae::load(\"nowhere\", &Device::Cpu)", "println!(\"later\");")
        self.assertEqual(done.returncode, 1)
        self.assertIn("[2/3] Sae::load(\"nowhere\", &Device::Cpu) failed", done.stderr)
        self.assertEqual(saved.cells[1].outputs[0].output_type, "error")
        self.assertEqual(saved.cells[2].outputs, [])

    def test_every_kind_of_failure_fails_the_run(self):
        for cell in ["panic!(\"p\")", "Err::<(), _>(\"e\")?;", "let x: i32 = \"a\";", "std::process::exit(0);"]:
            with self.subTest(cell=cell):
                self.assertEqual(self.run_notebook(cell)[0].returncode, 1)

    def test_warnings_and_prints_on_stderr_do_not(self):
        done, _ = self.run_notebook("eprintln!(\"only words\"); std::fs::remove_file(\"no/such/file\");")
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
