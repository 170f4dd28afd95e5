use std::collections::BTreeMap;

use super::*;
use crate::testing::{Row, cells, context_over, failure, rows};

/// The best rows of each feature by definition: all sorted.
fn by_sorting(rows: &[Row], k: usize) -> BTreeMap<i64, Vec<(f32, i64, i64)>> {
    let mut best: BTreeMap<i64, Vec<(f32, i64, i64)>> = BTreeMap::new();
    for row in rows {
        let group = best.entry(row.feature).or_default();
        if let Some(value) = row.value.filter(|value| !value.is_nan()) {
            group.push((value, row.context, row.position));
        }
    }
    for group in best.values_mut() {
        group.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then((a.1, a.2).cmp(&(b.1, b.2))));
        group.truncate(k);
    }
    best
}

/// The number that a value was before it was text.
fn single(value: &serde_json::Value) -> f32 {
    value.as_f64().unwrap() as f32
}

#[tokio::test]
async fn it_is_what_sorting_finds_over_any_partitions() {
    // Few different values, so that ties decide; NULL and NaN among them.
    let rows = rows(20_000, 37, 11);
    for (partitions, batch, k) in [(1, 20_000, 3), (2, 64, 1), (3, 100, 20), (7, 17, 1000)] {
        let context = context_over(&rows, partitions, batch);
        let sql = format!(
            "select feature, top(value, context, position, {k}) from codes group by feature"
        );
        let found = cells(&context, &sql).await;
        let expected = by_sorting(&rows, k);
        assert_eq!(found.len(), expected.len());
        for row in found {
            let best: Vec<(f32, i64, i64)> = row[1]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| {
                    let number = |name: &str| entry[name].as_i64().unwrap();
                    (single(&entry["value"]), number("context"), number("position"))
                })
                .collect();
            assert_eq!(best, expected[&row[0].as_i64().unwrap()], "{partitions} partitions, k {k}");
        }
    }
}

#[tokio::test]
async fn it_works_without_groups_over_windows_and_with_filters() {
    let rows = rows(500, 5, 3);
    let context = context_over(&rows, 3, 10);
    let one = |sql: &'static str| {
        let context = context.clone();
        async move { cells(&context, sql).await.remove(0).remove(0) }
    };
    let all = one("select top(value, context, position, 2) from codes").await;
    let best = one("select max(value) from codes where not isnan(value)").await;
    assert_eq!((all.as_array().unwrap().len(), single(&all[0]["value"])), (2, single(&best)));
    let some = one("select top(value, context, position, 9) filter (where context < 2) from codes");
    let subset = one("select top(value, context, position, 9) from codes where context < 2").await;
    assert_eq!(some.await, subset);
    let none = one("select top(value, context, position, 9) from codes where context < 0").await;
    assert_eq!(none, serde_json::json!([]));
    let growing = cells(
        &context,
        "select top(value, context, position, 100) over (order by context, position) from codes \
         where feature = 1 and not isnan(value) order by context, position",
    )
    .await;
    for (row, seen) in growing.iter().enumerate() {
        assert_eq!(
            seen[0].as_array().unwrap().len(),
            (row + 1).min(100),
            "a window keeps what it has"
        );
    }
}

#[tokio::test]
async fn a_wrong_fourth_argument_is_named() {
    let context = context_over(&rows(10, 2, 3), 1, 10);
    for k in ["0", "-1", "feature", "20000", "null"] {
        let sql = format!("select top(value, context, position, {k}) from codes group by feature");
        let error = failure(&context, &sql).await;
        assert!(error.contains("whole number from 1 to 10000"), "{k}: {error}");
    }
    let error = failure(&context, "select top(value, 3) from codes").await;
    assert!(error.contains("takes numbers, found (Float32, Int64)"), "{error}");
    let error =
        failure(&context, "select top(distinct value, context, position, 3) from codes").await;
    assert!(error.contains("does not take DISTINCT"), "{error}");
}

#[test]
fn groups_are_emitted_from_the_front() {
    let columns: [ArrayRef; 3] = [
        Arc::new(Float64Array::from(vec![1.0, 2.0, f64::INFINITY, -0.0, 0.0])),
        Arc::new(Int64Array::from(vec![0, 1, 2, 9, 4])),
        Arc::new(Int64Array::from(vec![0; 5])),
    ];
    let mut best = Best::new(1);
    best.update_batch(&columns, &[0, 0, 1, 2, 2], None, 3).unwrap();
    let full = best.size();
    let contexts = |array: &ArrayRef| {
        let lists = array.as_list::<i32>();
        lists.values().as_struct().column(1).as_primitive::<Int64Type>().values().to_vec()
    };
    assert_eq!(contexts(&best.evaluate(EmitTo::First(1)).unwrap()), [1]);
    // What was group 1 is group 0 now.
    best.update_batch(&columns, &[1, 0, 1, 1, 1], None, 2).unwrap();
    assert_eq!(contexts(&best.evaluate(EmitTo::First(1)).unwrap()), [2]);
    assert_eq!(contexts(&best.evaluate(EmitTo::All).unwrap()), [2]);
    best.update_batch(&columns, &[0, 0, 0, 1, 1], None, 2).unwrap();
    // The two zeros are equal, so the earlier context is first.
    assert_eq!(contexts(&best.evaluate(EmitTo::All).unwrap()), [2, 4]);
    assert!(best.size() < full && best.groups.is_empty());
}

#[test]
fn rows_as_states_merge_to_the_same() {
    let columns: [ArrayRef; 3] = [
        Arc::new(Float64Array::from(vec![Some(1.0), None, Some(f64::NAN), Some(3.0), Some(2.0)])),
        Arc::new(Int64Array::from(vec![0, 1, 2, 3, 4])),
        Arc::new(Int64Array::from(vec![0; 5])),
    ];
    let groups = [0, 0, 0, 1, 0];
    let filter = BooleanArray::from(vec![true, true, true, false, true]);
    let mut direct = Best::new(2);
    direct.update_batch(&columns, &groups, Some(&filter), 2).unwrap();
    let mut merged = Best::new(2);
    let states = merged.convert_to_state(&columns, Some(&filter)).unwrap();
    merged.merge_batch(&states, &groups, 2).unwrap();
    let (direct, merged) = (direct.take(EmitTo::All), merged.take(EmitTo::All));
    assert_eq!(&direct, &merged);
    assert_eq!(direct.as_list::<i32>().value_length(0), 2);
    assert_eq!(direct.as_list::<i32>().value_length(1), 0);
}
