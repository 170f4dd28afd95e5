"""JupyterLab in a browser: notebook 1 runs, plotly draws its figures, nothing leaves the machine."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

from chromium import Chromium

ROOT = pathlib.Path(__file__).resolve().parents[2]
PICTURES = pathlib.Path(os.environ.get("EIGENLENS_SCREENSHOTS", ROOT / "target/screenshots"))


PANEL = "Array.from(window.jupyterapp.shell.widgets('main')).find(widget => widget.sessionContext)"
NOTEBOOK = f"{PANEL}.content"
CODE = f"Array.from({NOTEBOOK}.model.cells).filter(cell => cell.type === 'code')"


class Lab:
    """A JupyterLab server on a copy of one notebook."""

    def __init__(self, notebook):
        self.folder = tempfile.mkdtemp(prefix="eigenlens-lab-")
        self.copy_without_outputs(notebook)
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0",
                "--allow-root", "--ServerApp.token=test", f"--ServerApp.root_dir={self.folder}",
                "--LabApp.expose_app_in_browser=True",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        self.url = None
        for line in self.process.stderr:
            if "http://127.0.0.1:" in line and "/lab" in line:
                self.url = line.split()[-1].split("/lab")[0]
                break
        if self.url is None:
            raise RuntimeError("JupyterLab did not start")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def copy_without_outputs(self, notebook):
        content = json.loads(notebook.read_text())
        for cell in content["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
        (pathlib.Path(self.folder) / notebook.name).write_text(json.dumps(content))

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)


class Notebook(unittest.TestCase):
    def test_figures_are_drawn_offline_in_light_and_dark(self):
        notebook = ROOT / "notebooks/bilinear/1_image.ipynb"
        cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
        PICTURES.mkdir(parents=True, exist_ok=True)
        lab = Lab(notebook)
        browser = Chromium()
        try:
            browser.open(f"{lab.url}/lab/tree/{notebook.name}?token=test")
            browser.wait("!!document.querySelector('.jp-Notebook .jp-CodeCell')", 90, "the notebook opening")
            self.assertFalse(browser.evaluate("!!document.querySelector('.jp-Dialog')"), "a dialog is open")
            self.run_all(browser)
            end = time.monotonic() + 400
            while True:
                counts = browser.evaluate(f"{CODE}.map(cell => cell.executionCount)")
                failed = browser.evaluate(
                    f"{CODE}.flatMap(cell => Array.from(cell.outputs.toJSON()))"
                    ".filter(o => o.output_type === 'error').map(o => o.evalue)"
                )
                self.assertEqual(failed, [])
                if len(counts) == len(cells) and all(counts):
                    break
                self.assertLess(time.monotonic(), end, f"cells still running: {counts}")
                time.sleep(1)
            browser.wait("document.querySelectorAll('.js-plotly-plot .main-svg').length > 0", 60, "a figure")
            figures = browser.evaluate("document.querySelectorAll('.js-plotly-plot').length")
            self.assertGreaterEqual(figures, 5)
            empty = browser.evaluate(
                "[...document.querySelectorAll('.js-plotly-plot')].filter(p =>"
                " !p.querySelector('.plot image, .plot path, .heatmaplayer image, .bars path, .lines path')"
                ").length"
            )
            self.assertEqual(empty, 0, "figures without marks")
            for theme in ("Light", "Dark"):
                self.theme(browser, theme)
                for number in range(figures):
                    browser.evaluate(
                        f"document.querySelectorAll('.js-plotly-plot')[{number}].scrollIntoView({{block: 'center'}})"
                    )
                    time.sleep(0.7)
                    browser.screenshot(PICTURES / f"{theme.lower()}-{number:02}.png")
            outside = sorted(
                {
                    url[:120]
                    for url in browser.requests
                    if urllib.parse.urlsplit(url).scheme in ("http", "https", "ws", "wss")
                    and urllib.parse.urlsplit(url).hostname not in ("127.0.0.1", "localhost")
                }
            )
            self.assertEqual(outside, [], "requests to other machines")
        finally:
            browser.close()
            lab.close()

    def command(self, browser, name, arguments="{}"):
        return browser.evaluate(
            f"window.jupyterapp.commands.execute('{name}', {arguments}).then(() => true)"
        )

    def run_all(self, browser):
        browser.wait(
            f"!!window.jupyterapp && {PANEL}?.sessionContext?.session?.kernel?.status === 'idle'",
            60,
            "the kernel being ready",
        )
        # All cells stay in the page, also those out of sight.
        browser.evaluate(
            f"{NOTEBOOK}.notebookConfig = {{...{NOTEBOOK}.notebookConfig, windowingMode: 'none'}}; true"
        )
        # Without waiting for it: the cells take minutes.
        browser.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def theme(self, browser, name):
        self.command(browser, "apputils:change-theme", f"{{theme: 'JupyterLab {name}'}}")
        browser.wait(
            f"document.body.dataset.jpThemeName === 'JupyterLab {name}'", 30, f"the {name} theme"
        )
        time.sleep(1)


if __name__ == "__main__":
    unittest.main()
