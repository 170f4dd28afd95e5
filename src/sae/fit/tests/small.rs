//! Dictionaries without b, tied and untied, against automatic differentiation.

use candle_core::{DType, Device, Tensor, Var};

use super::{WeightArray, case_weights};
use crate::random::Rng;
use crate::sae::Objective;
use crate::sae::fit::host::HostEngine;
use crate::sae::fit::shape::{FitShape, Widths};
use crate::sae::fit::step::{Batch, Outcome, StepSettings};
use crate::sae::kind::objective::{KindVisitor, Recipe};
use crate::sae::kind::training::SaeKind;
use crate::train::gradients;

const CPU: &Device = &Device::Cpu;

/// The loss of a dictionary as tensor operations.
fn loss(x: &Tensor, encoder: &Tensor, bias: &Tensor, decoder: &Tensor, recipe: &Recipe) -> Tensor {
    let h = x.matmul(&encoder.t().unwrap()).unwrap().broadcast_add(bias).unwrap().relu().unwrap();
    let values: Vec<f64> = h.flatten_all().unwrap().to_vec1().unwrap();
    let kept = |row: &[f64], k: usize| {
        let mut order = row.to_vec();
        order.sort_by(|a, b| b.total_cmp(a));
        row.iter().map(|v| f64::from(u8::from(*v >= order[k - 1]))).collect::<Vec<_>>()
    };
    let (n, size, k) = (x.dim(0).unwrap(), h.dim(1).unwrap(), recipe.k);
    let mask: Vec<f64> = match recipe.objective {
        Objective::TopK => values.chunks(size).flat_map(|row| kept(row, k)).collect(),
        Objective::BatchTopK => kept(&values, k * n),
        _ => vec![1.0; values.len()],
    };
    let c = (&h * Tensor::from_vec(mask, h.shape(), CPU).unwrap()).unwrap();
    let error = (c.matmul(decoder).unwrap() - x).unwrap().sqr().unwrap().sum_all().unwrap();
    let penalty = (c.sum_all().unwrap() * recipe.lambda().unwrap_or(0.0)).unwrap();
    ((error + penalty).unwrap() / n as f64).unwrap()
}

/// What the engine on the host finds, through sparse codes and dense ones.
struct BothGradients<'a> {
    shape: &'a FitShape,
    arrays: &'a [WeightArray],
    tied: bool,
    batch: Batch<'a>,
}

impl KindVisitor for BothGradients<'_> {
    type Output = Vec<(Outcome, Vec<Vec<f32>>)>;

    fn visit<K: SaeKind>(self, kind: K) -> Self::Output {
        let weights = case_weights(&kind, self.shape, self.arrays, self.tied);
        let lambda = kind.lambda().unwrap_or(0.0);
        let settings = StepSettings { learning_rate: 0.0, lambda, dead: &[] };
        let mut host = HostEngine::new(kind, self.shape.clone(), weights).unwrap();
        [false, true].map(|dense| host.all_gradients(self.batch, &settings, dense)).into()
    }
}

#[test]
fn gradients_are_those_of_automatic_differentiation() {
    let (dims, rows) = (5, 12);
    let mut rng = Rng::seed(11);
    let mut normal = |rows: usize, columns: usize| -> Vec<f32> {
        rng.normal((rows, columns), CPU).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    let x = normal(rows, dims);
    let wide = |values: &[f32], rows: usize| {
        let tensor = Tensor::from_slice(values, (rows, values.len() / rows), CPU).unwrap();
        Var::from_tensor(&tensor.to_dtype(DType::F64).unwrap()).unwrap()
    };
    let samples = wide(&x, rows);
    for tied in [false, true] {
        for (objective, k, size) in [
            (Objective::Standard { l1: 0.3 }, 1, 7),
            (Objective::Standard { l1: 0.0 }, 1, 4),
            (Objective::TopK, 2, 9),
            (Objective::BatchTopK, 2, 6),
            (Objective::TopK, 1, 31),
            (Objective::BatchTopK, 1, 23),
        ] {
            let recipe = Recipe { k, ..objective.into() };
            let shape = FitShape {
                widths: Widths { input: dims, output: dims },
                m: size,
                transcoder: false,
                has_bias: false,
                has_encoder_bias: true,
                ends: vec![size],
            };
            let decoder = normal(size, dims);
            let bias: Vec<f32> = normal(size, 1).iter().map(|b| 0.3 * b).collect();
            let mut arrays =
                vec![WeightArray::matrix(decoder.clone(), dims), WeightArray::vector(bias.clone())];
            let mut vars = vec![wide(&decoder, size), wide(&bias, 1)];
            if !tied {
                let encoder = normal(size, dims);
                vars.insert(0, wide(&encoder, size));
                arrays.insert(0, WeightArray::matrix(encoder, dims));
            }
            let [.., decoder, bias] = &vars[..] else { panic!("two at least") };
            let loss = loss(&samples, &vars[0], bias, decoder, &recipe);
            let expected = loss.to_scalar::<f64>().unwrap();
            let theirs = gradients(&loss, &vars).unwrap();
            let batch = Batch { rows, x: &x, target: &x, weights: None };
            for (outcome, ours) in
                recipe.visit(BothGradients { shape: &shape, arrays: &arrays, tied, batch })
            {
                assert!((outcome.loss - expected).abs() < 1e-5 * expected.max(1.0));
                assert_eq!(ours.len(), theirs.len());
                for (theirs, ours) in theirs.iter().zip(&ours) {
                    let theirs: Vec<f64> = theirs.flatten_all().unwrap().to_vec1().unwrap();
                    assert!(theirs.iter().any(|g| *g != 0.0));
                    for (theirs, ours) in theirs.iter().zip(ours) {
                        let gap = (theirs - f64::from(*ours)).abs();
                        assert!(gap < 1e-5 * theirs.abs().max(1.0), "{recipe:?}: {theirs} {ours}");
                    }
                }
            }
        }
    }
}
