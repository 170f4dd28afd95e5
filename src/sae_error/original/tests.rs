//! The study's variants against what they say, by hand and by other means.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::linalg::{lstsq, matmul};
use crate::random::Rng;

fn normal(seed: u64, rows: usize, columns: usize) -> Tensor {
    let x = Rng::seed(seed).normal((rows, columns), &Device::Cpu).unwrap();
    x.to_dtype(DType::F64).unwrap()
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

fn rows(x: &Tensor, rows: &[u32]) -> Tensor {
    x.index_select(&Tensor::new(rows, &Device::Cpu).unwrap(), 0).unwrap()
}

#[test]
fn permuted_rows_are_fitted_and_judged_by_their_thresholds() {
    let (x, y) = (normal(0, 60, 4), (normal(1, 60, 2) + 1.0).unwrap());
    let order = Rng::seed(2).permutation(60);
    let regression = OriginalRegression { order: &order, fit_rows: 25, judged_to: 50 };
    let found = regression.fit(&x, &y).unwrap();
    let expected = lstsq(&rows(&x, &order[..25]), &rows(&y, &order[..25])).unwrap();
    assert!(gap(&found.solution, &expected) < 1e-12);
    let (x_judged, y_judged) = (rows(&x, &order[25..50]), rows(&y, &order[25..50]));
    let left = (&y_judged - matmul(&x_judged, &expected).unwrap()).unwrap();
    assert!(gap(&found.residuals, &left) < 1e-12);
    let column = |j: usize| {
        let values = |all: &Tensor| -> Vec<f64> {
            all.narrow(1, j, 1).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let (left, y) = (values(&left), values(&y_judged));
        let mean = y.iter().sum::<f64>() / 25.0;
        let total: f64 = y.iter().map(|y| (y - mean).powi(2)).sum();
        1.0 - left.iter().map(|left| left * left).sum::<f64>() / total
    };
    let mean = (column(0) + column(1)) / 2.0;
    assert!((found.r_squared.unwrap() - mean).abs() < 1e-12);
    // One target keeps its shape.
    let single = y.narrow(1, 0, 1).unwrap().squeeze(1).unwrap();
    let one = regression.fit(&x, &single).unwrap();
    assert_eq!((one.solution.dims(), one.residuals.dims()), (&[4][..], &[25][..]));
    assert!((one.r_squared.unwrap() - column(0)).abs() < 1e-12);
}

#[test]
fn the_thresholds_of_the_study_leave_nothing_to_judge_of_few_rows() {
    let (x, y) = (normal(0, 30, 4), normal(1, 30, 2));
    let order = Rng::seed(2).permutation(30);
    let found = OriginalRegression::study(&order).fit(&x, &y).unwrap();
    assert_eq!((found.r_squared, found.residuals.dims()), (None, &[0, 2][..]));
    let all = OriginalRegression::of_all_rows(&x, &y).unwrap();
    assert!(gap(&found.solution, &all) < 1e-12);
    assert!(gap(&all, &lstsq(&x, &y).unwrap()) < 1e-12);
    let text = |order: &[u32], x: &Tensor| {
        OriginalRegression::study(order).fit(x, &y).unwrap_err().to_string()
    };
    assert!(text(&order[1..], &x).contains("[29, …]"));
    assert!(text(&[0; 30], &x).contains("a permutation of 0..30"));
    assert!(text(&order, &normal(3, 30, 40)).contains("at least 41"));
    assert!(with_ones(&x.flatten_all().unwrap()).is_err());
}

#[test]
fn four_numbers_are_called_the_same_and_differ() {
    let x = Tensor::new(&[[1f32, 10.0], [3.0, 10.0], [2.0, 16.0]], &Device::Cpu).unwrap();
    let own = Tensor::new(&[[1f32, 11.0], [3.0, 11.0], [1.0, 16.0]], &Device::Cpu).unwrap();
    // Squares left: 1 and 2; about the columns' means 2 and 24; about 7, the mean of all, 176.
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
    close(mean_r_squared(&x, &own).unwrap(), 1.0 - (1.0 / 2.0 + 2.0 / 24.0) / 2.0);
    close(one_mean_r_squared(&x, &own).unwrap(), 1.0 - 3.0 / 176.0);
    close(unexplained_variance(&x, &own).unwrap(), 3.0 / 26.0);
    close(normalized_mse(&x, &own).unwrap(), (1.0 / 101.0 + 1.0 / 109.0 + 1.0 / 260.0) / 3.0);
    let zeros = x.zeros_like().unwrap();
    assert!(mean_r_squared(&zeros, &own).unwrap_err().to_string().contains("each column"));
    assert!(unexplained_variance(&zeros, &own).unwrap_err().to_string().contains("a constant"));
    assert!(normalized_mse(&zeros, &own).unwrap_err().to_string().contains("row 0"));
    assert!(normalized_mse(&x, &own.narrow(0, 0, 1).unwrap()).is_err());
}

#[test]
fn buckets_have_equal_widths() {
    let found = EqualBuckets::of(&[0.0, 1.9, 2.0, 3.9, 4.0], 2).unwrap();
    assert_eq!(found.assignment, [0, 0, 1, 1, 1]);
    let one_hot: Vec<Vec<f32>> = found.one_hot().unwrap().to_vec2().unwrap();
    assert_eq!(one_hot[1..3], [[1.0, 0.0], [0.0, 1.0]]);
    let second: Vec<Vec<f32>> = found.selected(&[1]).unwrap().to_vec2().unwrap();
    assert_eq!(second, [[0.0], [0.0], [1.0], [1.0], [1.0]]);
    assert!(found.selected(&[2]).is_err() && EqualBuckets::of(&[], 2).is_err());
    assert_eq!(EqualBuckets::of(&[5.0, 5.0], 3).unwrap().assignment, [2, 2]);
}

#[test]
fn circuits_are_the_regressions_of_their_names() {
    let order = Rng::seed(2).permutation(80);
    let regression = OriginalRegression { order: &order, fit_rows: 40, judged_to: 80 };
    let site = |seed: u64, shape: &[usize]| {
        let columns = shape[1..].iter().product();
        let x = normal(seed, 80, columns).reshape(shape).unwrap();
        let noise = normal(seed + 1, 80, columns).reshape(shape).unwrap();
        let errors = ((&x * 0.3).unwrap() + noise).unwrap();
        OriginalSite { activations: x, errors }
    };
    let sites = [site(0, &[80, 3]), site(10, &[80, 2, 2])];
    let found = OriginalCircuits::of(&sites, &regression).unwrap();
    let flat = |x: &Tensor| x.flatten_from(1).unwrap();
    let target = OriginalParts::of(&sites[0].activations, &sites[0].errors, &regression).unwrap();
    let sum = (&target.linear + &target.nonlinear).unwrap();
    assert!(gap(&sum, &sites[0].errors) < 1e-12);
    for (row, site) in sites.iter().enumerate() {
        let (x, e) = (flat(&site.activations), flat(&site.errors));
        let parts = OriginalParts::of(&x, &e, &regression).unwrap();
        let r_squared = |x: &Tensor, y: &Tensor| regression.fit(x, y).unwrap().r_squared.unwrap();
        assert_eq!(found.error[row][0], r_squared(&x, &sites[0].errors));
        assert_eq!(found.linear[row][1], r_squared(&(&x - &e).unwrap(), &target.linear));
        assert_eq!(found.nonlinear[row][2], r_squared(&parts.linear, &target.nonlinear));
        assert_eq!(found.nonlinear[row][3], r_squared(&parts.nonlinear, &target.nonlinear));
    }
    assert!(
        (found.nonlinear[0][3] - 1.0).abs() < 1e-12 && (found.linear[0][0] - 1.0).abs() < 1e-12
    );
    assert!(OriginalCircuits::of(&[], &regression).is_err());
}

#[test]
fn norms_of_tokens_are_predicted_from_those_of_others() {
    let order = Rng::seed(2).permutation(90);
    let regression = OriginalRegression { order: &order, fit_rows: 45, judged_to: 90 };
    let x = normal(0, 90, 3);
    let errors = [normal(1, 90, 3), (normal(1, 90, 3) * 2.0).unwrap(), normal(5, 90, 3)];
    let found = OriginalPerToken::of(&x, &errors, &regression).unwrap();
    // Twice the first error.
    assert!((found.r_squared[0][1] - 1.0).abs() < 1e-12);
    assert!(found.percent[2][2].is_nan() && found.percent[0][2].is_finite());
    let double = (&found.nonlinear.narrow(1, 0, 1).unwrap() * 2.0).unwrap();
    assert!(gap(&found.nonlinear.narrow(1, 1, 1).unwrap(), &double) < 1e-12);
    let inputs = |columns: &[&Tensor]| with_ones(&Tensor::cat(columns, 1).unwrap()).unwrap();
    let column = |all: &Tensor, j: usize| all.narrow(1, j, 1).unwrap();
    let (total, nonlinear) = (column(&found.total, 0), column(&found.nonlinear, 0));
    let of = |x: Tensor| regression.fit(&x, &column(&found.total, 2)).unwrap().r_squared.unwrap();
    let (alone, both) = (of(inputs(&[&total])), of(inputs(&[&total, &nonlinear])));
    assert!((found.r_squared[0][2] - alone).abs() < 1e-12);
    assert!((found.percent[0][2] - 100.0 * (both - alone) / (1.0 - alone)).abs() < 1e-9);
    assert!(OriginalPerToken::of(&x, &[], &regression).is_err());
}

#[test]
fn the_norm_test_of_the_study_has_its_ones_in_the_target() {
    let order = Rng::seed(2).permutation(100);
    let regression = OriginalRegression { order: &order, fit_rows: 50, judged_to: 100 };
    let x = (normal(0, 100, 3) + 1.0).unwrap();
    let errors = ((&x * 0.1).unwrap() + (normal(1, 100, 3) * 0.3).unwrap()).unwrap();
    let found = OriginalNormTest::of(&x, &errors, &regression).unwrap();
    let squares = errors.sqr().unwrap().sum(1).unwrap();
    let r_squared = |x: &Tensor, y: &Tensor| regression.fit(x, y).unwrap().r_squared.unwrap();
    let shifted = (&squares + 1.0).unwrap();
    assert!((found.from_activations[1][0] - r_squared(&x, &shifted)).abs() < 1e-12);
    assert_eq!(found.from_activations[1][0], found.from_activations[1][1]);
    let ones = with_ones(&errors).unwrap();
    assert!((found.from_itself[1][1] - r_squared(&ones, &squares)).abs() < 1e-9);
    let [labelled, without] = found.as_labelled[1];
    assert!((labelled - original_norm_baseline(&x, &squares, &regression).unwrap()).abs() < 1e-12);
    assert!((without - r_squared(&x, &squares)).abs() < 1e-12);
    assert!((found.activations - r_squared(&x, &x.sqr().unwrap().sum(1).unwrap())).abs() < 1e-12);
}

#[test]
fn token_means_are_judged_in_sample() {
    let found = OriginalTokenMeans::of(&[2, 0, 2, 0], &[1.0, 4.0, 3.0, 6.0]).unwrap();
    assert_eq!((&found.counts[..], &found.means[..]), (&[2, 0, 2][..], &[5.0, 0.0, 2.0][..]));
    // Left: 4 · 1; about 3.5: 6.25 + 0.25 + 0.25 + 6.25.
    assert!((found.r_squared - (1.0 - 4.0 / 13.0)).abs() < 1e-12);
    assert!(OriginalTokenMeans::of(&[], &[]).is_err());
    assert!(OriginalTokenMeans::of(&[1], &[]).unwrap_err().to_string().contains("one a token"));
}
