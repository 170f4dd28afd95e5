//! Simulations against the closed form.

use candle_core::{Device, Tensor};

use super::*;
use crate::model::HookPoint;
use crate::sae_error::downstream::tests::small_info;

/// Gaussian rows whose columns have standard deviations from 0.2 to 3, each a context of its own.
fn gaussian(rows: usize, width: usize) -> (Tensor, Vec<u32>) {
    let scales: Vec<f32> = (0..width).map(|i| 0.2 + 2.8 * i as f32 / width as f32).collect();
    let x = Rng::seed(4).normal((rows, width), &Device::Cpu).unwrap();
    let x = x.broadcast_mul(&Tensor::new(scales, &Device::Cpu).unwrap()).unwrap();
    // A mean that an intercept has to take.
    ((x + 5.0).unwrap(), (0..rows as u32).collect())
}

#[test]
fn gaussian_activations_are_within_two_percent_of_the_closed_form() {
    let (x, contexts) = gaussian(50_000, 64);
    let options = SimulationOptions {
        grid: vec![0.0, 0.5, 2.0],
        unit: Some(1.0),
        ..SimulationOptions::default()
    };
    let found = NoiseSimulation::of_activations(&x, &contexts, &options).unwrap();
    assert_eq!(found.cells.len(), 11);
    for cell in &found.cells {
        let close = |own: f64, closed: f64| (own - closed).abs() <= 0.02 * closed + 1e-12;
        assert!(close(cell.total, cell.closed_total), "{cell:?}");
        assert!(close(cell.nonlinear, cell.closed_nonlinear), "{cell:?}");
        // Without noise of activations nothing is linear, and what is left is sampling.
        assert!((cell.linear - cell.closed_linear).abs() <= 0.02 * cell.closed_total, "{cell:?}");
    }
    let nothing = found.get(0.0, 0.0, 0.0).unwrap();
    assert_eq!((nothing.total, nothing.nonlinear), (0.0, 0.0));
    let [[linear, _], [_, nonlinear]] = found.correlations;
    assert!(linear > 0.5 && nonlinear > 0.5, "{found}");
    assert!(found.get(9.0, 0.0, 0.0).unwrap_err().to_string().contains("9"));
}

#[test]
fn the_unit_makes_the_largest_noise_as_large_as_activations() {
    let (x, contexts) = gaussian(2_000, 8);
    let options = SimulationOptions { grid: vec![0.0, 4.0], ..SimulationOptions::default() };
    let found = NoiseSimulation::of_activations(&x, &contexts, &options).unwrap();
    let variance: f64 = (0..8).map(|i| (0.2 + 2.8 * f64::from(i) / 8.0).powi(2)).sum::<f64>() / 8.0;
    assert!((found.unit - variance.sqrt() / 4.0).abs() < 0.03 * found.unit, "{}", found.unit);
    // Noise of reconstructions with the variance of x: as much error as variance.
    assert!((found.get(0.0, 4.0, 0.0).unwrap().closed_total - 1.0).abs() < 1e-9);
}

#[test]
fn features_that_are_taken_away_are_in_the_closed_form_too() {
    let info = small_info(HookPoint::ResidPost(0));
    let options = SimulationOptions {
        lines: vec![(1.0, 0.5)],
        grid: vec![0.0],
        ..SimulationOptions::default()
    };
    let found = NoiseSimulation::run(&info, &options).unwrap();
    assert_eq!(found.cells.len(), options.ablated.len() + 1);
    let total = |share: &f64| found.get(1.0, 0.5, *share).unwrap().total;
    let totals: Vec<f64> = options.ablated.iter().map(total).collect();
    assert!(totals.windows(2).all(|pair| pair[1] >= 0.8 * pair[0]), "{totals:?}");
    assert!(totals[5] > totals[0], "{totals:?}");
    for cell in &found.cells {
        assert!((cell.closed_linear + cell.closed_nonlinear - cell.closed_total).abs() < 1e-12);
        // A few hundred rows: noise is off its variance by some percent.
        let gap = (cell.total - cell.closed_total).abs();
        assert!(gap < 0.2 * cell.closed_total + 1e-12, "{cell:?}");
    }
}

#[test]
fn options_that_cannot_be_are_refused() {
    let (x, contexts) = gaussian(100, 4);
    let message = |options: SimulationOptions| {
        NoiseSimulation::of_activations(&x, &contexts, &options).unwrap_err().to_string()
    };
    let default = SimulationOptions::default;
    assert!(message(SimulationOptions { folds: 1, ..default() }).contains("`folds`"));
    assert!(message(SimulationOptions { ablated: vec![1.5], ..default() }).contains("`ablated`"));
    assert!(message(SimulationOptions { grid: vec![-1.0], ..default() }).contains("not negative"));
    assert!(message(SimulationOptions { unit: Some(0.0), ..default() }).contains("`unit`"));
    let constant = x.zeros_like().unwrap();
    let error = NoiseSimulation::of_activations(&constant, &contexts, &default());
    assert!(error.unwrap_err().to_string().contains("constant"));
    let error = NoiseSimulation::of_activations(&x, &contexts[1..], &default());
    assert!(error.unwrap_err().to_string().contains("the activations"));
}
