//! StepGradients against PyTorch's (`benches/sae_gradients.py`) and against finite differences.

use candle_core::{DType, Device, Tensor, Var};
use serde_json::Value;

use super::{WeightArray, case_weights};
use crate::sae::Objective;
use crate::sae::fit::device::DeviceEngine;
use crate::sae::fit::host::HostEngine;
use crate::sae::fit::shape::{FitShape, Widths};
use crate::sae::fit::step::{Batch, Outcome, StepSettings};
use crate::sae::kind::Revival;
use crate::sae::kind::objective::{KindVisitor, Recipe};
use crate::sae::kind::training::SaeKind;
use crate::train::gradients;
use crate::train::tests::assert_gradients;

const FIXTURES: &str = include_str!("../../../../tests/fixtures/sae_gradients.json");

#[derive(Clone)]
struct GradientCase {
    name: String,
    recipe: Recipe,
    shape: FitShape,
    weights: Vec<WeightArray>,
    x: Vec<f32>,
    target: Vec<f32>,
    lambda: f64,
    dead: Vec<u32>,
    loss: f64,
    gradients: Vec<Vec<f64>>,
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|entry| entry.as_f64().unwrap()).collect()
}

fn singles(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|entry| entry as f32).collect()
}

fn cases() -> Vec<GradientCase> {
    let all: Value = serde_json::from_str(FIXTURES).unwrap();
    all["cases"].as_array().unwrap().iter().map(|case| read(case, &all)).collect()
}

fn read(case: &Value, all: &Value) -> GradientCase {
    let (lambda, transcoder) =
        (case["penalty"].as_f64().unwrap(), case["transcoder"].as_bool().unwrap());
    let size = |name: &str| case[name].as_u64().unwrap() as usize;
    let list = |name: &str| numbers(&case[name]).into_iter().map(|entry| entry as usize);
    let objective = match case["kind"].as_str().unwrap() {
        "standard" => Objective::Standard { l1: lambda },
        "top_k" => Objective::TopK,
        "batch_top_k" => Objective::BatchTopK,
        "jump_relu" => {
            let bandwidth = case["bandwidth"].as_f64().unwrap();
            Objective::JumpRelu { l0: lambda, bandwidth, threshold: 1.0 }
        }
        "gated" => Objective::Gated { l1: lambda },
        "matryoshka" => Objective::Matryoshka { prefixes: list("prefixes").collect() },
        other => panic!("{other}"),
    };
    let side = usize::from(transcoder);
    let (x, encoder) = (singles(&all["x"]), singles(&all["encoder"]));
    let (decoder, bias) = (singles(&all["decoders"][side]), singles(&all["biases"][side]));
    let out = bias.len();
    let m = decoder.len() / out;
    let d = encoder.len() / m;
    let target = if transcoder { singles(&all["target"]) } else { x.clone() };
    let revival = Revival { weight: case["auxiliary"].as_f64().unwrap(), k: size("auxiliary_k") };
    let relu = case["relu"].as_bool().unwrap();
    let recipe = Recipe { objective, k: size("k"), relu, revival };
    let shape = FitShape {
        widths: Widths { input: d, output: out },
        m,
        transcoder,
        has_bias: true,
        has_encoder_bias: recipe.has_encoder_bias(transcoder),
        ends: recipe.dictionary_ends(m),
    };
    let mut weights = vec![
        WeightArray::matrix(encoder, d),
        WeightArray::matrix(decoder, out),
        WeightArray::vector(bias),
    ];
    let extras = case["extras"].as_array().unwrap().iter();
    weights.extend(extras.map(|extra| WeightArray::vector(singles(extra))));
    let gradients = case["gradients"].as_array().unwrap().iter().map(numbers).collect();
    let dead: Vec<u32> = list("dead").map(|feature| feature as u32).collect();
    let name = format!("{:?}, k {}, transcoder {transcoder}", recipe.objective, recipe.k);
    let loss = case["loss"].as_f64().unwrap();
    GradientCase { name, recipe, shape, weights, x, target, lambda, dead, loss, gradients }
}

