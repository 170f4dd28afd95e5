//! Fits of several autoencoders at once, held against fits of one.

use super::{POINT, all_weights, model, options, text};
use crate::progress::OnStop;
use crate::sae::fit::many::{FitSize, ManyFits};
use crate::sae::{Objective, Sae, SaeOptions};
use crate::train::tests::assert_resumes;

const SIZES: [FitSize; 3] = [
    FitSize { expansion: 2, k: 3 },
    FitSize { expansion: 4, k: 3 },
    FitSize { expansion: 4, k: 6 },
];

fn fit_all(options: &SaeOptions) -> ManyFits {
    Sae::fit_sizes(&model(), POINT, &text(), &SIZES, options).unwrap()
}

#[test]
fn each_of_many_is_the_one_that_is_trained_alone() {
    for objective in [Objective::TopK, Objective::BatchTopK] {
        // Batches that do not divide the buffer, and features that die.
        let options = SaeOptions { objective, batch: 100, dead_after: 5, ..options() };
        let many = fit_all(&options);
        assert!(!many.interrupted && many.fits.len() == SIZES.len());
        for ((sae, history), FitSize { expansion, k }) in many.fits.iter().zip(SIZES) {
            let own = SaeOptions { expansion, k, ..options.clone() };
            let (alone, expected) = Sae::fit(&model(), POINT, &text(), &own).unwrap();
            assert_eq!(all_weights(sae), all_weights(&alone), "x{expansion}, k {k}");
            assert_eq!(*history, expected);
            assert_eq!(sae.origin(), alone.origin());
            assert_eq!(sae.architecture(), alone.architecture());
        }
    }
}

#[test]
fn a_fit_of_many_goes_on_where_it_was() {
    let options = SaeOptions {
        batch: 100,
        report: 10,
        steps: 60,
        dead_after: 1,
        skip_positions: 2,
        on_stop: OnStop::ReturnPartial,
        ..options()
    };
    assert_resumes(&[(10, 10), (25, 20)], options.steps, |checkpoint| {
        let many = fit_all(&SaeOptions { checkpoint, ..options.clone() });
        let weights: Vec<_> = many.fits.iter().map(|(sae, _)| all_weights(sae)).collect();
        let histories: Vec<_> = many.fits.iter().map(|(_, history)| history.clone()).collect();
        (histories[0].clone(), (weights, histories))
    });
}

#[test]
fn the_checkpoint_of_other_sizes_is_refused_and_divergence_is_placed() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Some(folder.path().to_owned());
    let options = SaeOptions { steps: 10, report: 10, checkpoint, ..options() };
    fit_all(&options);
    let refused = Sae::fit_sizes(&model(), POINT, &text(), &SIZES[1..], &options).unwrap_err();
    assert!(refused.to_string().contains("give the same options"), "{refused}");
    let wild = SaeOptions { learning_rate: 1e30, checkpoint: None, ..options };
    let error = Sae::fit_sizes(&model(), POINT, &text(), &SIZES, &wild).unwrap_err();
    assert!(error.to_string().contains("of the autoencoder with expansion"), "{error}");
    let none = [FitSize { expansion: 2, k: 0 }];
    let error = Sae::fit_sizes(&model(), POINT, &text(), &none, &wild).unwrap_err();
    assert!(error.to_string().starts_with("k must be at least 1"), "{error}");
}
