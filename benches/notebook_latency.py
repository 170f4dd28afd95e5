"""How long a person waits for a notebook: the other part of `cargo bench`.

Starts fresh kernels, one after another. Of each: the time from launching its process to the result
of a first cell, then the times of ten typical cells, from sending a cell to its reply and its last
output. Writes JSON rows {"name", "size", "value", "unit"} to the file named by its argument.
"""

import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/kernel"))

from harness import Kernel  # noqa: E402

STARTS = 5

FIRST = "Tensor::new(&[1f32, 2.], &Device::Cpu)?.sum_all()?"

# Each with its expected words in the output: a cell that does not do its work is no measurement.
CELLS = {
    "let tensors": (
        "let x = Tensor::arange(0f32, 12., &Device::Cpu)?.reshape((3, 4))?;\n"
        "let w = Rng::seed(0).normal((4, 5), &Device::Cpu)?;",
        "",
    ),
    "show a value": ("x.matmul(&w)?.dims().to_vec()", "[3, 5]"),
    "loop": (
        "let mut total = 0f32;\n"
        "for row in x.to_vec2::<f32>()? {\n    total += row.iter().sum::<f32>();\n}\ntotal",
        "66",
    ),
    "function": (
        "fn normalised(x: &Tensor) -> Result<Tensor> {\n"
        "    Ok(x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.sqrt()?)?)\n}",
        "",
    ),
    "struct": (
        "#[derive(Debug, Clone)]\nstruct Probe { direction: Tensor, bias: f32 }\n"
        "impl Probe {\n    fn score(&self, x: &Tensor) -> Result<Tensor> {\n"
        "        Ok((x.matmul(&self.direction)? + self.bias as f64)?)\n    }\n}",
        "",
    ),
    "use both": (
        "let probe = Probe { direction: Tensor::ones((4, 1), DType::F32, &Device::Cpu)?, bias: 1. };\n"
        "println!(\"{:?}\", probe.score(&normalised(&x)?)?.dims());",
        "[3, 1]",
    ),
    "figure": ('imshow(&x)?.midpoint(6.0).title("x")', "plotly"),
    "closure": (
        "let squares: Vec<f64> = (1..=5).map(|i| f64::from(i * i)).collect();\n"
        "let best = squares.iter().copied().fold(f64::MIN, f64::max);\nbest",
        "25",
    ),
    "question mark": ('let rank: usize = "12".parse()?;\nrank * 2', "24"),
    "use and print": (
        "use std::collections::BTreeMap;\n"
        "let counts: BTreeMap<char, usize> = [('a', 2), ('b', 3)].into();\n"
        "for (letter, count) in &counts {\n    println!(\"{letter}: {count}\");\n}",
        "b: 3",
    ),
}


def run(kernel: Kernel, code: str, expected: str) -> float:
    """Seconds from sending a cell to the end of its outputs."""
    start = time.perf_counter()
    reply = kernel.run(code)
    seconds = time.perf_counter() - start
    if reply.status != "ok":
        raise SystemExit("\n".join([code, *reply.content["traceback"]]))
    if expected not in json.dumps([content for _, content, _ in reply.outputs]):
        raise SystemExit(f"{code}\nshould have shown {expected!r}, but showed {reply.outputs}")
    return seconds


def main() -> None:
    starts: list[float] = []
    cells: dict[str, list[float]] = {name: [] for name in CELLS}
    for turn in range(STARTS):
        begin = time.perf_counter()
        kernel = Kernel()
        try:
            run(kernel, FIRST, "3")
            starts.append(time.perf_counter() - begin)
            for name, (code, expected) in CELLS.items():
                cells[name].append(run(kernel, code, expected))
        finally:
            kernel.close()
        print(f"kernel {turn + 1} of {STARTS}: first result after {starts[-1]:.2f} s", flush=True)
    every = [seconds for times in cells.values() for seconds in times]
    size = f"{len(CELLS)} cells in {STARTS} kernels"
    rows = [
        ("start to first result", f"median of {STARTS} kernels", statistics.median(starts)),
        ("cell, median", size, statistics.median(every)),
        ("cell, p95", size, statistics.quantiles(every, n=20, method="inclusive")[-1]),
    ] + [
        (f"cell: {name}", f"median of {STARTS} kernels", statistics.median(times))
        for name, times in cells.items()
    ]
    keys = ("name", "size", "value", "unit")
    text = json.dumps([dict(zip(keys, (*row, "s"), strict=True)) for row in rows], indent=2)
    Path(sys.argv[1]).write_text(text + "\n")


if __name__ == "__main__":
    main()
