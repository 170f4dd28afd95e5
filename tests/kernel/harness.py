"""A kernel under test, driven through jupyter_client as a notebook would."""

import queue
import time
import unittest

from jupyter_client.manager import KernelManager


class Reply:
    """What one request brought: the shell reply, and the outputs in the order they came."""

    def __init__(self, content, outputs):
        self.content = content
        self.outputs = outputs
        self.status = content["status"]

    def of(self, *kinds):
        return [content for kind, content, _ in self.outputs if kind in kinds]

    def text(self, name="stdout"):
        return "".join(c["text"] for c in self.of("stream") if c["name"] == name)

    def results(self):
        return [c["data"] for c in self.of("execute_result")]

    def times(self, kind):
        return [when for k, _, when in self.outputs if k == kind]


class Kernel:
    def __init__(self, name="eigenlens", cwd=None):
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel(cwd=cwd)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def send(self, code, **options):
        options.setdefault("allow_stdin", False)
        return self.client.execute(code, **options)

    def collect(self, request, timeout=120, on_input=None):
        """Waits for the reply to `request` and for all its outputs."""
        outputs, reply, idle, start = [], None, False, time.monotonic()
        while reply is None or not idle:
            if time.monotonic() - start > timeout:
                raise TimeoutError(f"no complete reply within {timeout} s; so far {outputs}")
            try:
                message = self.client.get_iopub_msg(timeout=0.02)
                if message["parent_header"].get("msg_id") == request:
                    kind, content = message["msg_type"], message["content"]
                    if kind == "status":
                        idle = content["execution_state"] == "idle"
                    else:
                        outputs.append((kind, content, time.monotonic() - start))
            except queue.Empty:
                pass
            if on_input and self.client.stdin_channel.msg_ready():
                self.client.input(on_input(self.client.get_stdin_msg()["content"]))
            if reply is None and self.client.shell_channel.msg_ready():
                message = self.client.get_shell_msg()
                if message["parent_header"]["msg_id"] == request:
                    reply = message["content"]
        return Reply(reply, outputs)

    def run(self, code, timeout=120, on_input=None, **options):
        if on_input:
            options["allow_stdin"] = True
        return self.collect(self.send(code, **options), timeout, on_input)

    def interrupt_after(self, request, seconds, stops=1, pause=1.0):
        time.sleep(seconds)
        for _ in range(stops):
            self.manager.interrupt_kernel()
            time.sleep(pause)
        return self.collect(request)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)
        self.manager.cleanup_resources()


class KernelTest(unittest.TestCase):
    """One kernel for all tests of a class."""

    @classmethod
    def setUpClass(cls):
        cls.kernel = Kernel()

    @classmethod
    def tearDownClass(cls):
        cls.kernel.close()

    def ok(self, code, **options):
        reply = self.kernel.run(code, **options)
        self.assertEqual(reply.status, "ok", reply.content.get("traceback"))
        return reply

    def fails(self, code, ename, **options):
        reply = self.kernel.run(code, **options)
        self.assertEqual(reply.status, "error", reply.outputs)
        self.assertEqual(reply.content["ename"], ename, reply.content)
        errors = reply.of("error")
        self.assertEqual(len(errors), 1)
        self.assertEqual(errors[0]["evalue"], reply.content["evalue"])
        self.assertTrue(reply.content["traceback"])
        return reply


