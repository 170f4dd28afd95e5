#!/usr/bin/env python3
"""Install what `--features cuda` compiles with, on a machine that has no CUDA toolkit.

NVIDIA's compiler, headers and libraries come as Python packages (pip), pinned, and go to the folder
`cuda` in eigenlens' own; nothing else on the machine is changed. A machine with a toolkit of its own
(`nvcc` on the PATH) needs none of this. A GPU is needed to run, not to compile: where there is no
driver, programs are linked against a stand-in for `libcuda.so`.

    python3 tools/cuda_toolkit.py
    source ~/.cache/eigenlens/cuda/environment.sh
    cargo build --features cuda

The last file says for which GPUs: set CUDA_COMPUTE_CAP (90 is Hopper, 80 Ampere, 89 Ada) before
compiling. Needs Python 3.11 or newer with pip, and a C compiler.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

import registry
from registry import FetchError, say

PACKAGES = (
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-cuda-nvrtc==13.0.88",
    "nvidia-cublas==13.0.2.14",
    "nvidia-curand==10.4.0.35",
)

SCRIPT = """\
# What compiling and running with `--features cuda` needs: source this file.
export CUDA_HOME="{toolkit}"
export CUDA_PATH="$CUDA_HOME" CUDA_ROOT="$CUDA_HOME" CUDA_TOOLKIT_ROOT_DIR="$CUDA_HOME"
export CUDA_COMPUTE_CAP="${{CUDA_COMPUTE_CAP:-90}}"
export PATH="$CUDA_HOME/bin:$PATH"
export LIBRARY_PATH="$CUDA_HOME/lib:$CUDA_HOME/lib/stubs:${{LIBRARY_PATH:-}}"
export LD_LIBRARY_PATH="$CUDA_HOME/lib:${{LD_LIBRARY_PATH:-}}"
"""


def install(folder: Path) -> Path:
    """The toolkit's folder, with the packages in it."""
    toolkit = folder / "site/nvidia/cu13"
    wanted = "\n".join(PACKAGES)
    done = folder / "packages.txt"
    if done.is_file() and done.read_text() == wanted:
        say(f"the toolkit is in {toolkit}")
        return toolkit
    say("downloading NVIDIA's compiler and libraries (about 1 GB)")
    shutil.rmtree(folder / "site", ignore_errors=True)
    registry.call(
        [
            sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install",
            "--quiet", "--no-deps", "--no-compile", "--only-binary", ":all:",
            "--target", str(folder / "site"), *PACKAGES,
        ],
        folder,
        "installing NVIDIA's packages with pip",
        "This needs pip and a network (or a mirror that pip is told of). With a CUDA toolkit of "
        "your own on the PATH none of this is needed.",
    )
    registry.replace(done, wanted.encode())
    return toolkit


def link_libraries(toolkit: Path) -> None:
    """The packages have libraries with version numbers only; linkers look for names without."""
    lib = toolkit / "lib"
    for path in list(lib.glob("*.so.*")):
        plain = lib / (path.name.split(".so.")[0] + ".so")
        if not plain.exists():
            plain.symlink_to(path.name)
    if not (toolkit / "lib64").exists():
        (toolkit / "lib64").symlink_to("lib")


def make_driver_stub(toolkit: Path) -> None:
    """A `libcuda.so` to link against, with every function of cuda.h; each says "no device"."""
    header = (toolkit / "include/cuda.h").read_text(errors="replace")
    names = sorted(set(re.findall(r"\bcu[A-Z]\w*", header)))
    stubs = toolkit / "lib/stubs"
    stubs.mkdir(exist_ok=True)
    source = stubs / "libcuda.c"
    source.write_text("".join(f"int {name}(void) {{ return 100; }}\n" for name in names))
    library = stubs / "libcuda.so"
    command = ["cc", "-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([*command, "-o", str(library), str(source)], check=True)
    say(f"a stand-in for libcuda with {len(names)} functions is in {stubs}")


def fetch(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    toolkit = install(folder)
    if not (toolkit / "bin/nvcc").is_file():
        raise FetchError(f"the packages left no compiler at {toolkit / 'bin/nvcc'}")
    link_libraries(toolkit)
    make_driver_stub(toolkit)
    script = folder / "environment.sh"
    registry.replace(script, SCRIPT.format(toolkit=toolkit).encode())
    say(f"ready: source {script}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="DIR", help="another folder")
    options = parser.parse_args()
    folder = (options.out or registry.default_folder("cuda").parents[1] / "cuda").absolute()
    return registry.fetching("the CUDA toolkit", lambda _: fetch(folder))


if __name__ == "__main__":
    raise SystemExit(main())
