//! Parts of the error against brute force.

use candle_core::{DType, Device};

use super::*;
use crate::random::Rng;
use crate::sae_error::rows::TensorRows;

const CONTEXTS: u32 = 30;
const ROWS_OF_A_CONTEXT: u32 = 12;
const WIDTH: usize = 4;

fn contexts() -> Vec<u32> {
    (0..CONTEXTS * ROWS_OF_A_CONTEXT).map(|row| 2 * (row / ROWS_OF_A_CONTEXT)).collect()
}

/// Activations with a mean, and reconstructions that shrink and add noise; f64.
fn example(seed: u64) -> (Tensor, Tensor) {
    let mut rng = Rng::seed(seed);
    let rows = (CONTEXTS * ROWS_OF_A_CONTEXT) as usize;
    let mut normal = || {
        let x = rng.normal((rows, WIDTH), &Device::Cpu).unwrap();
        x.to_dtype(DType::F64).unwrap()
    };
    let x = (normal() + 2.0).unwrap();
    let reconstructions = ((&x * 0.9).unwrap() + (normal() * 0.1).unwrap()).unwrap();
    (x, reconstructions)
}

fn explained(x: &Tensor, reconstructions: &Tensor, options: &ExplainOptions) -> Result<Explained> {
    Explained::of(
        Arc::new(TensorRows::new(x.clone(), reconstructions.clone(), contexts())?),
        options,
    )
}

fn sum(x: &Tensor) -> f64 {
    x.sqr().unwrap().sum_all().unwrap().to_scalar().unwrap()
}

#[test]
fn sums_of_parts_are_the_scores() {
    let (x, reconstructions) = example(0);
    for intercept in [true, false] {
        let options = ExplainOptions { intercept, ..ExplainOptions::default() };
        let found = explained(&x, &reconstructions, &options).unwrap();
        let errors = (&x - &reconstructions).unwrap();
        let spread = sum(&x.broadcast_sub(&x.mean_keepdim(0).unwrap()).unwrap());
        assert!((found.fvu().mean - sum(&errors) / spread).abs() < 1e-12);
        let parts = found.parts().unwrap();
        let squares = |norms: &[f64]| norms.iter().map(|norm| norm * norm).sum::<f64>();
        assert!((squares(&parts.total) - sum(&errors)).abs() < 1e-9);
        let left = squares(&parts.nonlinear);
        assert!((found.vector().rss - left).abs() < 1e-9 * left, "moments and residuals");
        assert!((found.fvu_nonlinear().mean - left / spread).abs() < 1e-12);
        let linear = parts.linear(&x, &contexts()).unwrap();
        assert!((squares(&parts.linear) - sum(&linear)).abs() < 1e-9);
        let nonlinear = parts.nonlinear(&x, &errors, &contexts()).unwrap();
        assert!((left - sum(&nonlinear)).abs() < 1e-9 * left);
        let ratio = |row: usize| {
            let at = |x: &Tensor| sum(&x.get(row).unwrap());
            at(&errors) / at(&x)
        };
        let rows = parts.len();
        let mse = (0..rows).map(ratio).sum::<f64>() / rows as f64;
        assert!((found.normalized_mse() - mse).abs() < 1e-12);
        assert_eq!(found.map().intercept().is_some(), intercept);
    }
}

#[test]
fn the_map_of_a_context_has_not_seen_it() {
    let (x, reconstructions) = example(1);
    let found = explained(&x, &reconstructions, &ExplainOptions::default()).unwrap();
    // Other errors in the fourth context.
    let own = 3 * ROWS_OF_A_CONTEXT as usize..4 * ROWS_OF_A_CONTEXT as usize;
    let noise = (x.narrow(0, own.start, own.len()).unwrap() * 3.0).unwrap();
    let changed = reconstructions.slice_assign(&[own, 0..WIDTH], &noise).unwrap();
    let changed = explained(&x, &changed, &ExplainOptions::default()).unwrap();
    let matrix = |map: &LinearMap| map.matrix(&Device::Cpu).unwrap().to_vec2::<f64>().unwrap();
    let fold = found.fold_of(6).unwrap();
    for context in contexts() {
        let [a, b] = [&found, &changed].map(|own| matrix(own.map_for(context).unwrap()));
        let same = a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-10);
        assert_eq!(same, found.fold_of(context) == Some(fold), "context {context}");
    }
    assert_ne!(matrix(found.map()), matrix(changed.map()));
    assert_eq!((found.fold_of(7), found.rows().width()), (None, WIDTH));
    assert!(found.map_for(7).unwrap_err().to_string().contains("the context 7"));
}

