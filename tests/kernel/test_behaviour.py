"""What the kernel does for a cell: errors, displays, streams, input, completion."""

import json
import pathlib
import tempfile
import time
import unittest

from harness import Kernel, KernelTest
from jupyter_client.session import Session


class Errors(KernelTest):
    def test_compile_error_is_an_error_with_place_and_code(self):
        reply = self.fails("let x: i32 = \"text\";", "CompilationError")
        self.assertIn("E0308", reply.content["evalue"])
        self.assertIn("mismatched types", "\n".join(reply.content["traceback"]))

    def test_compile_error_in_a_cell_with_other_alphabets_shows_its_line(self):
        reply = self.fails("let λ = 1;\nlet y: String = λ;", "CompilationError")
        self.assertIn("line 2", "\n".join(reply.content["traceback"]))

    def test_panic_is_an_error_that_names_the_cells_line(self):
        self.ok("let kept_over_panic = 5;")
        reply = self.fails("let v = vec![1];\nlet i = v.len() + 6;\nprintln!(\"{}\", v[i]);", "Panic")
        self.assertIn("index out of bounds", reply.content["evalue"])
        self.assertIn("line 3 of this cell", "\n".join(reply.content["traceback"]))
        self.assertEqual(self.ok("kept_over_panic").results()[0]["text/plain"], "5")

    def test_question_mark_is_an_error_with_the_errors_text(self):
        self.ok("let kept_over_error = 6;")
        reply = self.fails("let n: i32 = \"seven\".parse()?;\nprintln!(\"{n}\");", "Error")
        self.assertEqual(reply.content["evalue"], "invalid digit found in string")
        self.assertEqual(reply.text("stderr"), "")
        self.assertEqual(self.ok("kept_over_error").results()[0]["text/plain"], "6")

    def test_what_cannot_be_kept_is_named_by_its_cell(self):
        reply = self.fails("let unkept = |x: i32| x + 1;", "Error")
        self.assertIn("`unkept` is a closure", reply.content["evalue"])
        # Evcxr then checks the cell; the library must not be checked with it.
        text = "\n".join(reply.content["traceback"]) + reply.text("stderr")
        self.assertNotIn("Checking eigenlens", text)

    def test_library_errors_say_what_was_expected(self):
        reply = self.fails("Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?.matmul(&Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?)?;", "Error")
        self.assertIn("shape mismatch", reply.content["evalue"])

    def test_cells_queued_behind_a_failure_are_aborted(self):
        requests = [self.kernel.send(code) for code in ("Err::<(), _>(\"no\")?;", "1", "2")]
        replies = [self.kernel.collect(request) for request in requests]
        self.assertEqual([reply.status for reply in replies], ["error", "aborted", "aborted"])
        self.assertEqual(self.ok("3").results()[0]["text/plain"], "3")

    def test_without_stop_on_error_the_queue_goes_on(self):
        requests = [self.kernel.send("Err::<(), _>(\"no\")?;", stop_on_error=False), self.kernel.send("4")]
        replies = [self.kernel.collect(request) for request in requests]
        self.assertEqual([reply.status for reply in replies], ["error", "ok"])

    def test_a_process_that_exits_is_reported_and_replaced(self):
        reply = self.fails("println!(\"last words\"); std::process::exit(3);", "ProcessLost")
        self.assertIn("status 3", reply.content["evalue"])
        self.assertIn("last words", reply.text())
        self.assertEqual(self.ok("1 + 1").results()[0]["text/plain"], "2")


