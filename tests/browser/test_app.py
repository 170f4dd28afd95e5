"""The page of latents in a browser: what it shows is what its server says, and nothing leaves the machine."""

import array
import csv
import io
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.parse
import urllib.request

from chromium import Chromium
from test_lab import PICTURES, ROOT, LabTest, committed
from test_start import SPEC

LINK = "the page is on "
HOSTILE = "She had <img src=x onerror=alert(1)> been"
EXPLAINED = "<script>alert(1)</script> names <img src=x onerror=alert(2)>"
LATENTS, LAYERS, BINS = 3072, 4, 32


def known_autoencoder(folder):
    """The shipped autoencoder in `folder`, with explanations and histograms beside it."""
    shutil.copytree(ROOT / "assets/language/classics-mlsae", folder)
    entries = [
        {"feature": latent, "text": f"words of kind {latent}", "by": "a <b>judge</b>", "score": 0.75}
        for latent in range(LATENTS) if latent != 18
    ]
    entries[17]["text"] = EXPLAINED
    (folder / "explanations.json").write_text(json.dumps({"version": 1, "explanations": entries}))
    header, data = {}, b""
    for layer in range(LAYERS):
        counts = array.array("I", [0]) * (LATENTS * BINS)
        for latent in range(LATENTS):
            counts[latent * BINS] = 1000 + latent
            counts[latent * BINS + 8 * layer + 7] = latent % 10
        parts = {
            "": ("I64", [1, LATENTS], array.array("q", [0]) * LATENTS),
            ".density": ("F32", [LATENTS], array.array("f", [0.25]) * LATENTS),
            ".histogram": ("U32", [LATENTS, BINS], counts),
            ".edge": ("F32", [LATENTS], array.array("f", [2.0 ** layer]) * LATENTS),
        }
        for part, (kind, shape, values) in parts.items():
            start, data = len(data), data + values.tobytes()
            name = f"{layer}-resid-post{part}"
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "top-activations.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        PICTURES.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "EIGENLENS_CHECKOUT": str(ROOT)}
        env["EIGENLENS_HOME"] = SPEC["env"]["EIGENLENS_HOME"].replace("$$", "$")
        cls.folder = tempfile.TemporaryDirectory(prefix="eigenlens-app-")
        autoencoder = pathlib.Path(cls.folder.name, "known")
        known_autoencoder(autoencoder)
        cls.app = subprocess.Popen(
            [SPEC["argv"][0], "app", str(autoencoder), "--no-browser", "--read-only"],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for line in cls.app.stdout:
            if line.startswith(LINK):
                cls.link = line.removeprefix(LINK).strip()
                break
        else:
            raise RuntimeError("the page is not served")
        cls.address, _, cls.token = cls.link.partition("/#token=")
        cls.browser = Chromium()
        cls.browser.look(1280, 900, "light")
        cls.browser.open(cls.link)
        cls.browser.wait("document.querySelectorAll('#nav [data-view]').length === 6", 30, "the page")

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.app.terminate()
        cls.app.wait(timeout=30)
        cls.folder.cleanup()

    def api(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/api/v1{path}", data, headers)
        return json.load(urllib.request.urlopen(request))

    def js(self, script):
        return self.browser.evaluate(script)

    def view(self, name):
        self.js(f"document.querySelector('#nav [data-view={name}]').click()")
        self.browser.wait(f"!document.getElementById('view-{name}').hidden", 10, f"the view {name}")

    def fill(self, field, value, event="input"):
        self.js(
            f"(() => {{ const own = document.querySelector({json.dumps(field)});"
            f" own.value = {json.dumps(value)};"
            f" own.dispatchEvent(new Event('{event}', {{bubbles: true}}));"
            f" own.dispatchEvent(new Event('change', {{bubbles: true}})); }})()"
        )

    def submit(self, text):
        self.view("prompt")
        self.fill("#prompt", text)
        self.js("document.getElementById('submit').click()")
        tokens = len(self.api("/prompt", {"prompt": text})["tokens"])
        count = "document.querySelectorAll('#tokens [data-position]').length"
        self.browser.wait(f"{count} === {tokens}", 20, "the tokens of the prompt")

    def test_a_prompt_shows_the_servers_numbers_and_texts_as_texts(self):
        self.submit(HOSTILE)
        found = self.api("/prompt", {"prompt": HOSTILE})
        texts = self.js("[...document.querySelectorAll('#tokens [data-position]')].map(own => own.textContent)")
        for shown, token in zip(texts, found["tokens"]):
            self.assertIn(token["text"].strip("␣"), shown)
        self.assertEqual(self.js("document.querySelectorAll('#main img').length"), 0)
        loss = self.js("document.getElementById('loss').textContent")
        self.assertIn(f"{found['loss']:.2f}"[:4], loss)
        fvu = self.js("[...document.querySelectorAll('#fvu [data-layer]')].map(own => own.textContent)")
        self.assertEqual(len(fvu), 4)
        for tab in ("histograms", "heatmaps", "examples", "logits"):
            self.js(f"document.getElementById('tab-{tab}').click()")
            self.browser.wait(f"!document.getElementById('panel-{tab}').hidden", 5, f"the tab {tab}")
            busy = f"document.querySelector('#panel-{tab} [data-busy]')"
            self.browser.wait(f"!({busy} && {busy}.dataset.busy === 'true')", 20, f"what {tab} shows")
            self.browser.screenshot(PICTURES / f"app-{tab}.png")

    def test_what_is_held_is_in_the_address_and_the_token_is_not(self):
        self.submit("She had been very happy")
        self.js("document.querySelector('#tokens [data-position=\"2\"]').click()")
        self.browser.wait("location.hash.includes('2')", 5, "the address")
        self.assertNotIn(self.token, self.js("location.href"))
        there = self.js("location.hash")
        self.view("steer")
        self.js("history.back()")
        self.browser.wait("!document.getElementById('view-prompt').hidden", 10, "the way back")
        self.assertEqual(self.js("location.hash"), there)

    def test_the_list_of_latents_is_sorted_and_never_long(self):
        self.view("latents")
        rows = "document.querySelectorAll('.list-body .list-row[data-latent]').length"
        self.browser.wait(f"{rows} > 5", 20, "the list")
        self.assertLessEqual(self.js(rows), 80)
        self.js("document.querySelector('.list-head [data-sort=count] button').click()")
        best = self.api("/latents?sort=count&order=desc&limit=1")["rows"][0]
        worst = self.api("/latents?sort=count&order=asc&limit=1")["rows"][0]
        first = "document.querySelector('.list-body .list-row[data-latent]').dataset.latent"
        ends = [str(best["latent"]), str(worst["latent"])]
        self.browser.wait(f"{json.dumps(ends)}.includes({first})", 20, "the sorted list")

    def test_the_whole_list_is_saved(self):
        self.view("latents")
        self.js(
            "window.kept = []; window.made = URL.createObjectURL;"
            " URL.createObjectURL = (blob) => { blob.text().then((text) => window.kept.push(text)); return window.made.call(URL, blob); }"
        )
        try:
            self.js("document.getElementById('save-csv').click()")
            self.browser.wait("window.kept.length === 1", 120, "the table")
            self.js("document.getElementById('save-json').click()")
            self.browser.wait("window.kept.length === 2", 120, "the JSON")
            table, data = self.js("window.kept")
        finally:
            self.js("URL.createObjectURL = window.made")
        names, *rows = csv.reader(io.StringIO(table))
        latents = self.api("/info")["sae"]["latents"]
        self.assertEqual(sorted(int(row[names.index("latent")]) for row in rows), list(range(latents)))
        self.assertEqual(len({len(row) for row in rows} | {len(names)}), 1)
        self.assertEqual(len(json.loads(data)["rows"]), latents)

    def test_a_latents_page_shows_what_it_promotes(self):
        self.view("latent")
        self.fill("#latent-number", "17")
        found = self.api("/latents/17")
        text = json.dumps(found["promoted"][0]["text"])
        self.browser.wait(f"document.getElementById('promoted')?.textContent.includes({text})", 20, "its tokens")
        self.browser.screenshot(PICTURES / "app-latent.png")

    def test_a_latents_page_has_its_explanation_and_a_histogram_a_layer(self):
        self.view("latent")
        self.fill("#latent-number", "17")
        text = "document.querySelector('#explanation p')?.textContent"
        self.browser.wait(f"{text} === {json.dumps(EXPLAINED)}", 20, "its explanation as a text")
        self.assertEqual(self.js("document.getElementById('explained-by').textContent"), "written by a <b>judge</b>")
        self.assertIn("0.75", self.js("document.getElementById('explained-score').textContent"))
        counts = [sum(layer) for layer in self.api("/latents/17")["histograms"]["values"]]
        self.assertEqual(counts, [1017 + 7] * LAYERS)
        rows = "[...document.querySelectorAll('#latent-histograms [data-layer]')].map(own => Number(own.dataset.count))"
        self.assertEqual(self.js(rows), counts)
        labels = self.js("[...document.querySelectorAll('#latent-histograms svg')].map(own => own.getAttribute('aria-label'))")
        for layer, label in enumerate(labels):
            self.assertTrue(label.startswith(f"Layer {layer}: 1,024 activations, most often from 0 to "), label)
        self.js("document.getElementById('latent-histograms').scrollIntoView({block: 'center'})")
        self.browser.screenshot(PICTURES / "app-latent-histograms.png")
        self.fill("#latent-number", "18")
        nobody = "document.getElementById('view-latent').textContent.includes('Nobody has explained')"
        self.browser.wait(nobody, 20, "that there is no explanation")

    def test_explanations_are_searched_and_named_after_labels(self):
        self.view("latents")
        try:
            self.fill("#search", "onerror NAMES")
            total = "document.getElementById('total').textContent"
            self.browser.wait(f"{total}.startsWith('1 of')", 20, "the one explanation with both words")
            cell = "document.querySelector('.list-body .list-row[data-latent=\"17\"] .explained')"
            self.browser.wait(f"{cell}?.textContent === {json.dumps(EXPLAINED)}", 10, "its row")
            self.assertIn("explanations", self.js("document.getElementById('view-latents').textContent"))
            self.browser.screenshot(PICTURES / "app-explanations.png")
        finally:
            self.fill("#search", "")
        link = "import('/assets/links.js').then(own => own.latentLink(17, {}).textContent)"
        self.assertEqual(self.js(link.format("''")), f"17{EXPLAINED}")
        self.assertEqual(self.js(link.format("'mine'")), "17mine")
        self.submit("She had been very happy")
        self.js("document.getElementById('strongest').click()")
        held = "document.getElementById('held-latent').textContent"
        self.browser.wait(f"{held}.includes('words of kind ')", 10, "the explanation of the strongest latent")
        latent = self.js("document.querySelector('#held-latent [data-latent]').dataset.latent")
        self.assertIn(f"words of kind {latent} ", self.js(held))
        self.assertEqual(self.js("document.querySelectorAll('#main script, #main img, #main b b').length"), 0)

    def test_generation_streams_and_stops(self):
        self.submit("She had been very happy")
        self.view("steer")
        if self.js("document.querySelectorAll('[data-intervention]').length") == 0:
            self.js("document.getElementById('add-intervention').click()")
        self.browser.wait("document.querySelectorAll('[data-intervention]').length > 0", 10, "an intervention")
        self.fill("#generate-tokens", "100")
        self.js("document.getElementById('generate').click()")
        grown = "document.getElementById('output-plain').textContent.length"
        self.browser.wait(f"{grown} > 20", 30, "generated text")
        self.js("document.getElementById('stop').click()")
        self.browser.wait("document.getElementById('stop').disabled || document.getElementById('stop').hidden", 10, "the end")
        self.browser.screenshot(PICTURES / "app-steer.png")

    def test_keys_do_what_the_help_says_and_never_while_typing(self):
        self.submit("She had been very happy")
        self.js("document.activeElement.blur()")
        self.browser.press("?")
        self.browser.wait("document.getElementById('help').open", 5, "the help")
        self.browser.press("Escape", windowsVirtualKeyCode=27)
        self.browser.wait("!document.getElementById('help').open", 5, "its end")
        self.js("document.getElementById('prompt').focus()")
        self.browser.press("?")
        self.assertFalse(self.js("document.getElementById('help').open"))

    def test_it_fits_and_can_be_read_in_both_themes_and_widths(self):
        self.submit("She had been very happy")
        try:
            for width, height in ((1280, 900), (390, 844)):
                for scheme in ("light", "dark"):
                    self.browser.look(width, height, scheme)
                    for view in ("prompt", "latents", "latent", "search", "steer", "compare"):
                        self.view(view)
                        self.browser.wait(
                            "document.documentElement.scrollWidth <= innerWidth", 5,
                            f"{view} fits into {width} pixels",
                        )
                        self.browser.screenshot(PICTURES / f"app-{view}-{width}-{scheme}.png")
        finally:
            self.browser.look(1280, 900, "light")

    def test_z_nothing_was_asked_elsewhere_and_nothing_complained(self):
        pages = [url for url in self.browser.requests if not url.startswith(("data:", "about:"))]
        self.assertTrue(pages)
        self.assertEqual([url for url in pages if not url.startswith(self.address + "/")], [])
        self.assertEqual(self.browser.complaints, [])

    def test_without_the_token_the_page_says_what_to_do(self):
        stranger = Chromium()
        try:
            stranger.open(self.address + "/")
            stranger.wait("!!document.getElementById('no-token')", 20, "what to do")
        finally:
            stranger.close()
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{self.address}/api/v1/info")
        self.assertEqual(refused.exception.code, 401)


class InJupyterLab(LabTest):
    def test_a_cell_shows_the_page_and_the_page_works(self):
        cells = [
            "use eigenlens::prelude::*;",
            'let mlsae = Mlsae::from_pretrained("eigenlens/classics-mlsae", &Device::Cpu)?;\n'
            "eigenlens::app::serve(&mlsae)?",
        ]
        notebook = json.loads(committed("mlsae/7_app").read_text())
        cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
        notebook["cells"] = [{**cell, "id": f"cell-{n}", "source": text} for n, text in enumerate(cells)]
        with tempfile.TemporaryDirectory(prefix="eigenlens-page-") as folder:
            path = pathlib.Path(folder, "page.ipynb")
            path.write_text(json.dumps(notebook))
            with self.executed(path) as browser:
                frame = "document.querySelector('.jp-OutputArea iframe')"
                source = browser.wait(f"{frame}?.src", 30, "the page in the output")
                origin = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(source))
                views = "document.querySelectorAll('#nav [data-view]').length === 6"
                browser.wait(views, 30, "the page", origin)
                browser.evaluate("document.getElementById('submit').click()", origin)
                tokens = "document.querySelectorAll('#tokens [data-position]').length"
                browser.wait(f"{tokens} > 3", 30, "the tokens of the text that is there", origin)
                wide = "document.documentElement.scrollWidth <= innerWidth"
                self.assertTrue(browser.evaluate(wide, origin), "the page is wider than the output")
                browser.evaluate(f"{frame}.scrollIntoView()")
                PICTURES.mkdir(parents=True, exist_ok=True)
                browser.screenshot(PICTURES / "app-in-jupyterlab.png")


if __name__ == "__main__":
    unittest.main()
