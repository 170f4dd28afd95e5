"""Write assets/sae/registry.json.gz from SAELens's list of published autoencoders.

    python3 tools/sae_registry.py

takes the newest version of the Python package sae-lens (``pip download``, no code of it runs), and
``--version 6.54.12`` another one. ``--wheel FILE`` needs no network. The same wheel gives the same
bytes; assets/sae/origin.json says which wheel it was and when it was fetched.

Needs Python 3.11 or newer with pip, and PyYAML. What the library makes of the new list is in
assets/sae/coverage.txt, which a test of ``src/sae/coverage.rs`` compares and prints.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import hashlib
import json
import re
import zipfile
from pathlib import Path

import registry
from registry import FetchError, say

try:
    import yaml
except ImportError:
    raise SystemExit("This needs PyYAML: python3 -m pip install pyyaml") from None

PACKAGE = "sae-lens"
MEMBER = "sae_lens/pretrained_saes.yaml"
FOLDER = Path(__file__).resolve().parent.parent / "assets" / "sae"
ELSEWHERE = "With the wheel at hand: --wheel FILE."
FAMILIES = {
    None: "saelens",
    "sae_lens": "saelens",
    "connor_rob_hook_z": "attention-out",
    "gemma_2": "gemma-scope",
    "gemma_2_transcoder": "gemma-scope",
    "gemma_3": "gemma-scope-2",
    "llama_scope": "llama-scope",
    "llama_scope_r1_distill": "llama-scope-r1",
    "dictionary_learning_1": "dictionary-learning",
    "deepseek_r1": "deepseek-r1",
    "qwen_scope": "qwen-scope",
    "sparsify": "sparsify",
    "mwhanna_transcoder": "hanna-transcoder",
    "mntss_clt_layer_transcoder": "cross-layer-transcoder",
    "goodfire": "goodfire",
}
SITES = {
    "res": "hook_resid_post",
    "mlp": "hook_mlp_out",
    "att": "attn.hook_z",
    "transcoders": "ln2.hook_normalized",
    "resid_post": "hook_resid_post",
    "attn_out": "attn.hook_z",
    "mlp_out": "hook_mlp_out",
    "transcoder": "ln2.hook_normalized",
}
# What cannot be loaded: whole sequences at once.
LEFT_OUT = {"temporal"}
# Trained on the tuned model, as the name of release and repository and the canonical release say.
MODELS = {"gemma-scope-9b-it-res": "gemma-2-9b-it"}
# Fields of SAELens's configurations that its list replaces, and their names in ours. The name and
# place of the model are in the files or the list anyway.
OVERRIDES = {
    "normalize_activations": "normalize_activations",
    "model_from_pretrained_kwargs": "model_options",
    "dataset_path": "dataset",
}
# In no list of SAELens.
OWN = [
    {
        "release": "eigenlens-classics",
        "repository": "eigenlens/classics-scope",
        "model": "eigenlens/classics",
        "family": "scope",
        "entries": [
            {"id": f"{layer}-{site}-x8-k16", "hook": f"blocks.{layer}.{hook}"}
            for layer in (1, 2)
            for site, hook in (("mlp-in", "ln2.hook_normalized"), ("mlp-out", "hook_mlp_out"))
        ],
    },
    {
        "release": "mlsae-pythia-70m-deduped-x64-k32",
        "repository": "tim-lawson/mlsae-pythia-70m-deduped-x64-k32-tfm",
        "model": "EleutherAI/pythia-70m-deduped",
        "family": "mlsae",
        "entries": [{"id": "all-layers", "path": "", "hook": "hook_resid_post of every layer"}],
    },
]


def hook(family, release, entry):
    """The place in the model, where the names of entry and release say it."""
    name, path = entry["id"], str(entry["path"])
    if name.startswith("blocks."):
        return name.split("__")[0].split("/")[0]
    layer = re.search(r"layer_?(\d+)", f"{name}/{path}") or re.match(r"l(\d+)[ram]_", name)
    if layer is None:
        return None
    if family == "gemma-scope":
        site = re.search(r"-(res|mlp|att|transcoders)(-|$)", release)
        site = SITES[site.group(1)] if site else None
    elif family == "gemma-scope-2":
        site = SITES.get(path.split("/")[0].removesuffix("_all"))
    elif family == "llama-scope":
        letter = re.match(r"l\d+([ram])", name)
        if letter is None:
            raise FetchError(
                f"the release {release} has the id {name}, expected one such as l5r_8x: read it in "
                f"`hook` of tools/sae_registry.py"
            )
        site = {"r": "hook_resid_post", "a": "hook_attn_out", "m": "hook_mlp_out"}[letter.group(1)]
    elif family in ("hanna-transcoder", "cross-layer-transcoder"):
        site = "ln2.hook_normalized"
    else:
        site = "hook_resid_post"
    return site and f"blocks.{int(layer.group(1))}.{site}"


def release(name, fields):
    conversion = fields["conversion_func"]
    if conversion not in FAMILIES:
        raise FetchError(
            f"the release {name} has the conversion_func {conversion}, which this program does not "
            f"know: add the family to FAMILIES or LEFT_OUT in tools/sae_registry.py"
        )
    family = FAMILIES[conversion]
    entries = []
    for entry in fields["saes"]:
        path = str(entry["path"])
        if family == "cross-layer-transcoder":
            path = f"W_enc_{path}.safetensors"
        kept = {"id": entry["id"]}
        if path != entry["id"]:
            kept["path"] = path
        if place := hook(family, name, entry):
            kept["hook"] = place
        if (l0 := entry.get("l0")) is not None:
            kept["l0"] = l0
        # Llama Scope's first release has the factor in its own files.
        if (scale := entry.get("norm_scaling_factor")) is not None and family != "llama-scope":
            kept["scale"] = scale
        entries.append(kept)
    row = {
        "release": name,
        "repository": fields["repo_id"],
        "model": MODELS.get(name, fields["model"]),
        "family": family,
        "entries": entries,
    }
    overrides = dict(fields.get("config_overrides") or {})
    for field, kept in OVERRIDES.items():
        if field in overrides:
            row[kept] = overrides.pop(field)
    if overrides:
        raise FetchError(
            f"the release {name} overrides {', '.join(overrides)}, which this program does not "
            f"know: add them to OVERRIDES in tools/sae_registry.py, and read them in "
            f"src/sae/registry.rs"
        )
    if k := re.search(r"L0_(\d+)$", fields["repo_id"]):
        row["k"] = int(k.group(1))
    return row


def list_of(wheel: Path):
    """All releases of a wheel, in the order of their names."""
    try:
        with zipfile.ZipFile(wheel) as content:
            found = yaml.safe_load(content.read(MEMBER))
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchError(f"{wheel.name} does not hold {MEMBER}: {error}") from None
    releases = sorted(found.items())
    return OWN + [
        release(name, fields)
        for name, fields in releases
        if fields["conversion_func"] not in LEFT_OUT
    ]


def version_of(wheel: Path) -> str:
    """The version in the name of a wheel."""
    parts = wheel.name.split("-")
    if len(parts) < 2:
        raise FetchError(
            f"{wheel.name} has no version in its name, expected {PACKAGE.replace('-', '_')}-VERSION-"
            f"py3-none-any.whl: give it the name that pip gave it"
        )
    return parts[1]


def write(wheel: Path) -> None:
    version = version_of(wheel)
    rows = list_of(wheel)
    text = json.dumps(rows, separators=(",", ":")).encode()
    packed = gzip.compress(text, 9, mtime=0)
    origin = {
        "package": PACKAGE,
        "version": version,
        "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "releases": len(rows),
        "autoencoders": sum(len(row["entries"]) for row in rows),
    }
    place = FOLDER / "origin.json"
    old = json.loads(place.read_text()) if place.is_file() else {}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    # The day stays if the same wheel is fetched again.
    is_same = old.get("wheel_sha256") == origin["wheel_sha256"]
    origin["fetched"] = old.get("fetched", today) if is_same else today
    registry.replace(FOLDER / "registry.json.gz", packed)
    registry.replace(place, (json.dumps(origin, indent=2) + "\n").encode())
    say(
        f"SAELens {origin['version']}: {origin['releases']} releases, "
        f"{origin['autoencoders']} autoencoders, {len(packed):,} bytes"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version", help=f"the version of {PACKAGE} (default: the newest)")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="a wheel that is here already")
    options = parser.parse_args()
    package = f"{PACKAGE}=={options.version}" if options.version else PACKAGE

    def fetch(scratch: Path) -> None:
        write(options.wheel or registry.newest_wheel(package, scratch, ELSEWHERE))

    return registry.fetching("the list of published autoencoders", fetch)


if __name__ == "__main__":
    raise SystemExit(main())
