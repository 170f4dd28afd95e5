//! Whether the order of activations is uniformly random.

use std::sync::Arc;

use candle_core::DType;

use super::super::piles::pile;
use super::super::shard::{Layout, Shard};
use super::super::shuffled::{Shards, ShardsOfPoint, ShuffledRows};

/// Shards of rows that are their own numbers, `per_shard` in each.
fn numbered(
    folder: &std::path::Path,
    rows: usize,
    per_shard: usize,
    piles: usize,
    seed: u64,
) -> Shards {
    let shards = (0..rows).step_by(per_shard).map(|first| {
        let layout =
            Layout::new(per_shard, piles, |row| Some(pile(seed, (first + row) as u64, piles)));
        let mut numbers = vec![0u32; per_shard];
        for (row, place) in layout.places().iter().enumerate() {
            numbers[place.unwrap() as usize] = (first + row) as u32;
        }
        let name = first.to_string();
        std::fs::write(folder.join(&name), bytemuck::cast_slice::<u32, u8>(&numbers)).unwrap();
        Shard::of_rows(folder, &name, 4, layout.piles)
    });
    let points = vec![ShardsOfPoint { width: 1, shards: shards.collect() }];
    Shards { points, dtype: DType::F32, piles }
}

fn order(shards: Shards, seed: u64, memory: usize, first: u64, count: usize) -> Vec<u32> {
    let mut rows = ShuffledRows::new(Arc::new(shards), seed, memory, first).unwrap();
    let mut found = vec![0; count];
    rows.next_rows(count, |_, at, bytes| found[at] = u32::from_le_bytes(bytes.try_into().unwrap()))
        .unwrap();
    found
}

#[test]
fn every_row_is_at_every_place_equally_often() {
    const ROWS: usize = 64;
    const SEEDS: u64 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let mut counts = vec![0f64; ROWS * ROWS];
    for seed in 0..SEEDS {
        let shards = numbered(folder.path(), ROWS, ROWS, 3, seed);
        for (place, row) in order(shards, seed, 1 << 10, 0, ROWS).into_iter().enumerate() {
            counts[row as usize * ROWS + place] += 1.0;
        }
    }
    let expected = SEEDS as f64 / ROWS as f64;
    let chi_squared: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
    // Sums over rows and over places are given, so 63² are free; a standard deviation is √(2 · 63²).
    let free = (ROWS as f64 - 1.0).powi(2);
    assert!((chi_squared - free).abs() < 5.0 * (2.0 * free).sqrt(), "{chi_squared} of {free}");
}

#[test]
fn neighbours_in_the_text_are_no_neighbours_in_the_order() {
    let (rows, length) = (100_000, 100);
    let folder = tempfile::tempdir().unwrap();
    let shards = numbered(folder.path(), rows, 10_000, 7, 1);
    let order = order(shards, 2, 1 << 20, 0, rows);
    let of_one_context =
        order.windows(2).filter(|pair| pair[0] / length == pair[1] / length).count();
    // Poisson with mean (length - 1) · rows / rows.
    assert!(of_one_context.abs_diff(99) < 50, "{of_one_context}");
    let mut sorted = order;
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..rows as u32), "each comes once");
}

#[test]
fn the_order_goes_on_from_any_row_and_is_new_in_each_pass() {
    let folder = tempfile::tempdir().unwrap();
    let shards = || numbered(folder.path(), 60, 20, 4, 3);
    let memory = shards().least_memory();
    let all = order(shards(), 5, memory, 0, 180);
    for first in [0, 1, 17, 59, 60, 61, 100, 119, 120, 179] {
        assert_eq!(order(shards(), 5, memory, first as u64, 180 - first), all[first..], "{first}");
    }
    let passes: Vec<&[u32]> = all.chunks(60).collect();
    assert!(passes[0] != passes[1] && passes[1] != passes[2] && passes[0] != passes[2]);
    for pass in passes {
        let mut pass = pass.to_vec();
        pass.sort_unstable();
        assert!(pass.into_iter().eq(0..60));
    }
    let error = ShuffledRows::new(Arc::new(shards()), 0, memory - 1, 0).unwrap_err().to_string();
    assert!(error.contains("`memory`") && error.contains(&memory.to_string()), "{error}");
}