impl GradientCase {
    fn settings(&self) -> StepSettings<'_> {
        StepSettings { learning_rate: 0.0, lambda: self.lambda, dead: &self.dead }
    }

    fn batch(&self) -> Batch<'_> {
        let rows = self.x.len() / self.shape.widths.input;
        Batch { rows, x: &self.x, target: &self.target, weights: None }
    }

    fn assert(&self, outcome: &Outcome, gradients: &[Vec<f32>]) {
        assert!((outcome.loss - self.loss).abs() < 1e-5 * self.loss, "{}: {outcome:?}", self.name);
        assert_eq!(gradients.len(), self.gradients.len());
        for (at, (found, expected)) in gradients.iter().zip(&self.gradients).enumerate() {
            assert_eq!(found.len(), expected.len());
            let size = expected.iter().fold(1.0f64, |size, entry| size.max(entry.abs()));
            for (entry, (found, expected)) in found.iter().zip(expected).enumerate() {
                let gap = (f64::from(*found) - expected).abs() / size;
                let name = &self.name;
                assert!(gap < 1e-5, "{name}, weight {at}, entry {entry}: {found}, {expected}");
            }
        }
    }

    fn on_device<K: SaeKind>(&self, kind: K, dtype: DType) -> (DeviceEngine<K>, Tensor, Tensor) {
        let matrix = |values: &[f32], width: usize| {
            let tensor = Tensor::from_slice(values, (values.len() / width, width), &Device::Cpu);
            tensor.unwrap().to_dtype(dtype).unwrap()
        };
        let weights = case_weights(&kind, &self.shape, &self.weights, false);
        let vars = weights
            .try_map(|own| Ok(Var::from_tensor(&own.to_tensor(&Device::Cpu)?.to_dtype(dtype)?)?));
        let widths = self.shape.widths;
        let device = DeviceEngine::of(kind, self.shape.clone(), vars.unwrap()).unwrap();
        (device, matrix(&self.x, widths.input), matrix(&self.target, widths.output))
    }
}

/// Compares the gradients of the engine on the host with PyTorch's.
struct OnHost<'a>(&'a GradientCase);

impl KindVisitor for OnHost<'_> {
    type Output = ();

    fn visit<K: SaeKind>(self, kind: K) {
        let Self(case) = self;
        let weights = case_weights(&kind, &case.shape, &case.weights, false);
        let dense = kind.lambda().is_some();
        let mut host = HostEngine::new(kind, case.shape.clone(), weights).unwrap();
        // The second time with memory that was used before.
        for dense in [false, dense, false, dense] {
            let (outcome, gradients) = host.all_gradients(case.batch(), &case.settings(), dense);
            case.assert(&outcome, &gradients);
        }
    }
}

#[test]
fn gradients_are_pytorchs_without_a_graph() {
    let cases = cases();
    assert!(cases.len() > 12);
    for case in cases {
        case.recipe.visit(OnHost(&case));
    }
}

/// Compares the gradients of the engine on a device with PyTorch's.
struct ThroughTensors<'a>(&'a GradientCase);

impl KindVisitor for ThroughTensors<'_> {
    type Output = ();

    fn visit<K: SaeKind>(self, kind: K) {
        let Self(case) = self;
        let (device, x, target) = case.on_device(kind, DType::F32);
        let (loss, outcome) = device.loss(&x, &target, None, &case.settings()).unwrap();
        let found = gradients(&loss, &device.vars()).unwrap();
        let found = found.iter().map(|own| own.flatten_all().unwrap().to_vec1().unwrap());
        case.assert(&outcome, &found.collect::<Vec<_>>());
    }
}

#[test]
fn gradients_are_pytorchs_through_tensors() {
    for case in cases() {
        case.recipe.visit(ThroughTensors(&case));
    }
}

