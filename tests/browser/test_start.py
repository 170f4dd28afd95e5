"""What `eigenlens lab` opens: a page that leads to the notebooks, and a launcher with the kernel's picture."""

import json
import os
import pathlib
import socket
import subprocess
import unittest

from chromium import Chromium
from test_lab import PICTURES, ROOT

SPEC = json.loads(pathlib.Path(os.environ["JUPYTER_DATA_DIR"], "kernels", "eigenlens", "kernel.json").read_text())


class Start(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        PICTURES.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            cls.port = free.getsockname()[1]
        env = {**os.environ, "JUPYTER_TOKEN": "test", "EIGENLENS_CHECKOUT": str(ROOT)}
        env["EIGENLENS_HOME"] = SPEC["env"]["EIGENLENS_HOME"].replace("$$", "$")
        cls.lab = subprocess.Popen(
            [SPEC["argv"][0], "lab", "--no-browser", "--port", str(cls.port)],
            env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for line in cls.lab.stderr:
            if f"http://127.0.0.1:{cls.port}/lab" in line:
                break
        else:
            raise RuntimeError("JupyterLab did not start")
        cls.said = line
        cls.browser = Chromium()

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.lab.terminate()
        cls.lab.communicate(timeout=30)

    def test_the_page_leads_to_the_notebooks(self):
        self.assertIn("/lab/tree/README.md", self.said)
        self.browser.open(f"http://127.0.0.1:{self.port}/lab/tree/README.md?token=test")
        links = "[...document.querySelectorAll('.jp-MarkdownViewer li a')]"
        self.browser.wait(f"{links}.length > 5", 90, "the start page")
        self.browser.screenshot(PICTURES / "start.png")
        notebooks = [p for p in ROOT.glob("notebooks/*/*.ipynb") if ".ipynb_checkpoints" not in p.parts]
        self.assertEqual(self.browser.evaluate(f"{links}.length"), len(notebooks))
        self.browser.evaluate(f"{links}[0].click()")
        self.browser.wait("!!document.querySelector('.jp-Notebook .jp-CodeCell')", 60, "a notebook opening")

        self.browser.open(f"http://127.0.0.1:{self.port}/lab?reset&token=test")
        picture = "document.querySelector('.jp-LauncherCard img')"
        self.browser.wait(f"{picture} && {picture}.naturalWidth > 0", 90, "the launcher's picture")
        self.browser.screenshot(PICTURES / "launcher.png")
        self.assertIn("/kernelspecs/eigenlens/", self.browser.evaluate(f"{picture}.src"))


if __name__ == "__main__":
    unittest.main()
