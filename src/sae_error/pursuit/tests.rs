use candle_core::{DType, Device, Tensor};

use super::code::{StepMove, add_four, in_fours};
use super::*;
use crate::linalg::lstsq;
use crate::random::Rng;
use crate::sae::{Architecture, Normalization, SaeWeights};

const D: usize = 24;
const N: usize = 64;

fn normal(seed: u64, rows: usize, columns: usize) -> Tensor {
    Rng::seed(seed).normal((rows, columns), &Device::Cpu).unwrap()
}

fn wide(tensor: &Tensor) -> Vec<Vec<f64>> {
    tensor.to_dtype(DType::F64).unwrap().to_vec2().unwrap()
}

/// Codes of rows `x` by each of the two ways.
fn both(pursuit: &Pursuit, dictionary: &Tensor, x: &Tensor) -> [Vec<Vec<(u32, f32)>>; 2] {
    [Products::Kept, Products::Tiled].map(|products| {
        let codes = pursuit.pursue(dictionary, None, x, Some(products)).unwrap();
        let sorted = |code: &PursuitCode| {
            let mut entries: Vec<_> = code.entries().collect();
            entries.sort_by_key(|(feature, _)| *feature);
            entries
        };
        codes.iter().map(sorted).collect()
    })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn rest(dictionary: &[Vec<f64>], x: &[f64], code: &[(u32, f32)]) -> Vec<f64> {
    let mut rest = x.to_vec();
    for (feature, weight) in code {
        let atom = &dictionary[*feature as usize];
        rest.iter_mut().zip(atom).for_each(|(rest, d)| *rest -= f64::from(*weight) * d);
    }
    rest
}

#[test]
fn moves_of_any_number_are_added_to_states_of_any_length() {
    let (vectors, start) = (wide(&normal(21, 11, 83)), wide(&normal(22, 1, 83)));
    let narrow: Vec<Vec<f32>> =
        vectors.iter().map(|row| row.iter().map(|x| *x as f32).collect()).collect();
    for (length, count) in [(1, 1), (7, 4), (8, 5), (9, 8), (64, 9), (83, 11), (83, 0)] {
        let moves: Vec<StepMove> = (0..count).map(|at| (at, 0.5 - at as f32)).collect();
        let mut state: Vec<f32> = start[0][..length].iter().map(|x| *x as f32).collect();
        let (fours, last) = in_fours(&moves);
        let mut largest = f32::NEG_INFINITY;
        for four in fours.iter().chain(&last) {
            let vectors = four.map(|(at, _)| &narrow[at as usize][..]);
            largest = f32::NEG_INFINITY;
            add_four(&mut state, four.map(|own| own.1), vectors, |sums| {
                largest = sums.into_iter().fold(largest, f32::max);
            });
        }
        for (at, found) in state.iter().enumerate() {
            let more = moves.iter().map(|(row, by)| f64::from(*by) * vectors[*row as usize][at]);
            let expected = start[0][at] + more.sum::<f64>();
            assert!((f64::from(*found) - expected).abs() < 1e-4, "{length} {count}");
        }
        let most = state.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert!(count == 0 || largest == most, "{length} {count}: {largest} {most}");
    }
}

/// The formula of gradient pursuit with all weights, in f64.
fn directly(dictionary: &[Vec<f64>], x: &[f64], steps: usize, signed: bool) -> Vec<f64> {
    let mut weights = vec![0.0; dictionary.len()];
    for _ in 0..steps {
        let mut left = x.to_vec();
        for (weight, atom) in weights.iter().zip(dictionary) {
            left.iter_mut().zip(atom).for_each(|(left, d)| *left -= weight * d);
        }
        let gradient: Vec<f64> = dictionary.iter().map(|atom| dot(atom, &left)).collect();
        let key = |i: usize| if signed { gradient[i].abs() } else { gradient[i] };
        let next = (0..weights.len()).max_by(|a, b| key(*a).total_cmp(&key(*b))).unwrap();
        let own = |i: usize| if weights[i] != 0.0 || i == next { gradient[i] } else { 0.0 };
        let own: Vec<f64> = (0..weights.len()).map(own).collect();
        let mut c = vec![0.0; x.len()];
        for (g, atom) in own.iter().zip(dictionary) {
            c.iter_mut().zip(atom).for_each(|(c, d)| *c += g * d);
        }
        let far = dot(&c, &left) / dot(&c, &c);
        for (weight, g) in weights.iter_mut().zip(&own) {
            *weight += far * g;
            *weight = if signed { *weight } else { weight.max(0.0) };
        }
    }
    weights
}

#[test]
fn both_ways_are_the_formula_with_all_weights_past_a_refresh() {
    // Rows of lengths from a quarter to two.
    let lengths = (0..N).map(|i| 0.25f32 * (1 + i % 8) as f32).collect::<Vec<_>>();
    let lengths = Tensor::from_vec(lengths, (N, 1), &Device::Cpu).unwrap();
    let dictionary = unit_rows(&normal(1, N, D)).unwrap().broadcast_mul(&lengths).unwrap();
    let x = normal(2, 70, D);
    let (atoms, rows) = (wide(&dictionary), wide(&x));
    for (signed, steps) in [(false, 5), (true, 5), (false, 20), (true, 20)] {
        let pursuit = Pursuit { signed, ..Pursuit::new(PursuitMethod::Gradient, steps) };
        for found in both(&pursuit, &dictionary, &x) {
            for (row, code) in rows.iter().zip(found) {
                let expected = directly(&atoms, row, steps, signed);
                let support: Vec<u32> =
                    (0..N as u32).filter(|i| expected[*i as usize] != 0.0).collect();
                assert_eq!(code.iter().map(|own| own.0).collect::<Vec<_>>(), support);
                for (feature, weight) in code {
                    let gap = (f64::from(weight) - expected[feature as usize]).abs();
                    assert!(gap < 1e-4, "{signed} {steps} {feature}: {gap}");
                }
            }
        }
    }
}

#[test]
fn what_is_left_never_grows_with_steps_unless_weights_are_clipped() {
    let (dictionary, x) = (unit_rows(&normal(3, N, D)).unwrap(), normal(4, 20, D));
    let (atoms, rows) = (wide(&dictionary), wide(&x));
    for (method, signed) in [
        (PursuitMethod::Gradient, true),
        (PursuitMethod::Orthogonal, true),
        (PursuitMethod::Orthogonal, false),
    ] {
        let mut before = vec![f64::INFINITY; rows.len()];
        for steps in 0..24 {
            let pursuit = Pursuit { signed, ..Pursuit::new(method, steps) };
            let [kept, tiled] = both(&pursuit, &dictionary, &x);
            for (i, row) in rows.iter().enumerate() {
                let left = rest(&atoms, row, &kept[i]);
                let square = dot(&left, &left);
                assert!(square <= before[i] * (1.0 + 1e-6) + 1e-6, "{method:?} {steps}");
                let other = rest(&atoms, row, &tiled[i]);
                assert!((dot(&other, &other) - square).abs() < 1e-4 * (1.0 + square));
                before[i] = square;
            }
        }
    }
}

#[test]
fn one_step_on_unit_rows_is_matching_pursuit() {
    let (dictionary, x) = (unit_rows(&normal(5, N, D)).unwrap(), normal(6, 40, D));
    let gradients = wide(&x.matmul(&dictionary.t().unwrap()).unwrap());
    for method in [PursuitMethod::Gradient, PursuitMethod::Orthogonal] {
        for found in both(&Pursuit::new(method, 1), &dictionary, &x) {
            for (code, gradient) in found.iter().zip(&gradients) {
                let [(feature, weight)] = code[..] else { panic!("{code:?}") };
                let most = gradient.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                assert_eq!(gradient[feature as usize], most);
                assert!((f64::from(weight) - most).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn rows_of_zeros_and_rows_without_steps_have_empty_codes() {
    let dictionary = normal(7, N, D);
    let zeros = Tensor::zeros((1, D), DType::F32, &Device::Cpu).unwrap();
    let x = Tensor::cat(&[&normal(8, 2, D), &zeros], 0).unwrap();
    for method in [PursuitMethod::Gradient, PursuitMethod::Orthogonal] {
        let steps = PursuitSteps::Each(vec![0, 3, 3]);
        let pursuit = Pursuit { steps, ..Pursuit::new(method, 0) };
        for found in both(&pursuit, &dictionary, &x) {
            assert!(found[0].is_empty() && found[2].is_empty() && !found[1].is_empty());
            // A row's code does not depend on its neighbours.
            let alone = both(&Pursuit::new(method, 3), &dictionary, &x.narrow(0, 1, 1).unwrap());
            let gap = |(a, b): (&(u32, f32), &(u32, f32))| (a.1 - b.1).abs();
            assert_eq!(alone[0][0].len(), found[1].len());
            assert!(alone[0][0].iter().zip(&found[1]).map(gap).all(|gap| gap < 1e-5));
        }
    }
}

#[test]
fn signed_codes_of_features_at_right_angles_come_back() {
    let identity = Tensor::eye(D, DType::F32, &Device::Cpu).unwrap();
    let expected = [(2, -3.0), (5, 1.5), (20, -0.25)];
    let x = Codes::new(D, [expected.to_vec()]).unwrap().to_dense(&Device::Cpu).unwrap();
    for method in [PursuitMethod::Gradient, PursuitMethod::Orthogonal] {
        let signed = Pursuit { signed: true, ..Pursuit::new(method, 3) };
        for found in both(&signed, &identity, &x) {
            assert_eq!(found[0].iter().map(|own| own.0).collect::<Vec<_>>(), [2, 5, 20]);
            let gap = |(a, b): (&(u32, f32), (u32, f32))| (a.1 - b.1).abs();
            assert!(found[0].iter().zip(expected).map(gap).all(|gap| gap < 1e-6), "{found:?}");
        }
        let plain = both(&Pursuit::new(method, 3), &identity, &x);
        assert!(plain.iter().all(|found| found[0].len() == 1 && found[0][0].0 == 5), "{plain:?}");
    }
}

#[test]
fn orthogonal_weights_are_the_least_squares_of_their_features() {
    let (dictionary, x) = (unit_rows(&normal(9, N, D)).unwrap(), normal(10, 30, D));
    let (atoms, rows) = (wide(&dictionary), wide(&x));
    for signed in [true, false] {
        let own = Pursuit { signed, ..Pursuit::new(PursuitMethod::Orthogonal, 8) };
        let other = Pursuit { signed, ..Pursuit::new(PursuitMethod::Gradient, 8) };
        let gradient = both(&other, &dictionary, &x);
        for found in both(&own, &dictionary, &x) {
            let (mut smaller, mut larger) = (0.0, 0.0);
            for (i, (row, code)) in rows.iter().zip(&found).enumerate() {
                let picked: Vec<f64> =
                    code.iter().flat_map(|own| atoms[own.0 as usize].clone()).collect();
                let columns = Tensor::from_vec(picked, (code.len(), D), &Device::Cpu).unwrap();
                let right = Tensor::from_vec(row.clone(), (D, 1), &Device::Cpu).unwrap();
                let expected = wide(&lstsq(&columns.t().unwrap(), &right).unwrap());
                for ((_, weight), expected) in code.iter().zip(expected) {
                    assert!((f64::from(*weight) - expected[0]).abs() < 1e-4);
                    assert!(signed || *weight > 0.0);
                }
                let left = |code| rest(&atoms, row, code);
                smaller += dot(&left(code), &left(code));
                larger += dot(&left(&gradient[0][i]), &left(&gradient[0][i]));
            }
            assert!(smaller < larger, "{signed}: {smaller} {larger}");
        }
    }
}

#[test]
fn codes_have_as_many_entries_as_asked_for_where_clipping_removes_some() {
    let (dictionary, x) = (unit_rows(&normal(11, N, D)).unwrap(), normal(12, 60, D));
    let by_steps = Pursuit::new(PursuitMethod::Gradient, 10);
    let by_support = Pursuit { until_support: true, ..by_steps.clone() };
    let short = |codes: &[Vec<(u32, f32)>]| codes.iter().filter(|code| code.len() < 10).count();
    let [steps, support] = [&by_steps, &by_support].map(|own| both(own, &dictionary, &x));
    for (steps, support) in steps.iter().zip(&support) {
        assert!(short(steps) > 0 && short(support) < short(steps));
        assert!(support.iter().all(|code| code.len() <= 10));
    }
}

#[test]
fn codes_do_not_depend_on_the_number_of_threads() {
    let (dictionary, x) = (normal(13, N, D), normal(14, 150, D));
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for method in [PursuitMethod::Gradient, PursuitMethod::Orthogonal] {
        let pursuit = Pursuit::new(method, 18);
        let codes = || both(&pursuit, &dictionary, &x);
        assert_eq!(alone.install(codes), codes());
    }
}

#[test]
fn tasks_have_fewer_rows_where_supports_are_large() {
    // k features have k (k + 1)/2 products of four bytes, of which 16 MiB are kept.
    assert_eq!(rows_per_task(128, 0), 128);
    assert_eq!(rows_per_task(128, 255), 128);
    assert_eq!(rows_per_task(128, 1_024), 7);
    assert_eq!(rows_per_task(64, 1 << 20), 1);
    assert_eq!(rows_per_task(64, usize::MAX), 1);
}

#[test]
fn codes_of_an_autoencoder_decode_to_its_input_whatever_its_normalisation() {
    let x = (normal(15, 9, D) + 0.5).unwrap();
    let weights = SaeWeights::new(
        normal(16, N, D),
        (normal(17, D, N) * 0.5).unwrap(),
        normal(18, 1, D).flatten_all().unwrap(),
    );
    let kinds = [
        (Normalization::None, Rescale::None),
        (Normalization::None, Rescale::Kept),
        (Normalization::None, Rescale::Undone),
        (Normalization::Scale(3.0), Rescale::None),
        (Normalization::LayerNorm, Rescale::None),
        (Normalization::UnitNorm, Rescale::None),
        (Normalization::Centre, Rescale::Kept),
    ];
    for (normalization, rescale) in kinds {
        let architecture = Architecture { normalization, rescale, ..Architecture::standard() };
        let sae = Sae::new(architecture, weights.clone()).unwrap();
        // As many features as dimensions leave nothing.
        let pursuit = Pursuit { signed: true, ..Pursuit::new(PursuitMethod::Orthogonal, D) };
        let decoded = sae.decode(&pursuit.encode(&sae, &x).unwrap()).unwrap();
        let gap = (decoded - &x).unwrap().abs().unwrap().max_all().unwrap();
        let gap: f32 = gap.to_scalar().unwrap();
        assert!(gap < 2e-3, "{normalization:?} {rescale:?}: {gap}");
    }
    let transcoder = Architecture { transcoder: true, centred: false, ..Architecture::standard() };
    let sae = Sae::new(transcoder, weights).unwrap();
    let error = Pursuit::new(PursuitMethod::Gradient, 3).encode(&sae, &x).unwrap_err().to_string();
    assert!(error.contains("writes where it reads"), "{error}");
}

#[test]
fn what_does_not_fit_is_named() {
    let (dictionary, x) = (normal(19, N, D), normal(20, 4, D));
    let own = Pursuit::new(PursuitMethod::Gradient, 2);
    let text = |result: Result<Codes>| result.unwrap_err().to_string();
    let flat = x.flatten_all().unwrap();
    assert!(text(own.encode_with(&flat, None, &x)).contains("[features, d]"));
    assert!(text(own.encode_with(&dictionary, None, &flat)).contains("[rows, 24]"));
    assert!(text(own.encode_with(&dictionary, Some(&x), &x)).contains("`bias`"));
    let nan = (&x / 0.0).unwrap();
    assert!(text(own.encode_with(&dictionary, None, &nan)).contains("NaN"));
    let steps = PursuitSteps::Each(vec![1; 3]);
    let each = Pursuit { steps, ..own };
    assert!(text(each.encode_with(&dictionary, None, &x)).contains("one a row"));
}
