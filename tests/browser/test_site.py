"""The static site from a disk: every page in both themes, wide and narrow, with no request to anywhere."""

import os
import pathlib
import re
import subprocess
import tempfile
import time
import unittest
import urllib.parse

from chromium import Chromium
from figures import faults
from test_lab import CONTRAST, PICTURES, ROOT

# The most that a site may take, in bytes.
LARGEST = 25_000_000
# Pages of which pictures are left if somebody asked for them.
LOOKED_AT = ("index", "notebooks", "bilinear/1_image", "bilinear/2_language", "dark_matter/5_error_features", "mlsae/7_app")
SIZES = ((1280, 900), (390, 844))
THEMES = ("light", "dark")

TEXTS = """[...document.querySelectorAll(
    'main p, main li, main td, main th, main h1, main h2, main pre, main pre span, header a, header button, .contents a')]
    .filter(element => element.textContent.trim() && element.getClientRects().length && !element.closest('.plot, .html'))"""
# Coloured tokens of examples.
TOKENS = "[...document.querySelectorAll('.html span[title][style*=background]')]"
DRAWN = "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.main-svg'))"


def build(folder, *more):
    """Makes the site in `folder`, and returns its size in bytes."""
    env = {**os.environ, "EIGENLENS_CHECKOUT": str(ROOT)}
    # The command that runs the tests, unless another is named.
    program = os.environ.get("EIGENLENS_PROGRAM")
    if program is None:
        from test_start import SPEC

        program = SPEC["argv"][0]
        env["EIGENLENS_HOME"] = SPEC["env"]["EIGENLENS_HOME"].replace("$$", "$")
    subprocess.run(
        [program, "site", "--out", str(folder), *more], env=env, check=True, stdout=subprocess.DEVNULL
    )
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class SiteTest(unittest.TestCase):
    """A site in a browser."""

    options = ()

    @classmethod
    def setUpClass(cls):
        PICTURES.mkdir(parents=True, exist_ok=True)
        cls.scratch = tempfile.TemporaryDirectory(prefix="eigenlens-site-")
        cls.site = pathlib.Path(cls.scratch.name, "site")
        cls.size = build(cls.site, *cls.options)
        cls.browser = Chromium()

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.scratch.cleanup()

    def open(self, name):
        """Opens a page, and waits until its scripts have run."""
        self.browser.requests.clear()
        self.browser.complaints.clear()
        self.browser.open((self.site / f"{name}.html").as_uri())
        self.browser.wait("document.readyState === 'complete'", 60, f"{name} opening")

    def nothing_was_asked_and_nothing_complained(self, name):
        self.browser.evaluate("0")
        self.assertTrue(self.browser.requests, name)
        asked = [url for url in self.browser.requests if not url.startswith(("file:", "data:", "blob:"))]
        self.assertEqual(asked, [], f"requests of {name}")
        for url in self.browser.requests:
            if url.startswith("file:"):
                path = pathlib.Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
                self.assertTrue(path.is_relative_to(self.site), f"{name} asks for {path}")
        self.assertEqual(self.browser.complaints, [], f"complaints about {name}")


