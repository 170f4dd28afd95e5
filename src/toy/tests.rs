//! What the pieces do together, against closed forms and automatic differentiation.

use candle_core::{D, DType, Device, Tensor};

use super::*;
use crate::progress::OnStop;
use crate::random::Rng;
use crate::sae::Codes;
use crate::train::tests::assert_resumes;

const CPU: &Device = &Device::Cpu;

fn world(features: usize, dims: usize, active: f64) -> Superposition {
    Superposition::new(SuperpositionConfig::new(features, dims, active), 0).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn directions_lie_on_the_sphere_and_the_gaussian_points_along_them() {
    let world = world(7, 3, 1.5);
    for (direction, gaussian) in world
        .truth()
        .to_vec2::<f32>()
        .unwrap()
        .iter()
        .zip(world.gaussian().to_vec2::<f32>().unwrap())
    {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        assert!((dot(direction, direction) - 1.0).abs() < 1e-6);
        let length = dot(&gaussian, &gaussian).sqrt();
        assert!((dot(direction, &gaussian) - length).abs() < 1e-5);
    }
}

#[test]
fn features_are_as_frequent_as_asked_and_coefficients_as_strong() {
    for (active, decay, correlated) in [(1.5, 0.8, true), (4.0, 1.0, false), (9.5, 0.7, true)] {
        let config = SuperpositionConfig {
            decay,
            correlated,
            strength: (0.5, 2.0),
            ..SuperpositionConfig::new(10, 4, active)
        };
        let world = Superposition::new(config, 3).unwrap();
        let expected = world.frequencies();
        assert!((expected.iter().sum::<f64>() - active).abs() < 1e-5, "{expected:?}");
        if active < 2.0 {
            // Nothing is cut off at 1 here, so the frequencies fall exactly.
            assert!((expected[4] / expected[3] - decay).abs() < 1e-6);
        }
        let samples = world.sample(40_000, 5).unwrap();
        for (found, expected) in samples.frequencies().iter().zip(&expected) {
            let error = (expected * (1.0 - expected) / 40_000.0).sqrt();
            assert!((found - expected).abs() < 5.0 * error, "{found} {expected}");
        }
        let codes = samples.codes();
        let values = (0..codes.rows()).flat_map(|row| codes.row(row).map(|(_, c)| f64::from(c)));
        let (low, high, sum) =
            values.fold((9.0f64, 0.0f64, 0.0), |(l, h, s), v| (l.min(v), h.max(v), s + v));
        assert!(low >= 0.5 && high <= 2.0 && high > 1.99);
        assert!((sum / codes.entries() as f64 - 1.25).abs() < 0.01);
    }
}

#[test]
fn features_that_correlate_are_active_together_more_often() {
    let world = Superposition::new(
        SuperpositionConfig { decay: 1.0, ..SuperpositionConfig::new(5, 3, 1.0) },
        1,
    );
    let world = world.unwrap();
    let r: Vec<Vec<f32>> = world.correlation().unwrap().to_vec2().unwrap();
    let dense = world.sample(60_000, 2).unwrap().codes().to_dense(CPU).unwrap();
    let on = dense.gt(0.0).unwrap().to_dtype(DType::F64).unwrap();
    let pairs = (on.t().unwrap().matmul(&on).unwrap() / 60_000.0).unwrap();
    let pairs: Vec<Vec<f64>> = pairs.to_vec2().unwrap();
    let mut seen = 0;
    for i in 0..5 {
        for j in 0..i {
            let excess = pairs[i][j] - pairs[i][i] * pairs[j][j];
            if r[i][j].abs() > 0.25 {
                assert_eq!(excess > 0.0, r[i][j] > 0.0, "{i}, {j}: {excess} {}", r[i][j]);
                seen += 1;
            }
        }
    }
    assert!(seen > 1);
}

#[test]
fn samples_are_the_sums_they_say_and_repeat_with_the_seed() {
    let world = world(9, 4, 2.0);
    let samples = world.sample(5_000, 7).unwrap();
    let sums = samples.codes().to_dense(CPU).unwrap().matmul(&world.truth()).unwrap();
    let gap = (sums - samples.x()).unwrap().abs().unwrap().max_all().unwrap();
    assert!(gap.to_scalar::<f32>().unwrap() < 1e-5);
    assert_eq!(flat(&samples.x()), flat(&world.sample(5_000, 7).unwrap().x()));
    assert_ne!(flat(&samples.x()), flat(&world.sample(5_000, 8).unwrap().x()));
    // Fewer samples are the first of more.
    let fewer = world.sample(4_500, 7).unwrap();
    assert_eq!(flat(&fewer.x()), flat(&samples.x())[..4_500 * 4]);
    let lively = samples.not_empty(12).unwrap();
    assert!(lively.len() == 12 && (0..12).all(|row| lively.codes().row(row).len() > 0));
    assert_eq!(lively.x().dims(), [12, 4]);
}

/// Samples with one active feature each, all equally often.
fn one_at_a_time(world: &Superposition, count: usize) -> Tensor {
    let features = world.config().features;
    let mut rng = Rng::seed(5);
    let rows = (0..count).map(|row| vec![((row % features) as u32, 0.5 + rng.unit())]);
    world.combine(&Codes::new(features, rows.collect::<Vec<_>>()).unwrap()).unwrap()
}

#[test]
fn with_one_feature_at_a_time_every_kind_of_dictionary_finds_all() {
    let world = world(8, 6, 1.0);
    let x = one_at_a_time(&world, 6_000);
    let kinds = [Sparsity::L1(0.2), Sparsity::TopK(1), Sparsity::BatchTopK(1)];
    for tied in [false, true] {
        let options = GridOptions {
            epochs: 60,
            batch: 100,
            learning_rate: 0.01,
            tied,
            ..GridOptions::of(kinds, [32])
        };
        let grid = DictionaryGrid::fit(&x, &options).unwrap();
        for member in grid.dictionaries() {
            // Where the encoder must be the decoder's transpose, or one atom wins alone, two features
            // may share an atom for good.
            let free = !tied && matches!(member.sparsity(), Sparsity::L1(_));
            let found = mmcs(&world.truth(), &member.atoms()).unwrap();
            assert!(found > if free { 0.98 } else { 0.9 }, "{member}: {found}");
            let quality = member.quality(&x).unwrap();
            // The penalty does not mind a feature that several of its four atoms share.
            let most = if free { 0.05 } else { 1.0 / 8.0 };
            assert!(quality.unexplained < most && quality.active < 4.0, "{member}: {quality:?}");
        }
    }
}

#[test]
fn a_member_learns_the_same_in_a_grid_as_alone_and_a_seed_repeats_it() {
    let world = world(8, 4, 1.5);
    let x = world.sample(1_000, 1).unwrap().x();
    let fit = |sparsities: &[Sparsity], sizes: &[usize], seed| {
        let options = GridOptions {
            epochs: 3,
            // The last batch is a smaller one.
            batch: 96,
            snapshot: 2,
            tied: false,
            seed,
            ..GridOptions::of(sparsities.to_vec(), sizes.to_vec())
        };
        DictionaryGrid::fit(&x, &options).unwrap()
    };
    let kinds = [Sparsity::L1(0.1), Sparsity::TopK(2), Sparsity::BatchTopK(1)];
    let grid = fit(&kinds, &[5, 8, 13], 0);
    for (row, kind) in kinds.iter().enumerate() {
        for (column, size) in [5, 8, 13].into_iter().enumerate() {
            let alone = fit(&[*kind], &[size], 0);
            let (a, b) = (grid.dictionary(row, column).unwrap(), alone.dictionary(0, 0).unwrap());
            for (a, b) in [
                (a.atoms(), b.atoms()),
                (a.sae().w_enc().clone(), b.sae().w_enc().clone()),
                (a.sae().encoder_bias().unwrap().clone(), b.sae().encoder_bias().unwrap().clone()),
            ] {
                for (a, b) in flat(&a).iter().zip(flat(&b)) {
                    assert!((a - b).abs() < 1e-4, "{kind}, {size}: {a} {b}");
                }
            }
        }
    }
    let again = fit(&kinds, &[5, 8, 13], 0);
    assert_eq!(again.history(), grid.history());
    let (a, b) = (again.snapshots(2, 2).unwrap(), grid.snapshots(2, 2).unwrap());
    assert_eq!((a.dims(), flat(&a)), (&[2, 13, 4][..], flat(&b)));
    assert_eq!(grid.snapshot_epochs(), [0, 2]);
    assert_ne!(fit(&kinds, &[5, 8, 13], 1).history(), grid.history());
}

#[test]
fn atoms_keep_their_length_and_tied_encoders_are_their_transpose() {
    let x = world(8, 4, 1.5).sample(500, 1).unwrap().x();
    let options = GridOptions { epochs: 2, batch: 50, ..GridOptions::l1([0.0, 0.2], [3, 9]) };
    let grid = DictionaryGrid::fit(&x, &options).unwrap();
    for member in grid.dictionaries() {
        let lengths = member.atoms().sqr().unwrap().sum(D::Minus1).unwrap().sqrt().unwrap();
        assert!(flat(&lengths).iter().all(|length| (length - 1.0).abs() < 1e-5));
        assert_eq!(flat(member.sae().w_enc()), flat(&member.atoms()));
    }
}

#[test]
fn top_k_codes_have_at_most_k_entries_and_batch_top_k_as_many_on_average() {
    let world = world(10, 5, 2.0);
    let x = world.sample(3_000, 1).unwrap().x();
    let options = GridOptions {
        epochs: 20,
        ..GridOptions::of([Sparsity::TopK(2), Sparsity::BatchTopK(2)], [15])
    };
    let grid = DictionaryGrid::fit(&x, &options).unwrap();
    let codes = grid.dictionary(0, 0).unwrap().encode(&x).unwrap();
    assert!((0..codes.rows()).all(|row| codes.row(row).len() <= 2));
    let quality = grid.dictionary(1, 0).unwrap().quality(&x).unwrap();
    assert!((quality.active - 2.0).abs() < 0.3, "{quality:?}");
}

#[test]
fn one_seed_for_everything_gives_numbers_of_their_own() {
    let world = world(20, 10, 1.0);
    let random = random_dictionary(20, 10, 0).unwrap();
    let options = GridOptions { epochs: 1, snapshot: 1, ..GridOptions::l1([0.1], [20]) };
    let x = world.sample(20, 0).unwrap().x();
    let first = DictionaryGrid::fit(&x, &options).unwrap().snapshots(0, 0).unwrap();
    let first = first.get(0).unwrap();
    for (a, b) in [(world.truth(), random.clone()), (world.truth(), first.clone()), (random, first)]
    {
        assert!(
            best_cosines(&a, &b).unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() < 0.98
        );
    }
}

#[test]
fn similarities_by_hand() {
    let truth = Tensor::new(&[[1f32, 0.], [0., 2.]], CPU).unwrap();
    let found = Tensor::new(&[[3f32, 4.], [-1., 0.], [0., -1.]], CPU).unwrap();
    assert!((mmcs(&truth, &found).unwrap() - (0.6 + 0.8) / 2.0).abs() < 1e-6);
    assert!((mmcs_unsigned(&truth, &found).unwrap() - 1.0).abs() < 1e-6);
    assert_eq!(flat(&best_cosines(&truth, &found).unwrap()), [0.6, 0.8]);
    assert_eq!(recovered(&truth, &found, 0.7).unwrap(), 0.5);
    assert!((mmcs(&found, &truth).unwrap() - (0.8 + 0.0 + 0.0) / 3.0).abs() < 1e-6);
    let zero = Tensor::zeros((1, 2), DType::F32, CPU).unwrap();
    assert!(mmcs(&truth, &zero).unwrap_err().to_string().contains("row 0"));
    assert!(mmcs(&truth, &Tensor::ones((1, 3), DType::F32, CPU).unwrap()).is_err());
    let nan = Tensor::new(&[[f32::NAN, 1.]], CPU).unwrap();
    assert!(mmcs(&nan, &truth).unwrap_err().to_string().contains("NaN"));
}

#[test]
fn a_report_says_what_each_member_does() {
    let world = world(6, 3, 1.2);
    let x = world.sample(2_000, 1).unwrap().x();
    let options = GridOptions { epochs: 3, ..GridOptions::l1([0.1, 50.0], [12, 6]) };
    let grid = DictionaryGrid::fit(&x, &options).unwrap();
    let report = grid.report(&x, &world.truth()).unwrap();
    let larger: Vec<Vec<f64>> = report.larger().unwrap().to_vec2().unwrap();
    let (small, large) = (grid.dictionary(0, 1).unwrap(), grid.dictionary(0, 0).unwrap());
    assert!(larger[0][0].is_nan());
    assert_eq!(larger[0][1], mmcs(&small.atoms(), &large.atoms()).unwrap());
    let member = grid.dictionary(1, 0).unwrap();
    let dead: Vec<Vec<f64>> = report.dead().unwrap().to_vec2().unwrap();
    assert_eq!(dead[1][0], member.quality(&x).unwrap().dead as f64);
    let error: Vec<Vec<f64>> = report.error().unwrap().to_vec2().unwrap();
    let sae = member.sae();
    let expected = (sae.reconstruct(&x).unwrap() - &x).unwrap().sqr().unwrap().mean_all().unwrap();
    assert!((error[1][0] - f64::from(expected.to_scalar::<f32>().unwrap())).abs() < 1e-6);
    assert!(report.to_string().lines().count() == 5 && report.best().0 == 0);
}

#[test]
fn recovery_fails_where_too_many_features_are_active() {
    let world = world(12, 8, 1.0);
    let options =
        GridOptions { epochs: 30, batch: 64, learning_rate: 0.01, ..GridOptions::l1([0.1], [24]) };
    let diagram = PhaseDiagram::of(&world, &[1.0, 9.0], 2_000, &options).unwrap();
    let found: Vec<Vec<f64>> = diagram.mmcs().unwrap().to_vec2().unwrap();
    assert!(found[0][0] > found[1][0] + 0.1, "{diagram}");
    let message = PhaseDiagram::of(&world, &[1.0, 12.0], 10, &options).unwrap_err().to_string();
    assert!(message.contains("below 12"), "{message}");
    assert!(PhaseDiagram::of(&world, &[], 10, &options).is_err());
}

#[test]
fn bad_worlds_are_refused_by_name() {
    let message = |config| Superposition::new(config, 0).unwrap_err().to_string();
    let new = SuperpositionConfig::new;
    assert!(message(new(0, 3, 1.0)).contains("the number of features"));
    assert!(message(new(6, 0, 1.0)).contains("the number of dimensions"));
    for active in [0.0, -1.0, 6.0, 7.0, f64::NAN, f64::INFINITY] {
        assert!(message(new(6, 3, active)).contains("below 6, the features that exist"));
    }
    let bad = SuperpositionConfig { decay: 1.1, ..new(6, 3, 1.0) };
    assert!(message(bad).contains("the decay"));
    let bad = SuperpositionConfig { strength: (2.0, 1.0), ..new(6, 3, 1.0) };
    assert!(message(bad).contains("the strength"));
    let world = world(6, 3, 1.0);
    assert!(world.sample(0, 0).unwrap_err().to_string().contains("the number of samples"));
    assert!(world.combine(&Codes::new(5, [vec![]]).unwrap()).is_err());
    let empty = Codes::new(6, [vec![]]).unwrap();
    assert_eq!(flat(&world.combine(&empty).unwrap()), [0.0; 3]);
}

#[test]
fn bad_grids_and_samples_are_refused_by_name() {
    let x = world(6, 3, 1.0).sample(50, 0).unwrap().x();
    let message = |x: &Tensor, options: GridOptions| {
        DictionaryGrid::fit(x, &options).unwrap_err().to_string()
    };
    for penalty in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(message(&x, GridOptions::l1([0.1, penalty], [6])).contains("the L1 penalty"));
    }
    assert!(message(&x, GridOptions::l1([0.1], [6, 0])).contains("the size of a dictionary"));
    assert!(message(&x, GridOptions::l1([0.1], [])).contains("the number of sizes"));
    for k in [0, 7] {
        let options = GridOptions::of([Sparsity::TopK(k)], [6]);
        assert!(message(&x, options).contains("from 1 to 6"));
    }
    let options = GridOptions { learning_rate: 0.0, ..GridOptions::default() };
    assert!(message(&x, options).contains("the learning rate"));
    let wild = GridOptions { learning_rate: 1e30, ..GridOptions::default() };
    assert!(message(&x, wild).contains("the learning rate"));
    let nan = Tensor::new(&[[1f32, f32::NAN]], CPU).unwrap();
    assert!(message(&nan, GridOptions::default()).contains("flat index 1"));
    let none = Tensor::zeros((0, 3), DType::F32, CPU).unwrap();
    assert!(message(&none, GridOptions::default()).contains("[n, dims]"));
    let grid = DictionaryGrid::fit(&x, &GridOptions { epochs: 1, ..GridOptions::default() });
    let grid = grid.unwrap();
    assert!(grid.dictionary(4, 0).unwrap_err().to_string().contains("below 4 and 3"));
    assert!(grid.snapshots(0, 0).unwrap_err().to_string().contains("`snapshot`"));
}

#[test]
fn a_grid_that_was_cut_off_ends_with_the_same_dictionaries() {
    let x = world(8, 4, 1.5).sample(250, 1).unwrap().x();
    // Three steps per epoch, the last of them smaller.
    let options = GridOptions {
        epochs: 6,
        batch: 100,
        snapshot: 2,
        on_stop: OnStop::ReturnPartial,
        ..GridOptions::of([Sparsity::L1(0.1), Sparsity::BatchTopK(2)], [4, 8])
    };
    assert_resumes(&[(4, 3), (9, 9), (17, 15)], 18, |checkpoint| {
        let options = GridOptions { checkpoint, ..options.clone() };
        let grid = DictionaryGrid::fit(&x, &options).unwrap();
        let atoms = grid.dictionaries().into_iter().map(|member| flat(&member.atoms()));
        let snapshots = grid.all_snapshots().unwrap().into_iter().map(|(_, atoms)| flat(&atoms));
        (grid.history(), atoms.chain(snapshots).collect::<Vec<_>>())
    });
}
