"""The Stop button, processes that die, and kernels beside each other."""

import os
import signal
import subprocess
import time
import unittest

from harness import Kernel, KernelTest

LIBRARY_LOOP = (
    "let mut bar = Progress::new(\"long work\", 100_000, \"step\");\n"
    "let mut done = 0;\n"
    "loop {\n"
    "    std::thread::sleep(std::time::Duration::from_millis(20));\n"
    "    done += 1;\n"
    "    if bar.advance(1) { break; }\n"
    "}\n"
    "bar.finish();"
)


def started(kernel, request, kind="display_data"):
    """Waits until the cell's code has shown something."""
    while True:
        message = kernel.client.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") == request and message["msg_type"] == kind:
            return message


class Stop(KernelTest):
    def test_library_loops_stop_and_all_variables_are_kept(self):
        self.ok("let before = 1;")
        request = self.kernel.send(LIBRARY_LOOP)
        started(self.kernel, request)
        reply = self.kernel.interrupt_after(request, 0.3, pause=0)
        self.assertEqual((reply.status, reply.content["ename"]), ("error", "Interrupted"))
        self.assertIn("kept", reply.content["evalue"])
        self.assertEqual(self.ok("before").results()[0]["text/plain"], "1")
        # Even those that the stopped cell made.
        self.assertGreater(int(self.ok("done").results()[0]["text/plain"]), 0)
        # And the flag is down again.
        self.assertEqual(self.ok("interrupted()").results()[0]["text/plain"], "false")

    def test_a_stopped_fit_keeps_the_model_and_what_it_had_learnt(self):
        self.ok(
            "let digits = Mnist::load(&Device::Cpu)?;\n"
            "let model = ImageModel::new(ImageConfig::default(), 0, &Device::Cpu)?;"
        )
        request = self.kernel.send(
            "let options = FitOptions { epochs: 5000, ..FitOptions::default() };\n"
            "let history = model.fit(digits.train(), digits.test(), options)?;\n"
            "println!(\"the line after the fit\");"
        )
        started(self.kernel, request)
        reply = self.kernel.interrupt_after(request, 3, pause=0)
        self.assertEqual((reply.status, reply.content["ename"]), ("error", "Interrupted"))
        self.assertNotIn("the line after the fit", reply.text())
        learnt = self.ok(
            "let history = stopped::<eigenlens::train::History>()?;\n"
            "(history.interrupted, history.len() < 5000, model.accuracy(digits.test())? > 0.5)"
        )
        self.assertEqual(learnt.results()[0]["text/plain"], "(true, true, true)")
        again = self.ok(
            "model.fit(digits.train(), digits.test(), FitOptions { epochs: 1, ..FitOptions::default() })?.len()"
        )
        self.assertEqual(again.results()[0]["text/plain"], "1")

    def test_a_loop_that_does_not_listen_goes_on_until_asked_twice(self):
        self.ok("let lost = 1;")
        request = self.kernel.send("println!(\"go\"); loop { std::hint::spin_loop(); }")
        started(self.kernel, request, "stream")
        self.kernel.manager.interrupt_kernel()
        time.sleep(7)
        self.assertFalse(self.kernel.client.shell_channel.msg_ready(), "one Stop ended it")
        reply = self.kernel.interrupt_after(request, 0, pause=0)
        self.assertEqual((reply.status, reply.content["ename"]), ("error", "Interrupted"))
        self.assertIn("lost", reply.content["evalue"])
        self.assertIn("press Stop again", reply.text("stderr"))
        self.fails("lost", "CompilationError")
        self.assertEqual(self.ok("1 + 1").results()[0]["text/plain"], "2")

    def test_a_second_stop_ends_it_at_once(self):
        request = self.kernel.send("println!(\"go\"); loop { std::hint::spin_loop(); }")
        started(self.kernel, request, "stream")
        began = time.monotonic()
        reply = self.kernel.interrupt_after(request, 0.1, stops=2, pause=0.3)
        self.assertIn("lost", reply.content["evalue"])
        self.assertLess(time.monotonic() - began, 4.5)

    def test_stop_while_compiling_ends_the_compilation(self):
        self.ok("let kept_over_compile = 3;")
        # The compiler itself counts to two thousand million.
        slow = (
            "#[allow(long_running_const_eval)] const SLOW: u64 = "
            "{ let mut n = 0u64; while n < 2_000_000_000 { n += 1; } n }; println!(\"{}\", SLOW);"
        )
        request = self.kernel.send(slow)
        began = time.monotonic()
        reply = self.kernel.interrupt_after(request, 2.0, pause=0)
        self.assertEqual((reply.status, reply.content["ename"]), ("error", "Interrupted"), reply.content)
        self.assertIn("compil", reply.content["evalue"])
        self.assertLess(time.monotonic() - began, 15)
        self.assertEqual(self.ok("kept_over_compile").results()[0]["text/plain"], "3")

    def test_stop_when_nothing_runs_does_nothing(self):
        self.kernel.manager.interrupt_kernel()
        time.sleep(0.3)
        self.assertEqual(self.ok("interrupted()").results()[0]["text/plain"], "false")


class Deaths(KernelTest):
    def test_kill_in_mid_cell(self):
        request = self.kernel.send("println!(\"{}\", std::process::id()); std::thread::sleep(std::time::Duration::from_secs(60));")
        process = int(started(self.kernel, request, "stream")["content"]["text"])
        os.kill(process, signal.SIGKILL)
        reply = self.kernel.collect(request)
        self.assertEqual((reply.status, reply.content["ename"]), ("error", "ProcessLost"))
        self.assertIn("signal 9", reply.content["evalue"])
        self.assertEqual(self.ok("1 + 1").results()[0]["text/plain"], "2")

    def test_segmentation_faults_are_named(self):
        reply = self.fails("println!(\"before\"); unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };", "ProcessLost")
        self.assertIn("before", reply.text())
        self.assertEqual(self.ok("1 + 1").results()[0]["text/plain"], "2")


class Neighbours(unittest.TestCase):
    def test_two_kernels_at_once(self):
        first, second = Kernel(), Kernel()
        try:
            requests = [
                (kernel, kernel.send(f"let mine = {value};")) for kernel, value in ((first, 1), (second, 2))
            ]
            for kernel, request in requests:
                self.assertEqual(kernel.collect(request).status, "ok")
            for kernel, value in ((first, "1"), (second, "2")):
                self.assertEqual(kernel.run("mine").results()[0]["text/plain"], value)
        finally:
            first.close()
            second.close()

    def test_a_killed_kernel_leaves_nothing_that_breaks_the_next(self):
        kernel = Kernel()
        reply = kernel.run("println!(\"{}\", std::process::id());")
        evaluation = int(reply.text())
        process = kernel.manager.provisioner.pid
        os.kill(process, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while alive(evaluation) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertFalse(alive(evaluation), "the evaluation process outlived its kernel")
        kernel.client.stop_channels()
        kernel.manager.cleanup_resources()
        following = Kernel()
        try:
            self.assertEqual(following.run("1 + 1").results()[0]["text/plain"], "2")
        finally:
            following.close()


def alive(process):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True)
    return state.stdout.strip() not in ("", "Z")


if __name__ == "__main__":
    unittest.main()