class Site(SiteTest):
    options = ("--no-api",)

    def draw(self, name):
        """Goes to every figure of the page, and waits until it is drawn."""
        figures = self.browser.evaluate("document.querySelectorAll('.plot').length")
        for number in range(figures):
            plot = f"document.querySelectorAll('.plot')[{number}]"
            self.browser.evaluate(f"{plot}.scrollIntoView({{block: 'center'}})")
            self.browser.wait(f"!!{plot}.querySelector('.main-svg')", 60, f"figure {number} of {name}")
        self.browser.wait(DRAWN, 30, f"the figures of {name}")
        self.browser.evaluate("scrollTo(0, 0)")
        return figures

    def check_page(self, name, figures):
        self.browser.look(*SIZES[0], "light")
        self.open(name)
        self.assertEqual(self.draw(name), figures)
        for theme in THEMES:
            for width, height in SIZES:
                self.browser.look(width, height, theme)
                time.sleep(0.1)
                case = f"{name}, {theme}, {width} pixels"
                wide = self.browser.evaluate("document.documentElement.scrollWidth")
                self.assertLessEqual(wide, width, case)
                self.assertGreaterEqual(self.browser.evaluate(CONTRAST.replace("TOKENS", TEXTS)), 4.5, case)
                if self.browser.evaluate(f"{TOKENS}.length"):
                    contrast = self.browser.evaluate(CONTRAST.replace("TOKENS", TOKENS))
                    self.assertGreaterEqual(contrast, 4.5, f"tokens of {case}")
                if name.removeprefix("notebooks/") in LOOKED_AT and "EIGENLENS_SCREENSHOTS" in os.environ:
                    self.pictures(name, theme, width, height)
            self.assertEqual(faults(self.browser), [], f"figures of {name} in the {theme} theme")
        self.nothing_was_asked_and_nothing_complained(name)

    def pictures(self, name, theme, width, height):
        tall = self.browser.evaluate("document.documentElement.scrollHeight")
        for number, top in enumerate(range(0, min(tall, 4 * height), height)):
            self.browser.evaluate(f"scrollTo(0, {top})")
            time.sleep(0.3)
            picture = f"site-{name.replace('/', '-')}-{theme}-{width}-{number}.png"
            self.browser.screenshot(PICTURES / picture)
        self.browser.evaluate("scrollTo(0, 0)")

    def test_start_page_and_gallery(self):
        for name in ("index", "notebooks"):
            with self.subTest(name):
                self.check_page(name, 0)
        cards = self.browser.evaluate("document.querySelectorAll('.cards li').length")
        notebooks = [path for path in ROOT.glob("notebooks/*/*.ipynb") if ".ipynb_checkpoints" not in path.parts]
        self.assertEqual(cards, len(notebooks))
        # Pictures load when they come near the window.
        for number in range(cards):
            picture = f"document.querySelectorAll('.cards img')[{number}]"
            self.browser.evaluate(f"{picture}.scrollIntoView()")
            self.browser.wait(f"{picture}.complete && {picture}.naturalWidth > 0", 10, f"picture {number}")

    def test_every_notebook_shows_all_of_it(self):
        for notebook in sorted(ROOT.glob("notebooks/*/*.ipynb")):
            name = notebook.relative_to(ROOT).with_suffix("").as_posix()
            with self.subTest(name):
                figures = notebook.read_text().count('"application/vnd.plotly.v1+json"')
                self.check_page(name, figures)
                self.assertEqual(self.browser.evaluate("document.querySelectorAll('merror, iframe').length"), 0)

    def test_a_chosen_theme_stays_and_outweighs_the_systems(self):
        self.browser.look(*SIZES[0], "light")
        self.open("index")
        background = "getComputedStyle(document.body).backgroundColor"
        light = self.browser.evaluate(background)
        self.assertEqual(self.browser.evaluate("document.getElementById('theme').textContent"), "Dark")
        self.browser.evaluate("document.getElementById('theme').click()")
        dark = self.browser.evaluate(background)
        self.assertNotEqual(dark, light)
        self.open("notebooks")
        self.assertEqual(self.browser.evaluate(background), dark)
        self.browser.evaluate("document.getElementById('theme').click()")
        self.browser.look(*SIZES[0], "dark")
        self.assertEqual(self.browser.evaluate(background), light)
        self.browser.evaluate("localStorage.clear()")
        self.nothing_was_asked_and_nothing_complained("notebooks")

    def test_links_go_through_all_notebooks_in_order(self):
        self.open("notebooks")
        listed = self.browser.evaluate("[...document.querySelectorAll('.cards a')].map(link => link.href)")
        seen, url = [], listed[0]
        while url:
            seen.append(url)
            self.browser.open(url)
            self.browser.wait(f"location.href === {url!r} && document.readyState === 'complete'", 30, url)
            url = self.browser.evaluate("document.querySelector('.neighbours .next')?.href")
        self.assertEqual(seen, listed)

    def test_pages_name_no_path_of_this_machine(self):
        paths = re.compile(f"{re.escape(str(ROOT))}|{re.escape(self.scratch.name)}|/(home|root|tmp)/\\w")
        for path in [*self.site.rglob("*.html"), *self.site.glob("assets/site.*")]:
            self.assertIsNone(paths.search(path.read_text()), path)


@unittest.skipUnless("EIGENLENS_SITE_API" in os.environ, "EIGENLENS_SITE_API names what cargo doc has made")
class Documentation(SiteTest):
    """The site with the API documentation, which takes minutes to make."""

    options = ("--api", os.environ.get("EIGENLENS_SITE_API", ""))

    def test_the_documentation_opens_and_finds_names(self):
        self.browser.look(*SIZES[0], "light")
        for name in ("api/eigenlens/index", "api/eigenlens/sae/struct.Sae", "api/eigenlens/plot/index"):
            with self.subTest(name):
                self.open(name)
                self.assertGreater(self.browser.evaluate("document.querySelectorAll('main a').length"), 20)
                self.browser.screenshot(PICTURES / f"site-{name.replace('/', '-')}.png")
                self.nothing_was_asked_and_nothing_complained(name)
        self.browser.open((self.site / "api/eigenlens/index.html").as_uri() + "?search=HookPoint")
        found = "[...document.querySelectorAll('.search-results a')].some(a => a.href.includes('enum.HookPoint'))"
        self.browser.wait(found, 30, "the search")
        self.nothing_was_asked_and_nothing_complained("the search")
        self.open("index")
        self.browser.evaluate("[...document.querySelectorAll('header a')].find(a => a.textContent === 'API').click()")
        self.browser.wait("location.pathname.endsWith('/api/eigenlens/index.html')", 30, "the link to it")

    def test_the_whole_site_is_small(self):
        self.assertLess(self.size, LARGEST)


if __name__ == "__main__":
    unittest.main()
