"""The queries of `queries.rs`, asked of DuckDB and Polars over the store's plain files.

Usage: plain_files.py STORE FEATURE; prints {"duckdb": [rows, …], "polars": [rows, …]}.
"""

import json
import sys

import duckdb
import polars as pl

EDGE = "1.0 / 64 * pow(2, ceil(log2(64 * max(value)::double)) + (log2(64 * max(value)::double) = ceil(log2(64 * max(value)::double)))::int)"


def ask_duckdb(store, feature):
    base = duckdb.connect()
    for table, glob in [("tokens", "*"), ("codes", "*/*"), ("statistics", "*/*")]:
        base.execute(f"create view {table} as from read_parquet('{store}/{table}/{glob}.parquet')")
    queries = [
        "select feature, count(*), sum(value::double), max(value)::double, avg(value::double) from codes group by 1 order by 1",
        "select feature, value::double, context, position from codes "
        "qualify row_number() over (partition by feature order by value desc, context, position) <= 3 "
        "order by feature, value desc, context, position",
        "select feature, count(distinct context) from codes group by 1 order by 1",
        f"select b.feature, count(*) n from codes a join codes b using (context, position) "
        f"where a.feature = {feature} and b.feature <> {feature} group by 1 order by n desc, b.feature limit 20",
        "select position, count(*), avg(value::double) from codes group by 1 order by 1",
        "select feature, count(*), avg(loss::double) from codes join tokens using (context, position) "
        "where loss is not null group by 1 having count(*) >= 20 order by 1",
        'select "l0.1.mlp_out", count(*), avg("error.1.mlp_out"::double) from tokens group by 1 order by 1',
        'select count(*), corr(loss::double, "error.1.mlp_out"::double), min(loss)::double, max(loss)::double '
        "from tokens where loss is not null",
        'select feature, sum("count")::bigint, max("max")::double from statistics group by 1 '
        'having sum("count") > 0 order by 1',
        f"with edges as (select feature, greatest({EDGE}, 1.0 / 64) edge from codes group by 1), "
        "binned as (select feature, edge, floor(value::double / edge * 32)::int bin, count(*) n "
        "from codes join edges using (feature) group by 1, 2, 3), "
        "counted as (select feature, edge, map(list(bin), list(n)) counts from binned group by 1, 2) "
        "select feature, edge, array_to_string([coalesce(counts[bin], 0) for bin in range(32)], ' ') "
        "from counted order by 1",
    ]
    return [[list(row) for row in base.execute(query).fetchall()] for query in queries]


def ask_polars(store, feature):
    codes = pl.scan_parquet(f"{store}/codes/*/*.parquet").with_columns(pl.col("value").cast(pl.Float64))
    tokens = pl.scan_parquet(f"{store}/tokens/*.parquet").with_columns(
        pl.col("loss", "error.1.mlp_out").cast(pl.Float64)
    )
    statistics = pl.scan_parquet(f"{store}/statistics/*/*.parquet")
    value, here = pl.col("value"), ["context", "position"]
    lost = tokens.filter(pl.col("loss").is_not_null())
    power = pl.col("max").mul(64).log(2)
    edges = codes.group_by("feature").agg(value.max().alias("max")).select(
        "feature",
        pl.max_horizontal(
            (2.0 ** (power.ceil() + (power == power.ceil()).cast(pl.Float64))) / 64, pl.lit(1 / 64)
        ).alias("edge"),
    )
    counts = [
        ((value / pl.col("edge") * 32).floor() == bin).sum().cast(pl.String).alias(f"bin{bin}")
        for bin in range(32)
    ]
    frames = [
        codes.group_by("feature").agg(
            pl.len(), value.sum().alias("sum"), value.max().alias("max"), value.mean().alias("mean")
        ).sort("feature"),
        codes.sort(["feature", "value", "context", "position"], descending=[False, True, False, False])
        .group_by("feature", maintain_order=True).head(3)
        .select("feature", "value", "context", "position"),
        codes.group_by("feature").agg(pl.col("context").n_unique()).sort("feature"),
        codes.filter(pl.col("feature") == feature).select(here)
        .join(codes.filter(pl.col("feature") != feature), on=here)
        .group_by("feature").agg(pl.len()).sort(["len", "feature"], descending=[True, False]).head(20),
        codes.group_by("position").agg(pl.len(), value.mean()).sort("position"),
        codes.join(lost, on=here).group_by("feature").agg(pl.len(), pl.col("loss").mean())
        .filter(pl.col("len") >= 20).sort("feature"),
        tokens.group_by("l0.1.mlp_out").agg(pl.len(), pl.col("error.1.mlp_out").mean()).sort("l0.1.mlp_out"),
        lost.select(
            pl.len(), pl.corr("loss", "error.1.mlp_out").alias("corr"),
            pl.col("loss").min().alias("min"), pl.col("loss").max().alias("max"),
        ),
        statistics.group_by("feature").agg(pl.col("count").sum(), pl.col("max").cast(pl.Float64).max())
        .filter(pl.col("count") > 0).sort("feature"),
        codes.join(edges, on="feature").group_by("feature", "edge").agg(counts)
        .select("feature", "edge", pl.concat_str([f"bin{bin}" for bin in range(32)], separator=" "))
        .sort("feature"),
    ]
    return [[list(row) for row in frame.collect().rows()] for frame in frames]


if __name__ == "__main__":
    store, feature = sys.argv[1], int(sys.argv[2])
    json.dump({"duckdb": ask_duckdb(store, feature), "polars": ask_polars(store, feature)}, sys.stdout)