class Displays(KernelTest):
    def test_every_display_shows_in_order_with_prints(self):
        reply = self.ok(
            "use eigenlens::notebook::MimeBundle;\n"
            "println!(\"one\");\n"
            "MimeBundle::text(\"two\").html(\"<b>two</b>\").show();\n"
            "println!(\"three\");\n"
            "println!(\"EVCXR_BEGIN_CONTENT text/html\\n<i>four</i>\\nEVCXR_END_CONTENT\");\n"
            "println!(\"EVCXR_BEGIN_CONTENT text/html\\n<i>five</i>\\nEVCXR_END_CONTENT\");\n"
            "println!(\"six\");\n"
            "7"
        )
        shown = []
        for kind, content, _ in reply.outputs:
            if kind == "stream":
                shown += content["text"].split()
            elif kind in ("display_data", "execute_result"):
                shown.append(content["data"].get("text/html") or content["data"]["text/plain"])
        self.assertEqual(shown, ["one", "<b>two</b>", "three", "<i>four</i>", "<i>five</i>", "six", "7"])

    def test_a_display_appears_while_the_cell_runs_and_can_change(self):
        reply = self.ok(
            "let handle = eigenlens::notebook::MimeBundle::text(\"before\").show_updatable();\n"
            "std::thread::sleep(std::time::Duration::from_millis(900));\n"
            "handle.update(&eigenlens::notebook::MimeBundle::text(\"after\"));\n"
            "std::thread::sleep(std::time::Duration::from_millis(900));"
        )
        first, second = reply.of("display_data")[0], reply.of("update_display_data")[0]
        self.assertEqual(first["transient"]["display_id"], second["transient"]["display_id"])
        self.assertEqual(second["data"]["text/plain"], "after")
        gap = reply.times("update_display_data")[0] - reply.times("display_data")[0]
        self.assertGreater(gap, 0.5)

    def test_clear_output(self):
        reply = self.ok("println!(\"x\"); eigenlens::notebook::clear_output(true); println!(\"y\");")
        kinds = [kind for kind, _, _ in reply.outputs if kind in ("stream", "clear_output")]
        self.assertEqual(kinds, ["stream", "clear_output", "stream"])
        self.assertEqual(reply.of("clear_output"), [{"wait": True}])

    def test_text_streams_without_a_newline(self):
        reply = self.ok(
            "for step in 0..3 { print!(\"{step}.\"); std::thread::sleep(std::time::Duration::from_millis(700)); }"
        )
        self.assertEqual(reply.text(), "0.1.2.")
        times = reply.times("stream")
        self.assertGreaterEqual(len(times), 3)
        self.assertGreater(times[-1] - times[0], 1.0)

    def test_both_streams_arrive(self):
        reply = self.ok("println!(\"out\"); eprintln!(\"err\");")
        self.assertEqual((reply.text(), reply.text("stderr")), ("out\n", "err\n"))

    def test_bytes_that_are_not_text_do_no_harm(self):
        reply = self.ok(
            "use std::io::Write; std::io::stdout().write_all(&[b'a', 0xff, b'b', b'\\n'])?; std::io::stderr().write_all(&[0xfe, b'\\n'])?;"
        )
        self.assertEqual(reply.text(), "a\ufffdb\n")
        self.assertEqual(self.ok("println!(\"λ\");").text(), "λ\n")

    def test_a_flood_of_output_is_cut_with_a_note(self):
        start = time.monotonic()
        reply = self.ok("let line = \"x\".repeat(1000); for _ in 0..50_000 { println!(\"{line}\"); }", timeout=180)
        self.assertLess(len(reply.text()), 5 << 20)
        self.assertGreater(len(reply.text()), 1 << 20)
        self.assertRegex(reply.text("stderr"), r"4[0-9]\.[0-9] MB of further output are not shown")
        self.assertLess(time.monotonic() - start, 60)

    def test_progress_is_drawn_in_place(self):
        reply = self.ok(
            "let mut bar = Progress::new(\"counting\", 8, \"step\");\n"
            "for _ in 0..8 { std::thread::sleep(std::time::Duration::from_millis(120)); if bar.advance(1) { break; } }\n"
            "bar.finish();"
        )
        self.assertEqual(len(reply.of("display_data")), 1)
        updates = reply.of("update_display_data")
        self.assertGreaterEqual(len(updates), 3)
        last = updates[-1]["data"]["text/plain"]
        self.assertIn("8/8 steps", last)
        self.assertRegex(last, r"\d s/s|steps/s|s/step")

    def test_value_of_a_cell(self):
        self.assertEqual(self.ok("vec![1, 2]").results()[0]["text/plain"], "[1, 2]")
        self.assertEqual(self.ok("let unit = 3;").results(), [])
        self.assertEqual(self.ok("for n in 0..2 { println!(\"{n}\"); }").results(), [])

    def test_debug_only_values_of_own_types(self):
        self.ok("#[derive(Debug)] struct Own { a: i32 }")
        self.assertEqual(self.ok("Own { a: 1 }").results()[0]["text/plain"], "Own { a: 1 }")

    def test_commands_of_evcxr_answer(self):
        self.ok("let listed: i64 = 9;")
        self.assertIn("listed", self.ok(":vars").results()[0]["text/plain"])


