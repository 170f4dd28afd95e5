//! Fits of every kind.

mod against_autograd;
mod choice;
mod many;
mod small;

use candle_core::{Device, Tensor};

use super::build::engine;
use super::device::DeviceEngine;
use super::engine::Engine;
use super::host::HostEngine;
use super::metrics::Metrics;
use super::setup::FirstNumbers;
use super::shape::{FitShape, Widths};
use super::step::{Batch, StepSettings};
use super::weights::{KindWeights, WeightArray};
use super::*;
use crate::linalg::unit_rows;
use crate::model::Config;
use crate::random::Rng;
use crate::sae::kind::objective::KindVisitor;
use crate::sae::kind::training::SaeKind;
use crate::sae::{Check, Objective, SaeActivation};
use crate::train::tests::assert_resumes;

/// The weights of a kind, of the numbers that they have in the order of a checkpoint.
fn case_weights<K: SaeKind>(
    kind: &K,
    shape: &FitShape,
    arrays: &[WeightArray],
    tied: bool,
) -> KindWeights<K, WeightArray> {
    let zeros = |count: usize| vec![0f32; count];
    let Widths { input, output } = shape.widths;
    let start = FirstNumbers {
        encoder: (!tied).then(|| zeros(shape.m * input)),
        decoder: zeros(shape.m * output),
        bias: shape.has_bias.then(|| zeros(output)),
        offset: zeros(shape.m),
    };
    let mut weights = shape.weights(kind, start);
    assert_eq!(weights.refs().len(), arrays.len());
    for (weight, array) in weights.refs_mut().into_iter().zip(arrays) {
        assert_eq!(weight.shape, array.shape);
        *weight = array.clone();
    }
    weights
}

pub(super) fn model() -> Decoder {
    let config = Config { vocab: 9, context: 16, ..Config::bilinear(2, 2, 8, 16) };
    let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
    for var in model.variables() {
        var.set(&(var.as_tensor() * 20.0).unwrap()).unwrap();
    }
    model
}

pub(super) fn text() -> Tokens {
    let mut rng = Rng::seed(3);
    Tokens::from((0..400).map(|_| rng.below(9) as u32).collect::<Vec<_>>())
}

pub(super) fn options() -> SaeOptions {
    SaeOptions {
        expansion: 4,
        k: 3,
        steps: 120,
        batch: 64,
        buffer: 256,
        length: 8,
        learning_rate: 0.01,
        report: 40,
        ..SaeOptions::default()
    }
}

const POINT: HookPoint = HookPoint::MlpOut(1);

pub(super) fn kinds() -> Vec<SaeOptions> {
    let objectives = [
        Objective::TopK,
        Objective::Standard { l1: 0.3 },
        Objective::BatchTopK,
        Objective::AbsTopK,
        Objective::JumpRelu { l0: 0.1, bandwidth: 0.5, threshold: 0.3 },
        Objective::JumpReluTanh { l0: 0.1, scale: 4.0, bandwidth: 0.5, threshold: 0.3 },
        Objective::JumpReluTarget { weight: 1.0, target: 4.0, bandwidth: 0.5, threshold: 0.3 },
        Objective::Gated { l1: 0.3 },
        Objective::Matryoshka { prefixes: vec![8, 16] },
    ];
    let autoencoders =
        objectives.into_iter().map(|objective| SaeOptions { objective, ..options() });
    let target = Some(HookPoint::MlpOut(1));
    let transcoders = [Objective::TopK, Objective::Standard { l1: 0.1 }, Objective::BatchTopK];
    let transcoders =
        transcoders.into_iter().map(|objective| SaeOptions { objective, target, ..options() });
    let signed = SaeOptions { relu: false, ..options() };
    autoencoders.chain(transcoders).chain([signed]).collect()
}

fn place(options: &SaeOptions) -> HookPoint {
    if options.target.is_some() { HookPoint::MlpIn(1) } else { POINT }
}

fn all_weights(sae: &Sae) -> Vec<Vec<f32>> {
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    sae.weights().tensors().into_iter().map(flat).collect()
}

/// A fit of every kind on the same few tokens, and what its autoencoder makes of them.
fn fit(options: &SaeOptions) -> (Sae, History, Check) {
    let (model, text) = (model(), text());
    let (sae, history) = Sae::fit(&model, place(options), &text, options).unwrap();
    let tokens = text.windows(40, options.length, model.device()).unwrap();
    let points = [Some(place(options)), options.target].into_iter().flatten();
    let cache = model.activations(&tokens, &points.collect::<Vec<_>>()).unwrap();
    let x = cache.get(place(options)).unwrap();
    let target = options.target.map_or(x, |target| cache.get(target).unwrap());
    let check = sae.check_against(x, target).unwrap();
    (sae, history, check)
}

