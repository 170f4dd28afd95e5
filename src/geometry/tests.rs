//! Probes against closed forms and planted circles.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::linalg::{RankCut, pca};
use crate::random::Rng;

fn largest(x: &Tensor) -> f64 {
    x.abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

fn random(rows: usize, width: usize, seed: u64) -> Tensor {
    let x = Rng::seed(seed).normal((rows, width), &Device::Cpu).unwrap();
    x.to_dtype(DType::F64).unwrap()
}

fn options(components: usize) -> ProbeOptions {
    ProbeOptions { components: Some(components) }
}

/// Problems of two inputs below `p`: the first, the second, and their sum.
fn grid(p: usize) -> [Vec<usize>; 3] {
    let of = |part: fn(usize, usize) -> usize| (0..p * p).map(|i| part(i / p, i % p) % p).collect();
    [of(|a, _| a), of(|_, b| b), of(|a, b| a + b)]
}

/// `E[R²] = tr(P_scores P_classes) / (p − 1)` over all orders.
#[test]
fn the_mean_r_squared_over_all_orders_has_a_closed_form() {
    let class_of = &grid(7)[0];
    let week = Targets::circle(class_of.clone(), 7, &[1]).unwrap();
    let x = random(49, 24, 1);
    for k in [2, 3, 5] {
        let probe = Probe::fit(&x, &week, &options(k)).unwrap();
        let null = probe.orders(OrderNull::All).unwrap();
        let scores = pca(&x, k).unwrap().scores;
        let scores = scores
            .broadcast_div(&scores.sqr().unwrap().sum_keepdim(0).unwrap().sqrt().unwrap())
            .unwrap();
        let hot = Explanatory::one_hot("a", class_of.clone(), 7).unwrap();
        let hot = (hot.columns() / 7f64.sqrt()).unwrap();
        let trace = scores.t().unwrap().matmul(&hot).unwrap();
        let trace = trace.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        assert!((null.mean() - trace / 6.0).abs() < 1e-12, "{null}");
        assert!((null.own - probe.pooled_r_squared()).abs() < 1e-12);
        // Of class means it is k/(p − 1), whatever they are.
        let means = Targets::circle(0..7, 7, &[1]).unwrap();
        let probe = Probe::fit(&random(7, 24, 2), &means, &options(k)).unwrap();
        let null = probe.orders(OrderNull::All).unwrap();
        assert!((null.mean() - k as f64 / 6.0).abs() < 1e-12, "{null}");
    }
}

#[test]
fn an_order_of_the_null_is_a_probe_of_that_order() {
    let x = random(49, 24, 3);
    let class_of = &grid(7)[0];
    let circle = Targets::circle(class_of.clone(), 7, &[1, 2]).unwrap();
    let line = Targets::centred_linear(class_of.clone(), 7).unwrap();
    for targets in [circle.clone(), Targets::join(&[circle, line]).unwrap()] {
        let null = OrderNull::Sample { count: 5, seed: 8 };
        let found = Probe::fit(&x, &targets, &options(6)).unwrap().orders(null).unwrap();
        let mut rng = Rng::seed(8);
        for value in &found.values {
            let order: Vec<usize> = rng.permutation(7).into_iter().map(|v| v as usize).collect();
            let moved = Probe::fit(&x, &targets.permuted(&order).unwrap(), &options(6)).unwrap();
            assert!((moved.pooled_r_squared() - value).abs() < 1e-12);
        }
    }
}

#[test]
fn a_class_lies_where_the_probe_reads_its_numbers() {
    let class_of = &grid(7)[2];
    let x = (random(49, 24, 4) + 3.0).unwrap();
    for frequencies in [&[1][..], &[1, 3]] {
        let targets = Targets::circle(class_of.clone(), 7, frequencies).unwrap();
        let probe = Probe::fit(&x, &targets, &options(5)).unwrap();
        let places = probe.places().unwrap();
        let read = probe.predict(&places).unwrap();
        assert!(largest(&(read - targets.of_class()).unwrap()) < 1e-9);
        // In all other directions they are the mean.
        let apart = places.broadcast_sub(probe.mean()).unwrap();
        let inside = probe.subspace().unwrap().project(&apart).unwrap();
        assert!(largest(&(inside - &apart).unwrap()) < 1e-9);
        assert_eq!(probe.place(3).unwrap().dims(), [24]);
        // V W = S R, and mirrored components change nothing.
        let subspace = probe.subspace().unwrap();
        let product = subspace.basis().matmul(&probe.triangle().unwrap()).unwrap();
        assert!(largest(&(product - probe.directions().unwrap()).unwrap()) < 1e-12);
        assert!(probe.place(7).unwrap_err().to_string().contains("below 7"));
    }
}

#[test]
fn a_probe_of_everything_is_least_squares_with_a_constant() {
    let x = random(30, 6, 5);
    let targets = Targets::circle((0..30).map(|i| i * i % 7), 7, &[1]).unwrap();
    let probe = Probe::fit(&x, &targets, &ProbeOptions { components: None }).unwrap();
    let with_constant = Tensor::cat(&[&x, &x.ones_like().unwrap().narrow(1, 0, 1).unwrap()], 1);
    let (with_constant, t) = (with_constant.unwrap(), targets.columns().unwrap());
    let solution = crate::linalg::lstsq(&with_constant, &t).unwrap();
    let expected = with_constant.matmul(&solution).unwrap();
    assert!(largest(&(probe.predictions() - expected).unwrap()) < 1e-10);
}

#[test]
fn held_out_rows_are_predicted_where_there_is_a_circle() {
    let class_of = &grid(7)[0];
    let targets = Targets::circle(class_of.clone(), 7, &[1]).unwrap();
    // A circle and nothing else is found whatever is left out, off centre too.
    let circle = targets.columns().unwrap().matmul(&random(2, 16, 6)).unwrap();
    let circle = (circle + 2.0).unwrap();
    let folds =
        [Folds::Classes, Folds::Rows { folds: 7, seed: 1 }, Folds::Groups(grid(7)[1].clone())];
    for folds in &folds {
        let found = Probe::held_out(&circle, &targets, &options(2), folds).unwrap();
        assert!((found.pooled_r_squared - 1.0).abs() < 1e-9, "{folds:?} {found}");
        assert!(found.angle_error.unwrap() < 1e-6 && found.r_squared.len() == 2);
    }
    // Directions of their own for seven classes: known rows fit, unknown classes do not.
    let hot = Explanatory::one_hot("a", class_of.clone(), 7).unwrap();
    let words = (hot.columns().matmul(&random(7, 16, 7)).unwrap() * 5.0).unwrap();
    let words = (words + random(49, 16, 8) * 0.1).unwrap();
    let of = |folds: &Folds| Probe::held_out(&words, &targets, &options(6), folds).unwrap();
    assert!(of(&folds[1]).pooled_r_squared > 0.95, "{}", of(&folds[1]));
    assert!(of(&folds[0]).pooled_r_squared < 0.2, "{}", of(&folds[0]));
}

/// What is `X B` with independent directions is read back exactly.
#[test]
fn an_inverse_probe_reads_a_circle_from_under_one_hots() {
    let [a, b, c] = grid(7);
    let apart = a.iter().zip(&b).map(|(a, b)| *a as f64 - *b as f64);
    let functions = [
        Explanatory::constant(49).unwrap(),
        Explanatory::one_hot("a", a.clone(), 7).unwrap(),
        Explanatory::one_hot("b", b.clone(), 7).unwrap(),
        Explanatory::circle("a − b", apart, 7.0).unwrap(),
    ];
    let targets = Targets::circle(c, 7, &[1]).unwrap();
    let all = Explanatory::join("all", &functions).unwrap();
    let all = Tensor::cat(&[all.columns(), &targets.columns().unwrap()], 1).unwrap();
    let x = all.matmul(&random(19, 24, 9)).unwrap();
    let found = Probe::inverse(&x, &functions, &targets, &Default::default()).unwrap();
    assert!((found.r_squared_after() - 1.0).abs() < 1e-10 && found.r_squared_before() < 0.95);
    let read = found.probe().predictions();
    assert!(largest(&(read - targets.columns().unwrap()).unwrap()) < 1e-8);
    assert_eq!(found.coefficients().dims()[0], 19);
    assert!(found.probe().orders(OrderNull::All).is_err());
    // Small activations lose their directions to an absolute cut, and none to a relative one.
    let small = (&x * 1e-4).unwrap();
    let relative = Probe::inverse(&small, &functions, &targets, &Default::default()).unwrap();
    let read = relative.probe().predictions();
    assert!(largest(&(read - targets.columns().unwrap()).unwrap()) < 1e-8);
    let original = InverseProbeOptions::original();
    assert_eq!(original.cut, RankCut::Absolute(1e-2));
    let lost = Probe::inverse(&small, &functions, &targets, &original).unwrap();
    assert_eq!(lost.probe().pooled_r_squared(), 0.0);
    assert!(lost.probe().subspace().is_err());
}

#[test]
fn what_cannot_be_probed_is_named() {
    let targets = Targets::circle(grid(7)[0].clone(), 7, &[1]).unwrap();
    let x = random(49, 4, 10);
    let text = |x: &Tensor, components| {
        Probe::fit(x, &targets, &ProbeOptions { components }).unwrap_err().to_string()
    };
    assert!(text(&x, Some(5)).contains("`components` must be from 1 to 4"));
    assert!(text(&x, Some(0)).contains("`components`"));
    assert!(text(&x.narrow(0, 0, 48).unwrap(), Some(2)).contains("[49, d]"));
    assert!(text(&(&x / 0.0).unwrap(), Some(2)).contains("NaN"));
    assert!(text(&x.ones_like().unwrap(), Some(2)).contains("equal rows"));
    let constant = Targets::circle(vec![3; 49], 7, &[1]).unwrap();
    let message = Probe::fit(&x, &constant, &options(2)).unwrap_err().to_string();
    assert!(message.contains("`cos 1`") && message.contains("constant"), "{message}");
    // Three targets of two components: they can be predicted, and set no plane.
    let line = Targets::centred_linear(grid(7)[0].clone(), 7).unwrap();
    let three = Targets::join(&[targets.clone(), line]).unwrap();
    let probe = Probe::fit(&x, &three, &options(2)).unwrap();
    assert!(probe.subspace().unwrap_err().to_string().contains("more components"));
    let held_out =
        |folds| Probe::held_out(&x, &targets, &options(2), &folds).unwrap_err().to_string();
    assert!(held_out(Folds::Rows { folds: 50, seed: 0 }).contains("at most 49"));
    assert!(held_out(Folds::Rows { folds: 1, seed: 0 }).contains("at least 2"));
    assert!(held_out(Folds::Groups(vec![0, 1])).contains("one a row"));
    assert!(held_out(Folds::Groups(vec![3; 49])).contains("at least 2"));
    let probe = Probe::fit(&x, &targets, &options(2)).unwrap();
    assert!(probe.predict(&random(3, 5, 0)).unwrap_err().to_string().contains("[n, 4]"));
    assert!(probe.places_of(&random(3, 5, 0)).unwrap_err().to_string().contains("[points, 2]"));
    assert!(probe.to_string().contains("cos 1 R²"), "{probe}");
}