class Input(KernelTest):
    def test_a_question_is_asked_and_answered(self):
        asked = []

        def answer(content):
            asked.append((content["prompt"], content["password"]))
            return "Ada: λ"

        reply = self.ok("let name = input(\"who: \")?; println!(\"hello {name}\");", on_input=answer)
        self.assertEqual(asked, [("who: ", False)])
        self.assertEqual(reply.text(), "hello Ada: λ\n")
        self.ok("eigenlens::notebook::password(\"secret\")?;", on_input=answer)
        self.assertEqual(asked[1], ("secret", True))

    def test_where_nobody_can_answer_it_is_an_error(self):
        self.fails("let name = input(\"who\")?;", "Error")


class Protocol(KernelTest):
    def shell(self, request):
        while True:
            message = self.kernel.client.get_shell_msg(timeout=60)
            if message["parent_header"]["msg_id"] == request:
                return message["content"]

    def test_completion_of_library_types(self):
        code = "let t = Tensor::ze"
        content = self.shell(self.kernel.client.complete(code, len(code)))
        self.assertIn("zeros", content["matches"])
        self.assertEqual(code[content["cursor_start"]:content["cursor_end"]], "ze")

    def test_completion_offers_what_a_cell_may_use(self):
        self.ok("struct Sample { weight: f32, pub label: u8 }")
        code = "let t = Tensor::zeros(1, DType::F32, &Device::Cpu)?; t."
        names = self.shell(self.kernel.client.complete(code, len(code)))["matches"]
        self.assertEqual(names, sorted(set(names)))
        self.assertLessEqual({"matmul", "dtype", "sum_all", "clone"}, set(names))
        self.assertFalse({"0", "storage", "layout", "op", "is_variable"} & set(names[:9]), names[:9])
        code = "Tensor::zeros_"
        names = self.shell(self.kernel.client.complete(code, len(code)))["matches"]
        self.assertEqual(names, ["zeros_like"])
        code = "let s = Sample { weight: 1., label: 2 }; s."
        names = self.shell(self.kernel.client.complete(code, len(code)))["matches"]
        self.assertEqual(names[:2], ["weight", "label"])

    def test_completion_counts_characters(self):
        code = "let s = \"λλλ\"; let t = Rng::se"
        content = self.shell(self.kernel.client.complete(code, len(code)))
        self.assertEqual(code[content["cursor_start"]:content["cursor_end"]], "se")

    def test_inspection_of_library_types(self):
        code = "Progress::new"
        content = self.shell(self.kernel.client.inspect(code, 3))
        self.assertTrue(content["found"])
        self.assertIn("progress bar", content["data"]["text/plain"])

    def test_is_complete(self):
        for code, status in [("fn f() {", "incomplete"), ("1", "complete"), (")", "invalid")]:
            self.assertEqual(self.shell(self.kernel.client.is_complete(code))["status"], status)

    def test_history_remembers_cells(self):
        self.ok("let remembered = 12;")
        content = self.shell(self.kernel.client.history(hist_access_type="tail", n=1, raw=True, output=False))
        self.assertEqual(content["history"][-1][2], "let remembered = 12;")

    def test_a_client_that_comes_late_sees_outputs_and_one_that_leaves_stops_none(self):
        # A session of its own: by its name the kernel tells one client from another.
        late = self.kernel.manager.client(session=Session(key=self.kernel.manager.session.key))
        late.start_channels()
        late.wait_for_ready(timeout=60)
        request = self.kernel.send("40 + 2")
        reply, seen = self.kernel.collect(request), []
        while "idle" not in seen:
            message = late.get_iopub_msg(timeout=20)
            if message["parent_header"].get("msg_id") == request:
                content = message["content"]
                seen.append(content.get("execution_state") or content.get("data", {}).get("text/plain"))
        self.assertEqual([text for text in seen if text], ["busy", "42", "idle"])
        late.stop_channels()
        for _ in range(3):
            self.assertEqual(self.ok("43").results(), [{"text/plain": "43"}])
        self.assertEqual(reply.results(), [{"text/plain": "42"}])

    def test_a_client_that_lost_its_connections_comes_back_under_its_name(self):
        for number in range(20):
            self.kernel.client.stop_channels()
            self.kernel.client = self.kernel.manager.client()
            self.kernel.client.start_channels()
            self.kernel.client.wait_for_ready(timeout=60)
            self.assertEqual(self.ok(f"{number}").results(), [{"text/plain": f"{number}"}])

    def test_comm_info_is_answered(self):
        self.assertEqual(self.shell(self.kernel.client.comm_info())["comms"], {})

    def test_silent_cells_leave_no_trace(self):
        before = self.ok("1").content["execution_count"]
        reply = self.kernel.run("println!(\"hidden\");", silent=True)
        self.assertEqual((reply.status, reply.outputs), ("ok", []))
        self.assertEqual(self.ok("1").content["execution_count"], before + 1)


