use std::collections::BTreeMap;

use super::*;
use crate::testing::{cells, context_over, failure, rows};

/// The house's histogram of what it counts, by its definition: bins once the range is known.
fn by_definition(values: &[f32]) -> (f64, Vec<i64>) {
    let counted: Vec<f32> =
        values.iter().copied().filter(|value| *value > 0.0 && value.is_finite()).collect();
    let mut edge = FIRST_EDGE;
    while counted.iter().any(|value| f64::from(*value) >= edge) {
        edge *= 2.0;
    }
    let mut counts = vec![0; BINS];
    for value in counted {
        counts[(f64::from(value) / edge * BINS as f64) as usize] += 1;
    }
    (edge, counts)
}

#[tokio::test]
async fn it_counts_as_the_definition_over_any_partitions() {
    let rows = rows(20_000, 23, 997);
    let mut values: BTreeMap<i64, Vec<f32>> = BTreeMap::new();
    for row in &rows {
        values.entry(row.feature).or_default().extend(row.value);
    }
    for (partitions, batch) in [(1, 20_000), (3, 64), (7, 11)] {
        let context = context_over(&rows, partitions, batch);
        let sql = "select feature, histogram(value) from codes group by feature";
        let found = cells(&context, sql).await;
        assert_eq!(found.len(), values.len());
        for row in found {
            let (edge, counts) = by_definition(&values[&row[0].as_i64().unwrap()]);
            let expected = serde_json::json!({ "edge": edge, "counts": counts });
            assert_eq!(row[1], expected, "{partitions} partitions");
        }
    }
}

#[tokio::test]
async fn nothing_counts_as_zeros() {
    let context = context_over(&rows(100, 3, 5), 2, 10);
    let empty = serde_json::json!({ "edge": FIRST_EDGE, "counts": vec![0; BINS] });
    let found = cells(&context, "select histogram(value) from codes where context < 0").await;
    assert_eq!(found[0][0], empty);
    let found = cells(&context, "select histogram(-abs(value)) from codes").await;
    assert_eq!(found[0][0], empty);
    let error = failure(&context, "select histogram('a') from codes").await;
    assert!(error.contains("histogram(value) takes numbers"), "{error}");
}

#[test]
fn the_largest_and_smallest_numbers_have_a_bin() {
    let values: Vec<f64> = [f32::MAX, f32::MIN_POSITIVE, 1e-45].map(f64::from).to_vec();
    let outside = [1e39, f64::INFINITY, f64::NAN, -1.0, 0.0];
    let values = Float64Array::from([values, outside.to_vec()].concat());
    let mut all = Counts::default();
    all.update_batch(&[Arc::new(values) as ArrayRef], &[0; 8], None, 1).unwrap();
    assert_eq!(all.0[0].edge, 2f64.powi(128));
    assert_eq!((all.0[0].counts[0], all.0[0].counts[31]), (2, 1));
}

#[test]
fn rows_as_states_merge_to_the_same() {
    let values: ArrayRef =
        Arc::new(Float64Array::from(vec![Some(0.3), None, Some(9.0), Some(0.001)]));
    let filter = BooleanArray::from(vec![Some(true), Some(true), Some(true), None]);
    let mut direct = Counts::default();
    direct.update_batch(std::slice::from_ref(&values), &[0, 1, 0, 0], Some(&filter), 2).unwrap();
    let states = direct.convert_to_state(&[values], Some(&filter)).unwrap();
    let mut merged = Counts::default();
    merged.merge_batch(&states, &[0, 1, 0, 0], 2).unwrap();
    assert_eq!(&direct.evaluate(EmitTo::All).unwrap(), &merged.evaluate(EmitTo::All).unwrap());
    assert!(direct.0.is_empty());
}
