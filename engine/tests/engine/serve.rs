//! The pipe: errors, limits, stopping, the end.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::{Engine, left_in};
use crate::store;

/// Pairs of all codes, whose product never ends.
const ENDLESS: &str =
    "select count(*) from codes a, codes b, codes c where a.value + b.value < c.value";

fn home(folder: &Path) -> std::path::PathBuf {
    folder.join("home")
}

#[test]
fn answers_have_four_types_and_errors_say_where() {
    let folder = tempfile::tempdir().unwrap();
    let store = store::done(folder.path(), 2, 4);
    let mut engine = Engine::start(&home(folder.path()));
    let mut ask = |sql: &str| engine.ask(&store, sql);
    let rows =
        ask("select sae, layer, value > 0 active, [context] list from codes limit 1").unwrap();
    assert_eq!(rows, [[json!("1.mlp_out"), json!(1), json!(true), json!("[0]")]]);
    let runs = ask("select run, points, saes, units, done, tokens, created from runs").unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0][..3], [json!("store"), json!("1.resid_post"), json!("1.mlp_out")]);
    assert_eq!(runs[0][3..6], [json!(2), json!(2), json!(2 * 4 * 128)]);
    assert!(runs[0][6].as_str().unwrap().starts_with("20"));
    let nothing = ask("select feature from codes where feature < 0").unwrap();
    assert!(nothing.is_empty());

    let error = ask("select feature,\n valeu from codes").unwrap_err();
    assert!(error.contains("(line 2, column 2)\n   valeu from codes\n   ^"), "{error}");
    assert!(error.contains("codes(sae, layer, context, position, feature, value)"), "{error}");
    assert!(error.contains("\"l0.1.mlp_out\""), "{error}");
    let error = ask("select * from by_feature").unwrap_err();
    assert!(error.contains("eigenlens-engine by-feature"), "{error}");
    let error = ask("insert into codes select * from codes").unwrap_err();
    assert!(error.contains("does not change a store"), "{error}");
    let error = ask("create table mine as select 1").unwrap_err();
    assert!(error.contains("DDL"), "{error}");
    let error = ask("select a.* from tokens a, tokens b limit 1000001").unwrap_err();
    assert!(error.contains("more than 1000000 rows") && error.contains("COPY"), "{error}");
    let file = folder.path().join("copy.parquet");
    let copied = ask(&format!("copy (select * from codes) to '{}'", file.display())).unwrap();
    assert_eq!(copied, [[json!(2 * 4 * 128 * 16)]]);
    assert!(file.is_file());

    let error = engine.ask(folder.path(), "select 1").unwrap_err();
    assert!(error.contains("a store in"), "{error}");
    let error = engine.ask(&folder.path().join("none"), "select 1").unwrap_err();
    assert!(error.contains("there is no store in"), "{error}");
    engine.send(&json!({ "id": 99, "store": store }));
    let reply = engine.reply();
    assert_eq!(reply["id"], 99);
    assert!(reply["error"].as_str().unwrap().contains("`sql`"));
    engine.send(&Value::String("hello".to_owned()));
    assert!(engine.reply()["error"].as_str().unwrap().contains("not a request"));
    assert!(engine.close());
    assert_eq!(left_in(home(folder.path()).join("results")), [""; 0]);
}

#[test]
fn a_query_that_is_stopped_leaves_the_others_and_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = store::done(folder.path(), 2, 4);
    let mut engine = Engine::start(&home(folder.path()));
    engine.send(&json!({ "id": "long", "store": store, "sql": ENDLESS }));
    engine.send(&json!({ "id": "short", "store": store, "sql": "select 1" }));
    assert_eq!(engine.reply()["id"], "short", "queries do not wait for each other");
    // What interrupts a notebook's processes is no end of this one.
    let id = engine.id().to_string();
    let sent = std::process::Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.unwrap().success());
    engine.send(&json!({ "id": 0, "cancel": "none of these" }));
    engine.send(&json!({ "id": 0, "cancel": "long" }));
    let reply = engine.reply();
    assert_eq!((&reply["id"], &reply["error"]), (&json!("long"), &json!("the query was stopped")));
    assert_eq!(engine.ask(&store, "select count(*) from tokens").unwrap(), [[json!(1024)]]);
    // A query that runs when nobody listens any more ends with the process.
    engine.send(&json!({ "id": "last", "store": store, "sql": ENDLESS }));
    std::thread::sleep(Duration::from_millis(100));
    assert!(engine.close());
    let left = left_in(home(folder.path()).join("results"));
    assert!(left.iter().all(|name| !name.starts_with(".part-")), "{left:?}");
    assert_eq!(left_in(home(folder.path()).join("spill")), [""; 0]);
}

#[test]
fn a_query_beyond_its_memory_spills_or_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = store::done(folder.path(), 3, 8);
    let mut engine = Engine::start(&home(folder.path()));
    // A product of two tables, sorted, in less memory than it would take.
    let sorted = "select sum(r), count(*) from (select row_number() over (order by a.value, b.loss, \
                  a.context) r from codes a join tokens b on a.position = b.position)";
    let rows = engine.ask(&store, sorted).unwrap();
    let few = json!({ "memory": 40 << 20 });
    assert_eq!(
        engine.ask_with(&store, sorted, few.clone()).unwrap(),
        rows,
        "what spills is the same"
    );
    let plan = engine.ask_with(&store, &format!("explain analyze {sorted}"), few).unwrap();
    let spills = plan[0][1].as_str().unwrap().split("spill_count=").skip(1);
    assert!(spills.into_iter().any(|own| !own.starts_with('0')), "{plan:?}");
    let all = "select array_agg(value), array_agg(context) from codes";
    let error = engine.ask_with(&store, all, json!({ "memory": 100_000 })).unwrap_err();
    assert!(error.contains("needs more memory than it may take"), "{error}");
    assert_eq!(engine.ask(&store, "select count(*) from tokens").unwrap(), [[json!(3072)]]);
    assert!(engine.close());
}