class Dependencies(KernelTest):
    def test_a_crate_of_ones_own_is_compiled_again_when_it_changes(self):
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder, "src", "lib.rs")
            source.parent.mkdir()
            pathlib.Path(folder, "Cargo.toml").write_text(
                '[package]\nname = "own"\nversion = "0.1.0"\nedition = "2024"\n'
            )
            source.write_text("pub fn answer() -> i32 { 41 }\n")
            self.ok("let kept_over_dependency = 7;")
            self.ok(f":dep own = {{ path = {json.dumps(folder)} }}")
            self.assertEqual(self.ok("own::answer()").results()[0]["text/plain"], "41")
            source.write_text("pub fn answer() -> i32 { 42 }\n")
            self.assertEqual(self.ok("own::answer()").results()[0]["text/plain"], "42")
            self.assertEqual(self.ok("kept_over_dependency").results()[0]["text/plain"], "7")


class FirstMoments(unittest.TestCase):
    def test_kernel_info_comes_at_once_and_the_prelude_is_there(self):
        start = time.monotonic()
        kernel = Kernel()
        try:
            self.assertLess(time.monotonic() - start, 4)
            code = "DType::F3"
            request = kernel.client.complete(code, len(code))
            message = kernel.client.get_shell_msg(timeout=120)
            self.assertEqual(message["parent_header"]["msg_id"], request)
            self.assertIn("F32", message["content"]["matches"])
            reply = kernel.run("Tensor::new(&[1f32, 2.], &Device::Cpu)?.sum_all()?.to_scalar::<f32>()?")
            self.assertEqual(reply.results()[0]["text/plain"], "3.0")
            self.assertEqual(reply.content["execution_count"], 1)
        finally:
            kernel.close()

    def test_restart_forgets_and_starts_anew(self):
        kernel = Kernel()
        try:
            self.assertEqual(kernel.run("let gone = 1;").status, "ok")
            kernel.manager.restart_kernel(now=False)
            kernel.client.wait_for_ready(timeout=60)
            reply = kernel.run("gone")
            self.assertEqual(reply.status, "error")
            self.assertEqual(reply.content["execution_count"], 1)
        finally:
            kernel.close()


if __name__ == "__main__":
    unittest.main()
