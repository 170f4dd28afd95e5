"""The README's blocks, each as one cell of one notebook, as a newcomer would paste them."""

import pathlib
import re
import tempfile
import unittest

from harness import Kernel

README = pathlib.Path(__file__).parents[2] / "README.md"


class Readme(unittest.TestCase):
    def test_every_block_runs_as_printed_and_shows_something(self):
        blocks = re.findall(r"^```rust\n(.*?)^```$", README.read_text(), re.M | re.S)
        self.assertGreaterEqual(len(blocks), 6)
        with tempfile.TemporaryDirectory() as folder:
            kernel = Kernel(cwd=folder)
            self.addCleanup(kernel.close)
            for block in blocks:
                reply = kernel.run(block, timeout=300)
                self.assertEqual(reply.status, "ok", (block, reply.content.get("traceback")))
                self.assertTrue(reply.results() or reply.text(), block)


if __name__ == "__main__":
    unittest.main()
