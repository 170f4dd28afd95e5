//! Ten queries: DataFusion, DuckDB and Polars say what loops over all rows say.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::process::{Engine, Rows};
use crate::{brute, python, store};

/// The queries; `FEATURE` is a feature that is active. `plain_files.py` asks the same.
const QUERIES: [&str; 10] = [
    "select feature, count(*), sum(value), max(value), avg(value) from codes
     group by feature order by feature",
    "select feature, best['value'] v, best['context'] c, best['position'] p from (
       select feature, unnest(top(value, context, position, 3)) best from codes group by feature)
     order by feature, v desc, c, p",
    "select feature, count(distinct context) from codes group by feature order by feature",
    "select b.feature, count(*) n from codes a join codes b using (context, position)
     where a.feature = FEATURE and b.feature <> FEATURE
     group by b.feature order by n desc, b.feature limit 20",
    "select position, count(*), avg(value) from codes group by position order by position",
    "select feature, count(*) n, avg(loss) from codes join tokens using (context, position)
     where loss is not null group by feature having count(*) >= 20 order by feature",
    "select \"l0.1.mlp_out\" l0, count(*), avg(\"error.1.mlp_out\") from tokens
     group by l0 order by l0",
    "select count(*), corr(loss, \"error.1.mlp_out\"), min(loss), max(loss) from tokens
     where loss is not null",
    "select feature, sum(\"count\") n, max(\"max\") from statistics
     group by feature having sum(\"count\") > 0 order by feature",
    "select feature, h['edge'], array_to_string(h['counts'], ' ') from (
       select feature, histogram(value) h from codes group by feature) order by feature",
];

/// Rows are equal, floats to nine digits: sums depend on the order of their terms.
pub(crate) fn assert_equal(found: &Rows, expected: &Rows, what: &str) {
    assert_eq!(found.len(), expected.len(), "rows of {what}");
    assert!(!found.is_empty(), "{what}");
    let close = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
        _ => a == b,
    };
    for (a, b) in found.iter().zip(expected) {
        let equal = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b));
        assert!(equal, "{what}: {a:?}, expected {b:?}");
    }
}

/// The queries about a feature that is neither rare nor everywhere.
pub(crate) fn about(feature: i64) -> Vec<String> {
    QUERIES.iter().map(|sql| sql.replace("FEATURE", &feature.to_string())).collect()
}

/// A feature of the store that is active often.
pub(crate) fn frequent(store: &Path) -> i64 {
    let codes = store::codes(store);
    let count = |feature: i64| codes.iter().filter(|code| code.feature == feature).count();
    codes.iter().take(200).map(|code| code.feature).max_by_key(|feature| count(*feature)).unwrap()
}

/// The cells of a printed table.
pub(crate) fn parse(table: &str) -> Rows {
    let lines = table.lines().filter(|line| line.starts_with('|')).skip(1);
    let cell = |text: &str| {
        let text = text.trim();
        let number = serde_json::from_str::<serde_json::Number>(text).map(Value::Number);
        number.unwrap_or_else(|_| Value::String(text.to_owned()))
    };
    lines.map(|line| line.trim_matches('|').split('|').map(cell).collect()).collect()
}

#[test]
fn three_engines_say_what_loops_say() {
    let folder = tempfile::tempdir().unwrap();
    let store = store::done(folder.path(), 3, 8);
    let feature = frequent(&store);
    let answers = brute::answers(&store::codes(&store), &store::tokens(&store), feature);
    let mut engine = Engine::start(&folder.path().join("home"));
    for (sql, expected) in about(feature).iter().zip(&answers) {
        assert_equal(&engine.ask(&store, sql).unwrap(), expected, sql);
    }
    let Some(python) = python::python() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/plain_files.py");
    let output = Command::new(python).arg(script).arg(&store).arg(feature.to_string()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let others: serde_json::Map<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(others.keys().collect::<Vec<_>>(), ["duckdb", "polars"]);
    for (engine, found) in &others {
        let found: Vec<Rows> = serde_json::from_value(found.clone()).unwrap();
        assert_eq!(found.len(), answers.len());
        for ((found, expected), sql) in found.iter().zip(&answers).zip(QUERIES) {
            assert_equal(found, expected, &format!("{engine}: {sql}"));
        }
    }
}
