//! Which features are in the codes of a batch: on the host, on devices, and against sorting.

use candle_core::{Device, Tensor};

use super::{Widths, kinds};
use crate::random::Rng;
use crate::sae::fit::SaeOptions;
use crate::sae::fit::host::is_dense;
use crate::sae::fit::shape::FitShape;
use crate::sae::kind::Revival;
use crate::sae::kind::extras::ExtraWeights;
use crate::sae::kind::objective::{KindVisitor, Objective, Recipe};
use crate::sae::kind::rule::{CodeEntry, CodeRows, TrainingRule};
use crate::sae::kind::training::{ExtrasOf, Masks, SaeKind};

/// A number of weights with an entry per feature, enough for all kinds.
type Lists = Vec<Vec<f32>>;

fn named<K: SaeKind, T: Send + Sync>(
    kind: &K,
    lists: &Lists,
    make: impl Fn(&[f32]) -> T,
) -> ExtrasOf<K, T> {
    let mut lists = lists.iter();
    let zeros = kind.start(&vec![0.0; lists.as_slice()[0].len()]);
    K::Extras::map(zeros, |_| make(lists.next().unwrap()))
}

/// The codes and auxiliary codes of rows.
struct Chosen {
    main: CodeRows,
    auxiliary: Option<CodeRows>,
    smallest: Option<f32>,
}

/// Chooses the codes of `h`.
struct Choose<'a> {
    h: &'a [f32],
    m: usize,
    lists: &'a Lists,
    dead: &'a [u32],
}

impl KindVisitor for Choose<'_> {
    type Output = Chosen;

    fn visit<K: SaeKind>(self, kind: K) -> Chosen {
        let lists = named(&kind, self.lists, |own| own.to_vec());
        let prepared = K::prepare(&K::Extras::map(K::Extras::refs(&lists), |list| list.as_slice()));
        let rule = kind.rule(&prepared);
        let (mut main, mut auxiliary) = (CodeRows::new(), CodeRows::new());
        let smallest = rule.choose(self.h, self.m, &mut main);
        let chosen = rule.choose_auxiliary(self.h, self.m, self.dead, &mut auxiliary);
        Chosen { main, auxiliary: chosen.map(|_| auxiliary), smallest }
    }
}

/// Chooses the codes of `h` as masks on a device.
struct Mask<'a> {
    h: &'a Tensor,
    lists: &'a Lists,
    dead: &'a [u32],
}

impl KindVisitor for Mask<'_> {
    type Output = Masks;

    fn visit<K: SaeKind>(self, kind: K) -> Masks {
        let extras = named(&kind, self.lists, |own| Tensor::new(own, self.h.device()).unwrap());
        kind.masks(self.h, &extras, self.dead).unwrap()
    }
}

fn recipe(objective: Objective, k: usize) -> Recipe {
    Recipe { k, ..objective.into() }
}

fn assert_masks(options: &SaeOptions, device: &Device) {
    let recipe = options.recipe(8);
    let m = FitShape::new(options, &recipe, Widths { input: 8, output: 8 }).unwrap().m;
    let n = 40;
    let mut rng = Rng::seed(9);
    // Few different values: ties, and zeros of both signs.
    let mut some = |count: usize| -> Vec<f32> {
        (0..count).map(|_| (8.0 * (rng.unit() - 0.6)).round() / 4.0).collect()
    };
    let h = some(n * m);
    let lists = vec![some(m), some(m), some(m)];
    let there = Tensor::new(&*h, device).unwrap().reshape((n, m)).unwrap();
    for dead in [&[][..], &[3, 8, 9, 20, 31]] {
        let chosen = recipe.visit(Choose { h: &h, m, lists: &lists, dead });
        let masks = recipe.visit(Mask { h: &there, lists: &lists, dead });
        assert_mask(&masks.main, &chosen.main, options);
        assert_eq!(masks.auxiliary.is_some(), chosen.auxiliary.is_some(), "{options:?}");
        if let (Some(mask), Some(rows)) = (&masks.auxiliary, &chosen.auxiliary) {
            assert_mask(mask, rows, options);
        }
        assert_eq!(masks.smallest, chosen.smallest, "{options:?}");
    }
}

fn assert_mask(mask: &Tensor, rows: &CodeRows, options: &SaeOptions) {
    let jump_relu = matches!(
        options.objective,
        Objective::JumpRelu { .. }
            | Objective::JumpReluTanh { .. }
            | Objective::JumpReluTarget { .. }
    );
    for (mask, row) in mask.to_vec2::<f32>().unwrap().iter().zip(rows) {
        let mut expected = vec![0.0; mask.len()];
        // A value of zero stands for a threshold that is near.
        let entries = row.iter().filter(|entry| !jump_relu || entry.value != 0.0);
        entries.for_each(|entry| expected[entry.feature as usize] = 1.0);
        assert_eq!(mask, &expected, "{options:?}");
    }
}

#[test]
fn masks_are_the_codes_that_rows_have() {
    let auxiliary_k = Some(2);
    for options in kinds() {
        assert_masks(&SaeOptions { auxiliary_k, ..options }, &Device::Cpu);
    }
}

#[cfg(feature = "cuda")]
#[test]
fn masks_on_cuda_are_the_codes_that_rows_have() {
    let device = match Device::new_cuda(0) {
        Ok(device) => device,
        Err(reason) => return println!("skipped, there is no GPU: {reason}"),
    };
    kinds().iter().for_each(|options| assert_masks(options, &device));
}

