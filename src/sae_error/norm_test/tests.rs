//! R² of squared norms against those of tensors.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::random::Rng;
use crate::sae_error::explained::ExplainOptions;
use crate::sae_error::rows::TensorRows;
use crate::sae_error::split::Split;

fn contexts() -> Vec<u32> {
    (0..200).map(|row| row / 10).collect()
}

fn explained(x: &Tensor, reconstructions: &Tensor) -> Explained {
    let rows = TensorRows::new(x.clone(), reconstructions.clone(), contexts()).unwrap();
    Explained::of(Arc::new(rows), &ExplainOptions::default()).unwrap()
}

fn normal(seed: u64) -> Tensor {
    let x = Rng::seed(seed).normal((200, 3), &Device::Cpu).unwrap();
    x.to_dtype(DType::F64).unwrap()
}

#[test]
fn each_row_is_the_regression_that_it_says() {
    let x = (normal(0) + 1.5).unwrap();
    let reconstructions = ((&x * 0.9).unwrap() + (normal(1) * 0.2).unwrap()).unwrap();
    let own = explained(&x, &reconstructions);
    let found = NormTest::of(&[("a", &own)]).unwrap();
    let errors = (&x - &reconstructions).unwrap();
    let parts = own.parts().unwrap();
    let linear = parts.linear(&x, &contexts()).unwrap();
    let nonlinear = parts.nonlinear(&x, &errors, &contexts()).unwrap();
    let both = (&reconstructions + &nonlinear).unwrap();
    let ones = Tensor::ones((200, 1), DType::F64, &Device::Cpu).unwrap();
    for (target, z) in [
        (NormTarget::X, &x),
        (NormTarget::Reconstruction, &reconstructions),
        (NormTarget::Error, &errors),
        (NormTarget::Linear, &linear),
        (NormTarget::Nonlinear, &nonlinear),
        (NormTarget::ReconstructionAndNonlinear, &both),
    ] {
        let squares = z.sqr().unwrap().sum_keepdim(1).unwrap();
        let r_squared = |y: &Tensor, intercept| {
            let (_, score) = Split::Folds(5).regress(&x, y, &contexts(), intercept, 0).unwrap();
            score.r_squared
        };
        let row = found.get("a", target).unwrap();
        let published = match target {
            NormTarget::X => squares.clone(),
            _ => (&squares + &ones).unwrap(),
        };
        for (found, expected) in [
            (row.with_intercept, r_squared(&squares, true)),
            (row.without, r_squared(&squares, false)),
            (row.published, r_squared(&published, false)),
        ] {
            assert!((found.unwrap() - expected).abs() < 1e-9, "{target}: {found:?} for {expected}");
        }
    }
    assert!(found.get("b", NormTarget::X).unwrap_err().to_string().contains("`b`"));
    assert_eq!(found.to_string().matches("nonlinear part").count(), 2, "{found}");
}

#[test]
fn the_norm_of_normalised_activations_has_no_r_squared() {
    let x = normal(2).to_dtype(DType::F32).unwrap();
    let length = x.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
    let x = x.broadcast_div(&length).unwrap();
    let noise = (normal(3) * 0.1).unwrap().to_dtype(DType::F32).unwrap();
    let found = NormTest::of(&[("a", &explained(&x, &(&x + noise).unwrap()))]).unwrap();
    let own = found.get("a", NormTarget::X).unwrap();
    assert_eq!((own.with_intercept, own.without, own.published), (None, None, None));
    assert!(found.get("a", NormTarget::Error).unwrap().with_intercept.is_some());
    assert!(found.to_string().contains("constant"), "{found}");
    assert!(NormTest::of(&[]).is_err());
}

#[test]
fn baselines_are_shown_below_the_rows() {
    let x = normal(4);
    let found = NormTest::of(&[("a", &explained(&x, &(&x * 0.5).unwrap()))]).unwrap();
    let squares: Vec<f64> = (0..200).map(|row| f64::from(row % 7)).collect();
    let inputs = NormBaselines {
        contexts: &contexts(),
        squared_error_norms: &squares,
        tokens: &[0; 200],
        model_loss: &[1.0; 200],
        l0: &[3; 200],
        activation_norms: &squares,
    };
    let found = found.with_baselines(&inputs).unwrap();
    assert_eq!((found.rows.len(), found.baselines.len()), (6, 5));
    assert!(found.baselines[2].r_squared.is_some_and(|r| (r - 1.0).abs() < 1e-9));
    assert!(found.to_string().contains("loss of the model"), "{found}");
}