#[test]
fn intervals_are_as_wide_as_contexts_differ() {
    let (x, reconstructions) = example(2);
    let options = ExplainOptions { draws: 2_000, ..ExplainOptions::default() };
    let found = explained(&x, &reconstructions, &options).unwrap();
    for own in [found.fvu(), found.fvu_nonlinear()] {
        assert!(own.lower < own.mean && own.mean < own.upper && own.confidence == 0.95, "{own}");
    }
    // The delta method for a ratio of means over contexts.
    let parts = found.parts().unwrap();
    let centred = x.broadcast_sub(&x.mean_keepdim(0).unwrap()).unwrap();
    let spread = row_squares(&centred).unwrap();
    let per = ROWS_OF_A_CONTEXT as usize;
    let of_context = |values: &[f64]| -> Vec<f64> {
        values.chunks(per).map(|chunk| chunk.iter().sum::<f64>()).collect()
    };
    let squares: Vec<f64> = parts.total.iter().map(|norm| norm * norm).collect();
    let (errors, spreads) = (of_context(&squares), of_context(&spread));
    let (n, mean) = (errors.len() as f64, spreads.iter().sum::<f64>() / errors.len() as f64);
    let residuals = errors.iter().zip(&spreads).map(|(e, s)| e - found.fvu().mean * s);
    let deviation = (residuals.map(|gap| gap * gap).sum::<f64>() / n / n).sqrt() / mean;
    let width = (found.fvu().upper - found.fvu().lower) / (2.0 * 1.96 * deviation);
    assert!((width - 1.0).abs() < 0.15, "{width}");
    let again = explained(&x, &reconstructions, &options).unwrap();
    assert_eq!(again.fvu(), found.fvu());
}

#[test]
fn the_null_of_noise_is_what_is_measured() {
    let (x, reconstructions) = example(3);
    let found = explained(&x, &reconstructions, &ExplainOptions::default()).unwrap();
    let null = found.null().unwrap();
    assert!((null.in_sample - found.vector().in_sample).abs() < 1e-12);
    // The shrinking part follows x̂, which no covariance of e and x̂ alone would say.
    assert!(null.excess > 0.1, "{null}");
    let text = found.to_string();
    assert!(text.contains("R² of ‖e‖²") && text.contains("nonlinear FVU"), "{text}");
    assert!(format!("{found:?}").contains("fvu_nonlinear"));
}

#[test]
fn errors_that_cannot_be_explained_are_refused() {
    let (x, reconstructions) = example(4);
    let options = ExplainOptions::default();
    let text = |x: &Tensor, own: &Tensor, options: &ExplainOptions| {
        explained(x, own, options).unwrap_err().to_string()
    };
    assert!(text(&x, &x, &options).contains("the squared norm of the error"));
    let constant = (x.ones_like().unwrap() * 3.0).unwrap();
    assert!(text(&constant, &reconstructions, &options).contains("the activations"));
    let bad = ExplainOptions { folds: 1, ..options.clone() };
    assert!(text(&x, &reconstructions, &bad).contains("`folds`"));
    let bad = ExplainOptions { folds: 31, ..options.clone() };
    assert!(text(&x, &reconstructions, &bad).contains("at least 31"));
    let bad = ExplainOptions { draws: 0, ..options.clone() };
    assert!(text(&x, &reconstructions, &bad).contains("`draws`"));
    let few = |all: &Tensor| all.narrow(0, 0, 5).unwrap();
    let rows = TensorRows::new(few(&x), few(&reconstructions), vec![0, 1, 2, 3, 4]).unwrap();
    let message = Explained::of(Arc::new(rows), &options).unwrap_err().to_string();
    assert!(message.contains("at least 5, one more than there are inputs"), "{message}");
}
