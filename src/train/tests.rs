//! Gradients against finite differences, for the tests of every trained model.

use candle_core::{Tensor, Var};

use super::gradients;
use crate::Result;

/// Asserts that the f64 parameters' gradients of `loss` equal central differences, entry by entry.
pub(crate) fn assert_gradients(parameters: &[Var], loss: impl Fn() -> Result<Tensor>) {
    let found = gradients(&loss().unwrap(), parameters).unwrap();
    assert_equal_differences(parameters, &found, || loss().unwrap().to_scalar::<f64>().unwrap());
}

/// Asserts that `found` are the gradients of `loss`, by central differences.
pub(crate) fn assert_equal_differences(
    parameters: &[Var],
    found: &[Tensor],
    loss: impl Fn() -> f64,
) {
    let step = 1e-5;
    for (i, (parameter, gradient)) in parameters.iter().zip(found).enumerate() {
        let start: Vec<f64> = parameter.flatten_all().unwrap().to_vec1().unwrap();
        let gradient: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(start.len(), gradient.len());
        assert!(gradient.iter().any(|&entry| entry != 0.0), "parameter {i} has no gradient");
        let at = |index: usize, value: f64| {
            let mut moved = start.clone();
            moved[index] = value;
            let moved = Tensor::from_vec(moved, parameter.shape(), parameter.device()).unwrap();
            parameter.set(&moved).unwrap();
            loss()
        };
        for index in 0..start.len() {
            let slope =
                (at(index, start[index] + step) - at(index, start[index] - step)) / (2.0 * step);
            let error = (slope - gradient[index]).abs();
            let bound = 1e-6 * slope.abs().max(1e-2);
            assert!(
                error < bound,
                "parameter {i}, entry {index}: {} by backward, {slope} by differences",
                gradient[index]
            );
        }
        at(0, start[0]);
    }
}
