//! What the tests of every fit share: gradients against finite differences, Stop and going on.

use std::cell::Cell;
use std::fmt::Debug;
use std::path::PathBuf;

use candle_core::{Tensor, Var};

use super::{History, gradients};
use crate::Result;

thread_local! {
    /// The step after which this thread's fits see Stop.
    static STOP_AFTER: Cell<Option<usize>> = const { Cell::new(None) };
    /// Steps that this thread's fits have made.
    static STEPS_MADE: Cell<usize> = const { Cell::new(0) };
}

/// Whether a test presses Stop after `done` steps; counts the step.
pub(crate) fn is_stopped_after(done: usize) -> bool {
    STEPS_MADE.set(STEPS_MADE.get() + 1);
    STOP_AFTER.get() == Some(done)
}

/// Runs `fit` with Stop pressed after its first `steps` steps.
pub(crate) fn stop_after<T>(steps: usize, fit: impl FnOnce() -> T) -> T {
    STOP_AFTER.set(Some(steps));
    let result = fit();
    STOP_AFTER.set(None);
    result
}

/// Asserts that a fit of `steps` steps that Stop ends and that is called again makes the steps that
/// are missing, and ends with the history and weights of an undisturbed one. `cuts` are pairs of
/// steps: when Stop is pressed, and when the last save before it is due. `fit` trains a new model with
/// a checkpoint in the folder it is given, and returns what it has when Stop is pressed.
pub(crate) fn assert_resumes<W: PartialEq + Debug>(
    cuts: &[(usize, usize)],
    steps: usize,
    fit: impl Fn(Option<PathBuf>) -> (History, W),
) {
    let undisturbed = fit(None);
    for &(cut, saved) in cuts {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("fit");
        let (history, _) = stop_after(cut, || fit(Some(folder.clone())));
        assert!(history.interrupted);
        std::fs::create_dir_all(&folder).unwrap();
        // What a crash in the middle of the next save leaves.
        std::fs::write(folder.join(format!("step-{steps}.safetensors")), "torn").unwrap();
        let before = STEPS_MADE.get();
        assert_eq!(fit(Some(folder.clone())), undisturbed, "after Stop at step {cut}");
        assert_eq!(STEPS_MADE.get() - before, steps - saved, "after Stop at step {cut}");
        // A fit that is done returns the same without a step.
        assert_eq!(fit(Some(folder)), undisturbed);
        assert_eq!(STEPS_MADE.get() - before, steps - saved);
    }
}

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