#[test]
fn every_kind_explains_more_as_it_learns_and_does_so_afterwards() {
    for options in kinds() {
        let options = SaeOptions { steps: 400, ..options };
        let (sae, history, check) = fit(&options);
        let (nmse, l0) = (history.column("nmse").unwrap(), history.last("l0").unwrap());
        let last = nmse[nmse.len() - 1];
        let told = format!("{}\n{history}\n{check}", sae.architecture());
        println!("{told}");
        assert!(last < 0.6 * nmse[0] && last < 0.4, "{told}");
        assert!(check.fvu < 1.5 * last + 0.02 && check.fvu > 0.4 * last, "{told}");
        assert!(check.l0 < 1.4 * l0 && check.l0 > 0.7 * l0, "{told}");
        let decoder = sae.w_dec().t().unwrap().to_vec2::<f32>().unwrap();
        let square = |row: &Vec<f32>| row.iter().map(|x| x * x).sum::<f32>();
        assert!(decoder.iter().all(|row| (square(row) - 1.0).abs() < 1e-5));
        let expected = match options.objective {
            Objective::Standard { .. } => SaeActivation::Relu,
            Objective::TopK => SaeActivation::TopK { k: 3, relu: options.relu },
            Objective::Gated { .. } => SaeActivation::Gated,
            Objective::AbsTopK => SaeActivation::AbsTopK { k: 3 },
            _ => SaeActivation::JumpRelu,
        };
        assert_eq!(sae.architecture().activation, expected);
        assert_eq!(sae.architecture().transcoder, options.target.is_some());
        assert_eq!(sae.point().unwrap(), place(&options));
        let hook_out = options.target.map(|target| target.to_string());
        assert_eq!(sae.origin().hook_out, hook_out);
    }
}

#[test]
fn a_seed_repeats_a_fit_exactly() {
    for options in kinds() {
        let run = |seed| {
            let options = SaeOptions { seed, steps: 40, dead_after: 1, ..options.clone() };
            let (sae, history, _) = fit(&options);
            (all_weights(&sae), history)
        };
        let found = run(0);
        assert_eq!(run(0), found);
        assert_ne!(run(1).0, found.0);
    }
}

#[test]
fn a_fit_that_was_cut_off_ends_with_the_same_weights() {
    let (model, text) = (model(), text());
    for options in kinds() {
        // Rows of the history fall into the middle of a buffer and its last, smaller batch, and some
        // features are dead.
        let options = SaeOptions {
            batch: 100,
            report: 10,
            steps: 80,
            dead_after: 1,
            warmup: 20,
            skip_tokens: vec![2],
            on_stop: OnStop::ReturnPartial,
            ..options
        };
        assert_resumes(&[(10, 10), (25, 20), (60, 60)], options.steps, |checkpoint| {
            let options = SaeOptions { checkpoint, ..options.clone() };
            let (sae, history) = Sae::fit(&model, place(&options), &text, &options).unwrap();
            (history, all_weights(&sae))
        });
    }
}

#[test]
fn steps_with_and_without_a_graph_lose_the_same() {
    let (model, text) = (model(), text());
    for options in kinds() {
        let recipe = options.recipe(8);
        let mut source =
            ActivationSource::new(&model, place(&options), &text, &options, None).unwrap();
        let shape = FitShape::new(&options, &recipe, source.widths()).unwrap();
        let start = shape.start(&source, 0).unwrap();
        recipe.visit(BothEngines { source: &mut source, shape, start });
    }
}

/// Steps on the host and through tensors, side by side.
struct BothEngines<'a, 'b> {
    source: &'a mut ActivationSource<'b>,
    shape: FitShape,
    start: FirstNumbers,
}

impl KindVisitor for BothEngines<'_, '_> {
    type Output = ();

    fn visit<K: SaeKind>(self, kind: K) {
        let Self { source, shape, start } = self;
        let weights = shape.weights(&kind, start);
        let name = kind.name();
        let mut tensors =
            DeviceEngine::new(kind.clone(), shape.clone(), &weights, &Device::Cpu).unwrap();
        let mut host = HostEngine::new(kind, shape, weights).unwrap();
        let dead = [3, 8, 9, 20, 31];
        for step in 0..12 {
            let batch = source.next().unwrap();
            let settings = StepSettings { learning_rate: 0.01, lambda: 0.2, dead: &dead };
            let a = host.step(batch, &settings).unwrap();
            let b = tensors.step(batch, &settings).unwrap();
            let gap = |a: f64, b: f64| (a - b).abs() / b;
            assert!(gap(a.loss, b.loss) < 1e-3, "{name}, step {step}: {a:?}, {b:?}");
            assert!(gap(a.error, b.error) < 1e-3);
            assert!(gap(a.num_active as f64, b.num_active as f64) < 0.02);
        }
        let decoder = tensors.decoder().unwrap();
        let square: f32 = decoder[5 * 8..6 * 8].iter().map(|x| x * x).sum();
        assert!((square - 1.0).abs() < 1e-5);
    }
}

