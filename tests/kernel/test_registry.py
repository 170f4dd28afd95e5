"""What tools/sae_registry.py says of a list that it cannot read."""

import pathlib
import sys
import types
import unittest

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
# Nothing here reads YAML.
sys.modules.setdefault("yaml", types.ModuleType("yaml"))

import sae_registry  # noqa: E402
from registry import FetchError  # noqa: E402


class Registry(unittest.TestCase):
    def test_the_version_is_in_the_name_of_the_wheel(self):
        wheel = pathlib.Path("sae_lens-6.54.12-py3-none-any.whl")
        self.assertEqual(sae_registry.version_of(wheel), "6.54.12")
        with self.assertRaisesRegex(FetchError, "saelens.whl has no version in its name"):
            sae_registry.version_of(pathlib.Path("downloads-1/saelens.whl"))

    def test_an_id_of_llama_scope_names_its_place_or_is_refused_by_name(self):
        def place(name, path):
            return sae_registry.hook("llama-scope", "llama_scope_lxr_8x", {"id": name, "path": path})

        self.assertEqual(place("l5r_8x", "Llama3_1-8B-Base-L5R-8x"), "blocks.5.hook_resid_post")
        self.assertEqual(place("l12m_8x", "x"), "blocks.12.hook_mlp_out")
        with self.assertRaisesRegex(FetchError, "llama_scope_lxr_8x has the id layer_3_x"):
            place("layer_3_x", "x")


if __name__ == "__main__":
    unittest.main()
