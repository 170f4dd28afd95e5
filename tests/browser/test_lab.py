"""JupyterLab in a browser: notebooks run, their figures and texts show, nothing leaves the machine."""

import contextlib
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
from figures import faults

ROOT = pathlib.Path(__file__).resolve().parents[2]
PICTURES = pathlib.Path(os.environ.get("EIGENLENS_SCREENSHOTS", ROOT / "target/screenshots"))


PANEL = "Array.from(window.jupyterapp.shell.widgets('main')).find(widget => widget.sessionContext)"
NOTEBOOK = f"{PANEL}.content"
CODE = f"Array.from({NOTEBOOK}.model.cells).filter(cell => cell.type === 'code')"


def committed(name):
    """The path of a notebook of the project."""
    return ROOT / "notebooks" / f"{name}.ipynb"


class Lab:
    """A JupyterLab server on copies of notebooks."""

    def __init__(self, *notebooks, outputs=False):
        self.folder = tempfile.mkdtemp(prefix="eigenlens-lab-")
        for notebook in notebooks:
            self.copy(notebook, outputs)
        # All cells stay in the page, also those out of sight.
        self.settings = tempfile.mkdtemp(prefix="eigenlens-lab-settings-")
        tracker = pathlib.Path(self.settings, "@jupyterlab/notebook-extension/tracker.jupyterlab-settings")
        tracker.parent.mkdir(parents=True)
        tracker.write_text(json.dumps({"windowingMode": "none"}))
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0",
                "--allow-root", "--ServerApp.token=test", f"--ServerApp.root_dir={self.folder}",
                "--LabApp.expose_app_in_browser=True", f"--LabApp.user_settings_dir={self.settings}",
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

    def copy(self, notebook, outputs):
        content = json.loads(notebook.read_text())
        for cell in content["cells"]:
            if cell["cell_type"] == "code" and not outputs:
                cell["outputs"], cell["execution_count"] = [], None
        (pathlib.Path(self.folder) / notebook.name).write_text(json.dumps(content))

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        for folder in (self.folder, self.settings):
            shutil.rmtree(folder, ignore_errors=True)


# The least contrast between the text of coloured tokens and what is behind it, as WCAG counts it.
CONTRAST = """
(() => {
    const rgba = text => {
        const [r, g, b, a] = text.match(/[0-9.]+/g).map(Number);
        return {rgb: [r, g, b], alpha: a === undefined ? 1 : a};
    };
    const luminance = rgb => {
        const [r, g, b] = rgb.map(c => c / 255).map(c => c <= 0.04 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        const {rgb, alpha} = rgba(getComputedStyle(element).backgroundColor);
        if (alpha === 1 || !element.parentElement) return alpha === 1 ? rgb : [255, 255, 255];
        const under = behind(element.parentElement);
        return rgb.map((c, i) => alpha * c + (1 - alpha) * under[i]);
    };
    const ratios = TOKENS.map(token => {
        const [x, y] = [luminance(rgba(getComputedStyle(token).color).rgb), luminance(behind(token))];
        return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
    });
    return Math.min(...ratios);
})()
"""
TOKENS = "[...document.querySelectorAll('.jp-OutputArea span[title][style*=background]')]"