#[test]
fn nothing_positive_has_no_smallest_and_nan_is_not_lost() {
    let recipe = recipe(Objective::BatchTopK, 1);
    let lists = vec![vec![0.0; 8]];
    let h = Tensor::full(-1f32, (2, 8), &Device::Cpu).unwrap();
    let masks = recipe.visit(Mask { h: &h, lists: &lists, dead: &[] });
    assert_eq!(masks.main.sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.0);
    assert_eq!(masks.smallest, None);
    let recipe = self::recipe(Objective::Standard { l1: 0.0 }, 1);
    let h = Tensor::new(&[[f32::NAN, -1.0, 0.0, -0.0]], &Device::Cpu).unwrap();
    let lists = vec![vec![0.0; 4]];
    let masks = recipe.visit(Mask { h: &h, lists: &lists, dead: &[] });
    assert_eq!(masks.main.to_vec2::<f32>().unwrap(), [[1.0, 0.0, 0.0, 0.0]]);
}

#[test]
fn the_largest_of_a_batch_are_those_of_a_sort() {
    let mut rng = Rng::seed(4);
    for (n, m, k, steps) in [(7, 24, 3, 1e6), (40, 50, 4, 20.0), (3, 5, 5, 2.0), (5, 8, 2, 1.0)] {
        // Few different values: ties.
        let h: Vec<f32> =
            (0..n * m).map(|_| (steps * (rng.unit() - 0.4)).floor() / steps).collect();
        let mut sorted: Vec<usize> = (0..n * m).filter(|at| h[*at] > 0.0).collect();
        sorted.sort_by(|a, b| h[*b].total_cmp(&h[*a]).then(a.cmp(b)));
        sorted.truncate(k * n);
        let lists = vec![vec![0.0; m]];
        let recipe = recipe(Objective::BatchTopK, k);
        let chosen = recipe.visit(Choose { h: &h, m, lists: &lists, dead: &[] });
        assert_eq!(chosen.smallest, sorted.last().map(|at| h[*at]));
        sorted.sort_unstable();
        let found = chosen.main.iter().enumerate().flat_map(|(row, entries)| {
            entries.iter().map(move |entry| row * m + entry.feature as usize)
        });
        assert_eq!(found.collect::<Vec<_>>(), sorted, "{k} of {n} × {m}");
    }
    let lists = vec![vec![0.0; 2]];
    let h = [f32::NAN, 1.0, 2.0, 0.5];
    let recipe = recipe(Objective::BatchTopK, 1);
    let rows = recipe.visit(Choose { h: &h, m: 2, lists: &lists, dead: &[] }).main;
    assert!(rows[0][0].h.is_nan() && rows[1][0].h == 2.0);
}

/// Whether codes are handled as a matrix.
struct IsDense<'a> {
    h: &'a [f32],
    lists: &'a Lists,
}

impl KindVisitor for IsDense<'_> {
    type Output = bool;

    fn visit<K: SaeKind>(self, kind: K) -> bool {
        let lists = named(&kind, self.lists, |own| own.to_vec());
        let prepared = K::prepare(&K::Extras::map(K::Extras::refs(&lists), |list| list.as_slice()));
        let rule = kind.rule(&prepared);
        rule.each().is_some_and(|each| is_dense(each, self.h, 80))
    }
}

#[test]
fn codes_are_dense_from_some_share_of_the_features_on() {
    let h = |open: usize| -> Vec<f32> {
        (0..20 * 80).map(|at| if at % 80 < open { 1.0 } else { -1.0 }).collect()
    };
    let all = |value: f32| vec![value; 80];
    let jump_relu = Objective::JumpRelu { l0: 0.0, bandwidth: 0.1, threshold: 1.0 };
    let gate = vec![all(-0.5), all(0.0), all(-2.0)];
    let dense = |objective: &Objective, lists: &Lists, open: usize| {
        recipe(objective.clone(), 40).visit(IsDense { h: &h(open), lists })
    };
    for (objective, lists, most) in [
        (Objective::Standard { l1: 0.0 }, vec![all(0.0)], 10),
        (jump_relu.clone(), vec![all(0.5f32.ln())], 10),
        (Objective::Gated { l1: 0.0 }, gate, 5),
    ] {
        let found = [most, most + 1].map(|open| dense(&objective, &lists, open));
        assert_eq!(found, [false, true], "{objective:?}");
    }
    assert!(!dense(&jump_relu, &vec![all(1.5f32.ln())], 80));
    assert!(!dense(&Objective::BatchTopK, &vec![all(0.0)], 80));
}

#[test]
fn dead_features_are_chosen_among_themselves() {
    let h = [9.0, 1.0, -3.0, 2.0, 9.0, -1.0, -3.0, -2.0];
    let lists = vec![vec![0.0; 4]];
    let chosen = |objective: Objective, relu: bool| -> Vec<Vec<u32>> {
        let revival = Revival { weight: 1.0, k: 1 };
        let recipe = Recipe { objective, k: 1, relu, revival };
        let chosen = recipe.visit(Choose { h: &h, m: 4, lists: &lists, dead: &[1, 2, 3] });
        let features = |row: &Vec<_>| row.iter().map(|entry: &CodeEntry| entry.feature).collect();
        chosen.auxiliary.unwrap().iter().map(features).collect()
    };
    assert_eq!(chosen(Objective::TopK, true), [vec![3], vec![]]);
    assert_eq!(chosen(Objective::TopK, false), [vec![3], vec![1]]);
    assert_eq!(chosen(Objective::AbsTopK, true), [vec![2], vec![2]]);
}
