"""Writes assets/sae/registry.json.gz from SAELens's list of published autoencoders.

    pip download --no-deps sae-lens==6.54.12 && python tools/sae_registry.py sae_lens-*.whl

Needs PyYAML. The list changes with SAELens's versions: run it again for a newer one.
"""

import gzip
import json
import re
import sys
import zipfile
from pathlib import Path

import yaml

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
        site = {"r": "hook_resid_post", "a": "hook_attn_out", "m": "hook_mlp_out"}.get(
            re.match(r"l\d+([ram])", name).group(1)
        )
    elif family in ("hanna-transcoder", "cross-layer-transcoder"):
        site = "ln2.hook_normalized"
    else:
        site = "hook_resid_post"
    return site and f"blocks.{int(layer.group(1))}.{site}"


def release(name, fields):
    family = FAMILIES[fields["conversion_func"]]
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
        "model": fields["model"],
        "family": family,
        "entries": entries,
    }
    overrides = fields.get("config_overrides") or {}
    if "normalize_activations" in overrides:
        row["normalize_activations"] = overrides["normalize_activations"]
    if k := re.search(r"L0_(\d+)$", fields["repo_id"]):
        row["k"] = int(k.group(1))
    return row


def main():
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        found = yaml.safe_load(wheel.read("sae_lens/pretrained_saes.yaml"))
    rows = OWN + [
        release(name, fields)
        for name, fields in sorted(found.items())
        if fields["conversion_func"] not in LEFT_OUT
    ]
    text = json.dumps(rows, separators=(",", ":")).encode()
    place = Path(__file__).parent.parent / "assets" / "sae" / "registry.json.gz"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(gzip.compress(text, 9, mtime=0))
    count = sum(len(row["entries"]) for row in rows)
    print(f"{len(rows)} releases, {count} autoencoders, {place.stat().st_size} bytes")


main()
