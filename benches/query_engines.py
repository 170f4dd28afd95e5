"""Queries to a store by eigenlens-engine, DuckDB and Polars, by turns: a part of `cargo bench -- store`.

Usage: query_engines.py ENGINE STORE. Prints JSON rows {"name", "size", "value", "unit"}. Each engine
reads the same Parquet files; what it answers is compared before it is timed.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import duckdb
import polars as pl

TURNS = 5
FEATURE = 17
K = 20

FREQUENCIES = (
    "select feature, count(*) n, sum(value) s, max(value) m from codes group by feature order by feature"
)
ENTRIES = f"select context, position, value from {{}} where feature = {FEATURE} order by 1, 2"


class Engine:
    """eigenlens-engine as the library starts it."""

    def __init__(self, program, store):
        self.store, self.next = store, 0
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([program, "serve"], text=True, **pipes)

    def ask(self, sql):
        self.next += 1
        request = {"id": self.next, "store": self.store, "sql": sql}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        reply = json.loads(self.process.stdout.readline())
        if "error" in reply:
            sys.exit(reply["error"])
        rows = pl.read_parquet(reply["path"])
        os.remove(reply["path"])
        return rows


def seconds(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def same(name, found, expected):
    """Ends the program if two answers differ."""
    if found.shape != expected.shape:
        sys.exit(f"{name}: {found.shape} rows and columns, expected {expected.shape}")
    for column, other in zip(found.iter_columns(), expected.iter_columns()):
        a, b = column.cast(pl.Float64), other.cast(pl.Float64)
        if ((a - b).abs() > 1e-6 * b.abs().clip(1e-9)).any():
            sys.exit(f"{name}: column {column.name} differs")


def main(program, store):
    engine = Engine(program, store)
    duck = duckdb.connect()
    duck.execute(f"create view codes as from read_parquet('{store}/codes/*/*.parquet')")
    codes = pl.scan_parquet(f"{store}/codes/*/*.parquet")

    top_duck = (
        f"select feature, value, context, position from codes qualify row_number() over "
        f"(partition by feature order by value desc, context, position) <= {K} order by 1, 2 desc, 3, 4"
    )
    top_engine = (
        f"select feature, t['value'] \"value\", t['context'] context, t['position'] \"position\" from "
        f"(select feature, unnest(t) t from (select feature, top(value, context, position, {K}) t "
        f"from codes group by feature)) order by 1, 2 desc, 3, 4"
    )

    def polars_frequencies():
        value = pl.col("value")
        own = codes.group_by("feature").agg(
            pl.len().alias("n"), value.cast(pl.Float64).sum().alias("s"), value.max().alias("m")
        )
        return own.sort("feature").collect(engine="streaming")

    def polars_top():
        best = codes.sort("value", "context", "position", descending=[True, False, False])
        best = best.group_by("feature", maintain_order=True).head(K)
        best = best.select("feature", "value", "context", "position")
        order = ["feature", "value", "context", "position"]
        return best.sort(order, descending=[False, True, False, False]).collect()

    def polars_entries():
        own = codes.filter(pl.col("feature") == FEATURE).select("context", "position", "value")
        return own.sort("context", "position").collect(engine="streaming")

    sorting = seconds(lambda: subprocess.run([program, "by-feature", store], check=True, stdout=2))
    works = {
        "frequencies of all features": {
            "eigenlens": lambda: engine.ask(FREQUENCIES),
            "duckdb": lambda: duck.sql(FREQUENCIES).pl(),
            "polars": polars_frequencies,
        },
        f"top {K} of each feature": {
            "eigenlens": lambda: engine.ask(top_engine),
            "duckdb": lambda: duck.sql(top_duck).pl(),
            "polars": polars_top,
        },
        "entries of a feature, sorted copy": {
            "eigenlens": lambda: engine.ask(ENTRIES.format("by_feature")),
        },
        "entries of a feature, all codes": {
            "eigenlens": lambda: engine.ask(ENTRIES.format("codes")),
            "duckdb": lambda: duck.sql(ENTRIES.format("codes")).pl(),
            "polars": polars_entries,
        },
    }
    entries = engine.ask("select count(*) n from codes")["n"][0]
    size = f"{entries} entries, {os.cpu_count()} cores"
    rows = [{"name": "copy sorted by feature", "size": size, "value": sorting, "unit": "s"}]
    for name, sides in works.items():
        expected = sides["eigenlens"]()
        for side, work in sides.items():
            same(f"{name}, {side}", work(), expected)
        times = {side: [] for side in sides}
        for _ in range(TURNS):
            for side, work in sides.items():
                times[side].append(seconds(work))
        ours = statistics.median(times.pop("eigenlens"))
        rows.append({"name": name, "size": size, "value": ours, "unit": "s"})
        for side, theirs in times.items():
            ratio = ours / statistics.median(theirs)
            rows.append({"name": f"{name}, over {side}", "size": size, "value": ratio, "unit": "×"})
    print(json.dumps(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
