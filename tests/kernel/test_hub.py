"""The notebooks of a work on an autoencoder that somebody published: the same cells, another name in the environment.

The hub is on this machine and serves small random models, whose layers are not those of what ships.
"""

import gzip
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import small_models
from hub import Hub
from test_install import ENV, SPEC

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
DARK_MATTER = NOTEBOOKS / "dark_matter"
KERNEL = "published"


class OnAHub(unittest.TestCase):
    """Runs notebooks where the hub is one of the test's own and nothing was fetched or kept before."""

    @classmethod
    def setUpClass(cls):
        # A kernel links large files of the template, which needs its disk.
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="published-", dir=ENV["EIGENLENS_HOME"]))
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        cls.hub = Hub()
        cls.addClassCleanup(cls.hub.close)
        home = cls.root / "home"
        home.mkdir()
        spec = {**SPEC, "env": {**SPEC["env"], "EIGENLENS_HOME": str(home).replace("$", "$$")}}
        folder = cls.root / "jupyter" / "kernels" / KERNEL
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps(spec))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
        cls.env = {
            **kept,
            "JUPYTER_PATH": str(cls.root / "jupyter"),
            "HF_ENDPOINT": cls.hub.endpoint,
            "HF_HOME": str(cls.root / "cache"),
            "EIGENLENS_QUICK": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    @classmethod
    def serve(cls, name, make, *arguments, **options):
        """Serves what `make` writes as the repository `name`; returns what it returns."""
        with tempfile.TemporaryDirectory() as folder:
            made = make(pathlib.Path(folder), *arguments, **options)
            cls.hub.put(name, folder)
        return made

    def run_notebook(self, path, **variables):
        """What the cells of a notebook print and end with, after all of them ran."""
        saved = self.root / path.name
        command = [sys.executable, ROOT / "tools" / "run_notebook.py", "--kernel", KERNEL, "--timeout", "600", "--save", saved, path]
        done = subprocess.run(command, env={**self.env, **variables}, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        cells = [cell for cell in json.loads(saved.read_text())["cells"] if cell["cell_type"] == "code"]
        self.assertTrue(cells)
        for cell in cells:
            self.assertIsNotNone(cell["execution_count"], "".join(cell["source"]))
        outputs = [output for cell in cells for output in cell["outputs"]]
        self.assertNotIn("error", [output["output_type"] for output in outputs])
        texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]
        return "\n".join("".join(text) for text in texts)

    def fetched(self, repository):
        """The requests for files of a repository so far."""
        return [request for request in self.hub.requests if f" /{repository}/resolve/" in request]


class PublishedMlsae(OnAHub):
    """`notebooks/mlsae` on a GPT-NeoX with another number of layers than the model that ships."""

    LAYERS = 5
    NAME = "somebody/mlsae-tiny-x4-k8-tfm"
    SOME_LAYERS = "somebody/mlsae-tiny-x4-k8-layers-0-2-4"
    # What shows that a notebook went through all layers, beside the line on the autoencoder.
    LAST_LAYER = {
        "1_training": r"(?m)^layer 4: fvu ",
        "2_residual_stream": r"(?m)^ +4 +\d",
        "3_layers": r"active at 4 if at 3: ",
        "4_prompts": r"1 image of 5 × \d+",
        "5_directions": r"layer 4: ",
        "6_lens": r"after layer 4: right ",
        "7_app": r"(?m)^layer 4: [\d,]+ active",
    }

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        transformer = cls.serve("somebody/tiny", small_models.gpt_neox, layers=cls.LAYERS)
        model = "somebody/tiny"
        latents = cls.serve(cls.NAME, small_models.mlsae_tfm, model, transformer)
        cls.shown = f"{latents} latents of 32 dimensions, after "
        own = cls.NAME.removesuffix("-tfm")
        cls.serve(f"datasets/{own}-dists", small_models.mlsae_dists, cls.LAYERS, latents)
        cls.serve(f"datasets/{own}-examples", small_models.mlsae_examples, cls.LAYERS, latents)
        cls.serve(cls.SOME_LAYERS, small_models.mlsae_tfm, model, transformer, layers=[0, 2, 4])

    def test_every_notebook_runs_and_shows_this_autoencoder(self):
        paths = sorted((NOTEBOOKS / "mlsae").glob("*.ipynb"))
        self.assertEqual({path.stem for path in paths}, set(self.LAST_LAYER))
        for path in paths:
            with self.subTest(path.stem):
                text = self.run_notebook(path, EIGENLENS_MLSAE=self.NAME)
                self.assertIn(f"{self.shown}all {self.LAYERS} layers", text)
                self.assertNotIn("192 dimensions", text)
                self.assertRegex(text, self.LAST_LAYER[path.stem])
        self.assertTrue(self.fetched(self.NAME))
        self.assertTrue(self.fetched("somebody/tiny"))
        self.assertTrue(self.fetched(f"datasets/{self.NAME.removesuffix('-tfm')}-dists"))

    def test_published_examples_are_read_by_their_name(self):
        cell = "let found = LayerExamples::from_pretrained(\"somebody/mlsae-tiny-x4-k8-examples\")?;\nprintln!(\"{found}\");"
        path = self.root / "examples.ipynb"
        cells = [
            {"cell_type": "code", "id": str(at), "metadata": {}, "outputs": [], "execution_count": None, "source": source}
            for at, source in enumerate(["use eigenlens::prelude::*;", cell])
        ]
        path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
        self.assertIn(f"at {self.LAYERS} layers", self.run_notebook(path))

    def test_distributions_that_nobody_published_are_counted_at_the_layers_there_are(self):
        text = self.run_notebook(NOTEBOOKS / "mlsae" / "5_directions.ipynb", EIGENLENS_MLSAE=self.SOME_LAYERS)
        self.assertIn(f"{self.shown}layers [0, 2, 4] of {self.LAYERS}", text)
        # The first and the last of the three; a latent need not be active after the last.
        layers = set(re.findall(r"^latent +\d+, layer (\d)", text, re.M))
        self.assertIn("0", layers)
        self.assertLessEqual(layers, {"0", "4"})


@unittest.skipUnless(DARK_MATTER.is_dir(), "notebooks/dark_matter is not there")
class PublishedGemma(OnAHub):
    """`notebooks/dark_matter` on a small Gemma 2 and autoencoders in Gemma Scope's layout."""

    SUBJECT = "gemma-2b"
    # The last of them is the first at which autoencoders of more than two widths were published.
    LAYERS = 6

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.serve("google/gemma-2-2b", small_models.gemma2, layers=cls.LAYERS)
        for site in ("res", "mlp", "att"):
            name = f"gemma-scope-2b-pt-{site}"
            cls.serve(f"google/{name}", small_models.gemma_scope, cls.published(name))
        pages = [(ROOT / name).read_text() for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")]
        cls.serve("datasets/NeelNanda/pile-10k", small_models.documents, [f"{number} {page}" for number in range(20) for page in pages])

    @classmethod
    def published(cls, release):
        """The names of a release's autoencoders at the layers that there are."""
        releases = json.loads(gzip.decompress((ROOT / "assets" / "sae" / "registry.json.gz").read_bytes()))
        own = next(found for found in releases if found["release"] == release)
        layers = tuple(f"layer_{layer}/" for layer in range(cls.LAYERS))
        return [entry["id"] for entry in own["entries"] if entry["id"].startswith(layers)]

    def test_every_notebook_runs_on_this_model(self):
        for path in sorted(DARK_MATTER.glob("*.ipynb")):
            with self.subTest(path.stem):
                self.run_notebook(path, EIGENLENS_SUBJECT=self.SUBJECT)
        self.assertTrue(self.fetched("google/gemma-2-2b"))


if __name__ == "__main__":
    unittest.main()