/// Compares the gradients of the engine on the host with those of a graph in f64, and with rows of
/// several weights.
struct AgainstGraph<'a> {
    case: &'a GradientCase,
    row_weights: Option<&'a [f32]>,
}

impl KindVisitor for AgainstGraph<'_> {
    type Output = ();

    fn visit<K: SaeKind>(self, kind: K) {
        let Self { case, row_weights } = self;
        let (device, x, target) = case.on_device(kind.clone(), DType::F64);
        let weights = row_weights.map(|weights| {
            Tensor::new(weights, &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap()
        });
        let (loss, theirs) = device.loss(&x, &target, weights.as_ref(), &case.settings()).unwrap();
        let gradients = gradients(&loss, &device.vars()).unwrap();
        let gradients = gradients.iter().map(|own| own.flatten_all().unwrap().to_vec1().unwrap());
        let expected =
            GradientCase { loss: theirs.loss, gradients: gradients.collect(), ..case.clone() };
        let weights = case_weights(&kind, &case.shape, &case.weights, false);
        let dense = kind.lambda().is_some();
        let mut host = HostEngine::new(kind, case.shape.clone(), weights).unwrap();
        let batch = Batch { weights: row_weights, ..case.batch() };
        for dense in [false, dense] {
            let (outcome, found) = host.all_gradients(batch, &case.settings(), dense);
            expected.assert(&outcome, &found);
            assert!((outcome.error - theirs.error).abs() < 1e-5 * theirs.error, "{}", case.name);
            assert_eq!((outcome.num_active, &outcome.fired), (theirs.num_active, &theirs.fired));
        }
    }
}

#[test]
fn gradients_without_a_graph_are_those_of_a_graph() {
    let row_weights = [0.5, 2.0, 1.0, 0.0, 3.0, 0.25, 1.5];
    let mut others = 0;
    for case in cases() {
        case.recipe.visit(AgainstGraph { case: &case, row_weights: Some(&row_weights) });
        let objectives = match case.recipe.objective {
            Objective::JumpRelu { bandwidth, threshold, l0 } => vec![
                Objective::JumpReluTanh { l0, scale: 1.5, bandwidth, threshold },
                Objective::JumpReluTarget { weight: l0, target: 3.0, bandwidth, threshold },
            ],
            Objective::BatchTopK => vec![Objective::AbsTopK],
            _ => Vec::new(),
        };
        for objective in objectives {
            let name = format!("{objective:?}");
            let recipe = Recipe { objective, ..case.recipe.clone() };
            let case = GradientCase { name, recipe, ..case.clone() };
            for row_weights in [None, Some(&row_weights[..])] {
                case.recipe.visit(AgainstGraph { case: &case, row_weights });
            }
            others += 1;
        }
    }
    assert_eq!(others, 5);
}

/// Compares the gradients of the engine on a device with finite differences.
struct ByDifferences<'a>(&'a GradientCase);

impl KindVisitor for ByDifferences<'_> {
    type Output = ();

    fn visit<K: SaeKind>(self, kind: K) {
        let Self(case) = self;
        let (device, x, target) = case.on_device(kind, DType::F64);
        // The auxiliary loss takes the error as a constant.
        let settings = StepSettings { dead: &[], ..case.settings() };
        assert_gradients(&device.vars(), || Ok(device.loss(&x, &target, None, &settings)?.0));
    }
}

#[test]
fn gradients_of_smooth_losses_are_those_of_finite_differences() {
    let mut kinds = 0;
    for case in cases() {
        let constants = matches!(case.recipe.objective, Objective::Gated { .. });
        let estimated = matches!(case.recipe.objective, Objective::JumpRelu { .. });
        if constants || estimated {
            continue;
        }
        case.recipe.visit(ByDifferences(&case));
        kinds += 1;
    }
    assert!(kinds > 7);
}