class LabTest(unittest.TestCase):
    """A notebook in a browser, and what is asked of its page."""

    def open(self, browser, lab, name):
        # A workspace for each notebook, so that no other is open behind it.
        workspace = pathlib.Path(name).stem
        browser.open(f"{lab.url}/lab/workspaces/{workspace}/tree/{name}?token=test")
        browser.wait("!!document.querySelector('.jp-Notebook .jp-CodeCell')", 90, "the notebook opening")
        self.assertFalse(browser.evaluate("!!document.querySelector('.jp-Dialog')"), "a dialog is open")

    def nothing_was_asked_of_other_machines(self, browser):
        outside = sorted(
            {
                url[:120]
                for url in browser.requests
                if urllib.parse.urlsplit(url).scheme in ("http", "https", "ws", "wss")
                and urllib.parse.urlsplit(url).hostname not in ("127.0.0.1", "localhost")
            }
        )
        self.assertEqual(outside, [], "requests to other machines")

    @contextlib.contextmanager
    def executed(self, notebook):
        """A browser with a notebook whose cells have run; nothing outside the machine was asked."""
        cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
        lab = Lab(notebook)
        browser = Chromium()
        try:
            self.open(browser, lab, notebook.name)
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
            yield browser
            self.nothing_was_asked_of_other_machines(browser)
        finally:
            browser.close()
            lab.close()

    def run_all(self, browser):
        browser.wait(
            f"!!window.jupyterapp && {PANEL}?.sessionContext?.session?.kernel?.status === 'idle'",
            60,
            "the kernel being ready",
        )
        # Without waiting for it: the cells take minutes.
        browser.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def look_at_figures(self, browser, name, least):
        """Checks all figures of the page in both themes, and leaves pictures of them if somebody asked for them."""
        figures = self.figures(browser, least)
        pictures = "EIGENLENS_SCREENSHOTS" in os.environ
        PICTURES.mkdir(parents=True, exist_ok=True)
        for theme in ("Light", "Dark"):
            self.theme(browser, theme)
            self.assertEqual(faults(browser), [], f"the figures of {name} in the {theme} theme")
            for number in range(figures if pictures else 0):
                browser.evaluate(
                    f"document.querySelectorAll('.js-plotly-plot')[{number}].scrollIntoView({{block: 'center'}})"
                )
                time.sleep(0.7)
                browser.screenshot(PICTURES / f"{name}-{theme.lower()}-{number:02}.png")

    def figures(self, browser, least):
        """The number of plotly's figures, at least `least`, all of which have marks."""
        browser.wait(
            "[...document.querySelectorAll('.js-plotly-plot')].filter(p => p.querySelector('.main-svg'))"
            f".length >= {least}",
            60,
            f"{least} figures",
        )
        browser.wait(
            "[...document.querySelectorAll('.js-plotly-plot')].every(p => p.querySelector("
            "'.plot image, .plot path, .heatmaplayer image, .bars path, .lines path, .points path, .main-svg image, canvas'))",
            120,
            "marks in every figure",
        )
        return browser.evaluate("document.querySelectorAll('.js-plotly-plot').length")

    def command(self, browser, name, arguments="{}"):
        return browser.evaluate(
            f"window.jupyterapp.commands.execute('{name}', {arguments}).then(() => true)"
        )

    def theme(self, browser, name):
        self.command(browser, "apputils:change-theme", f"{{theme: 'JupyterLab {name}'}}")
        browser.wait(
            f"document.body.dataset.jpThemeName === 'JupyterLab {name}'", 30, f"the {name} theme"
        )
        time.sleep(1)


class CommittedNotebooks(LabTest):
    """What a person sees who opens a notebook and has not run it yet."""

    def test_outputs_show_before_anything_runs(self):
        notebooks = sorted(
            path for path in (ROOT / "notebooks").glob("*/*.ipynb") if "checkpoint" not in str(path)
        )
        lab, browser = Lab(*notebooks, outputs=True), Chromium()
        try:
            for notebook in notebooks:
                with self.subTest(notebook.stem):
                    self.open(browser, lab, notebook.name)
                    figures = notebook.read_text().count("application/vnd.plotly.v1+json")
                    self.look_at_figures(browser, notebook.stem, figures)
                    bars = browser.evaluate(
                        "[...document.querySelectorAll('.jp-OutputArea progress')]"
                        ".map(bar => bar.getBoundingClientRect()).map(box => [box.width, box.height])"
                    )
                    for width, height in bars:
                        self.assertGreater(width, 100, bars)
                        self.assertGreater(height, 4, bars)
            self.nothing_was_asked_of_other_machines(browser)
        finally:
            browser.close()
            lab.close()


class Notebook(LabTest):
    def test_figures_are_drawn_offline_in_light_and_dark(self):
        self.run_and_look("bilinear/1_image", 5)

    def test_clouds_and_their_bands_are_drawn(self):
        self.run_and_look("multidim/1_reducibility", 6)

    def test_scenes_in_space_are_drawn(self):
        self.run_and_look("toy/1_disentanglement", 9)

    def test_examples_of_features_are_readable_in_light_and_dark_and_tell_their_values(self):
        with self.executed(committed("bilinear/2_language")) as browser:
            self.figures(browser, 4)
            self.assertGreater(browser.evaluate(f"{TOKENS}.length"), 50)
            for theme in ("Light", "Dark"):
                self.theme(browser, theme)
                contrast = browser.evaluate(CONTRAST.replace("TOKENS", TOKENS))
                self.assertGreater(contrast, 4.5, f"tokens are hard to read in the {theme} theme")
                browser.evaluate(f"{TOKENS}[0].scrollIntoView({{block: 'center'}})")
                time.sleep(0.7)
                browser.screenshot(PICTURES / f"examples-{theme.lower()}.png")
            under_mouse = browser.evaluate(
                f"(() => {{ const box = {TOKENS}[0].getBoundingClientRect();"
                " return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2).title; })()"
            )
            self.assertRegex(under_mouse, r"^-?\d+\.\d+ · .+ · id \d+")

    def run_and_look(self, name, least):
        with self.executed(committed(name)) as browser:
            self.look_at_figures(browser, name.split("/")[1], least)


if __name__ == "__main__":
    unittest.main()