/// The share of 64 features that are in no code at the end of training on sums of three of 48 directions, where
/// half of the features begin with an encoder too short to be among the largest.
fn dead_in_the_end(objective: Objective, auxiliary: f64) -> f64 {
    let options = SaeOptions { objective, auxiliary, k: 3, expansion: 4, ..options() };
    let recipe = options.recipe(16);
    let widths = Widths { input: 16, output: 16 };
    let shape = FitShape::new(&options, &recipe, widths).unwrap();
    let mut rng = Rng::seed(6);
    let mut directions = |count: usize| -> Vec<f32> {
        let rows = unit_rows(&rng.normal((count, 16), &Device::Cpu).unwrap()).unwrap();
        rows.flatten_all().unwrap().to_vec1().unwrap()
    };
    let (truth, decoder) = (directions(48), directions(64));
    let mut encoder = decoder.clone();
    encoder[..32 * 16].iter_mut().for_each(|entry| *entry *= 0.02);
    let start = FirstNumbers {
        encoder: Some(encoder),
        decoder,
        bias: Some(vec![0.0; 16]),
        offset: vec![0.0; 64],
    };
    let mut engine = engine(&recipe, shape, start, &Device::Cpu).unwrap();
    let mut metrics = Metrics::new(64, 16);
    for step in 0..400 {
        let mut x = vec![0f32; 128 * 16];
        for row in x.chunks_mut(16) {
            for _ in 0..3 {
                let (at, size) = (rng.below(48), 0.5 + rng.unit());
                row.iter_mut().zip(&truth[at * 16..]).for_each(|(x, entry)| *x += size * entry);
            }
        }
        let dead = metrics.dead(step, 10);
        let settings = StepSettings { learning_rate: 0.01, lambda: 0.0, dead: &dead };
        let batch = Batch { rows: 128, x: &x, target: &x, weights: None };
        let outcome = engine.step(batch, &settings).unwrap();
        metrics.add(batch, &outcome, step + 1);
    }
    metrics.dead(400, 100).len() as f64 / 64.0
}

#[test]
fn the_auxiliary_loss_revives_dead_features() {
    for objective in [Objective::TopK, Objective::BatchTopK] {
        let without = dead_in_the_end(objective.clone(), 0.0);
        let with = dead_in_the_end(objective, 1.0 / 32.0);
        println!("{without} {with}");
        assert!(without > 0.45 && with < 0.35, "{without} {with}");
    }
}

#[test]
fn bad_options_are_refused() {
    let message = |point, options: SaeOptions| {
        Sae::fit(&model(), point, &text(), &options).unwrap_err().to_string()
    };
    let point = HookPoint::MlpIn(0);
    let of = |objective| message(point, SaeOptions { objective, ..options() });
    assert!(message(point, SaeOptions { k: 33, ..options() }).contains("at most 32"));
    assert!(message(point, SaeOptions { batch: 0, ..options() }).contains("the batch"));
    assert!(message(point, SaeOptions { length: 17, ..options() }).contains("at most 16"));
    assert!(message(HookPoint::MlpIn(2), options()).contains("never fires"));
    assert!(of(Objective::Standard { l1: f64::NAN }).contains("the penalty"));
    assert!(of(Objective::Gated { l1: -1.0 }).contains("the penalty"));
    let jump = |bandwidth, threshold| of(Objective::JumpRelu { l0: 1.0, bandwidth, threshold });
    assert!(jump(0.0, 1.0).contains("the bandwidth") && jump(1.0, 0.0).contains("the threshold"));
    let (bandwidth, threshold) = (0.1, 0.1);
    let tanh = Objective::JumpReluTanh { l0: 1.0, scale: 0.0, bandwidth, threshold };
    let target = Objective::JumpReluTarget { weight: 1.0, target: 0.0, bandwidth, threshold };
    assert!(of(tanh).contains("`scale`") && of(target).contains("`target`"));
    let nested = |prefixes: &[usize]| of(Objective::Matryoshka { prefixes: prefixes.to_vec() });
    assert!(nested(&[]).contains("ascend") && nested(&[8, 8]).contains("ascend"));
    assert!(nested(&[4, 33]).contains("a prefix must be at most 32"));
    let signed = SaeOptions { relu: false, objective: Objective::BatchTopK, ..options() };
    assert!(message(point, signed).contains("only top-k"));
    let auxiliary = SaeOptions { auxiliary: f64::INFINITY, ..options() };
    assert!(message(point, auxiliary).contains("auxiliary loss"));
    assert!(
        message(point, SaeOptions { auxiliary_k: Some(0), ..options() }).contains("at least 1")
    );
    let target = Some(HookPoint::MlpOut(7));
    assert!(message(point, SaeOptions { target, ..options() }).contains("never fires"));
    let expansion = usize::MAX;
    assert!(message(point, SaeOptions { expansion, ..options() }).contains("the expansion"));
    let buffer = usize::MAX;
    assert!(message(point, SaeOptions { buffer, ..options() }).contains("the buffer"));
    let skip_tokens = (0..9).collect();
    assert!(message(point, SaeOptions { skip_tokens, ..options() }).contains("skip_tokens"));
    let fast = SaeOptions { learning_rate: 1e30, ..options() };
    assert!(message(point, fast).contains("the learning rate"));
}
