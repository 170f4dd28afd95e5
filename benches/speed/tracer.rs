//! The Tracer's scan at the size of a large model, beside PyTorch's, which is timed on few features.

use eigenlens::linalg::{matmul, qr, svd};
use eigenlens::prelude::*;
use eigenlens::sae::{Architecture, SaeWeights};

use crate::language::again;
use crate::pytorch::{self, Work};
use crate::report::Row;
use crate::{Result, growth, largest, trained};

/// d_model and d_hidden.
const SIZE: [usize; 2] = [1_024, 3_072];
/// Output features that a scan of ours goes over, over trained weights, and one of PyTorch's.
const FEATURES: [usize; 3] = [512, 2_048, 8];
/// How many make it to the top.
const TOP: usize = 10;
/// Features whose statistic is compared with f64.
const CHECKED: usize = 4;
/// Widths at which growth is measured.
const WIDTHS: [usize; 3] = [256, 512, 1_024];
const STATISTIC: Statistic = Statistic::TruncatedEigenvalues { k: 2 };
/// Random vectors that effective ranks are estimated from.
const PROBES: usize = 4;

/// What the singular values of the MLP's maps are like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Weights {
    /// Of independent normal entries: flat spectra, the hard case.
    Random,
    /// Falling as those of the embedded model.
    Falling,
    /// Interaction matrices whose eight largest eigenvalues differ by 1e-4 each.
    Ties,
}

/// Speeds, errors and growth. PyTorch has no other way to the top features than a scan over all.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let [d, hidden] = SIZE;
    let [ours, over_trained, theirs] = FEATURES;
    let of = |kind| MlpFeatures::new(kind, d, hidden, ours);
    let (random, falling) = (of(Weights::Random)?, of(Weights::Falling)?);
    let ties = of(Weights::Ties)?;
    let trained = trained::model_and_features(d, hidden)?
        .map(|(model, sae)| MlpFeatures { model, encoder: sae.weights().encoder.clone() });
    let some = trained.as_ref().map(|all| all.some(0..over_trained as u32)).transpose()?;

    let (top, refined) = random.top("tracer top, random weights")?;
    let mut counts = vec![refined];
    let mut works = vec![
        random.scan("tracer scan, random weights")?,
        falling.scan("tracer scan, spectra as the embedded model's")?,
        ties.scan("tracer scan, near ties")?,
        falling.ranks("tracer effective rank, estimate")?,
        top,
    ];
    if let (Some(all), Some(some)) = (&trained, &some) {
        let (top, refined) = all.top("tracer top, trained weights")?;
        counts.push(refined);
        works.extend([
            some.scan("tracer scan, trained weights")?,
            some.ranks("tracer effective rank, estimate, trained weights")?,
            top,
        ]);
    }
    let sizes = [("d_model", d), ("d_hidden", hidden), ("outputs", theirs)];
    let mut rows = pytorch::rows(works, &sizes)?;
    rows.extend(counts);
    rows.push(growth()?);
    Ok(rows)
}

/// A model of one layer, and directions of features of its MLP's output, `[features, d]`.
struct MlpFeatures {
    model: Decoder,
    encoder: Tensor,
}

impl MlpFeatures {
    /// Those features alone.
    fn some(&self, which: impl IntoIterator<Item = u32>) -> Result<Self> {
        let which = Tensor::from_iter(which, &Device::Cpu)?;
        Ok(Self { model: self.model.clone(), encoder: self.encoder.index_select(&which, 0)? })
    }

    fn tracer(&self) -> Result<Tracer> {
        let (features, d) = self.encoder.dims2()?;
        let sae = |point| -> Result<Sae> {
            let bias = Tensor::zeros(d, DType::F32, &Device::Cpu)?;
            // Interactions with the decoder are not measured.
            let decoder = Tensor::zeros((d, features), DType::F32, &Device::Cpu)?;
            let weights = SaeWeights::new(self.encoder.clone(), decoder, bias);
            Ok(Sae::new(Architecture::signed_top_k(1), weights)?.at(point))
        };
        let (input, output) = (sae(HookPoint::MlpIn(0))?, sae(HookPoint::MlpOut(0))?);
        Ok(Tracer::new(&self.model, 0, &input, &output)?)
    }

    /// The largest error of values that were `found` for features.
    fn error(&self, statistic: Statistic, found: &[(usize, f32)]) -> Result<f64> {
        let few = self.some(found.iter().map(|(feature, _)| *feature as u32))?;
        let exact = few.tracer()?.with_accuracy(0.0)?.compute(statistic)?.to_vec1::<f32>()?;
        let gap =
            |((_, found), exact): (&(usize, f32), f32)| f64::from((found / exact - 1.0).abs());
        Ok(largest(found.iter().zip(exact).map(gap)))
    }

    fn work<'a>(
        &self,
        name: &'static str,
        run: impl Fn() -> eigenlens::Result<()> + 'a,
    ) -> Result<Work<'a>> {
        let ([d, hidden], [.., theirs]) = (SIZE, FEATURES);
        let features = self.encoder.dim(0)?;
        let size = format!("d_model {d}, d_hidden {hidden}, {features} output features");
        Ok(Work::new(name, "scan", move |times| again(times, &run))
            .size(format!("{size} ({theirs} in PyTorch); error of {CHECKED} of them against f64"))
            .turn(1, features, "features/s")
            .sampled(theirs))
    }

    fn scan(&self, name: &'static str) -> Result<Work<'static>> {
        let tracer = self.tracer()?;
        let found = first(&tracer.compute(STATISTIC)?)?;
        let error = self.error(STATISTIC, &found)?;
        Ok(self.work(name, move || tracer.compute(STATISTIC).map(drop))?.error(error))
    }

    fn ranks(&self, name: &'static str) -> Result<Work<'static>> {
        let tracer = self.tracer()?;
        let found = first(&tracer.estimate_effective_rank(PROBES)?.values)?;
        let error = self.error(Statistic::EffectiveRank, &found)?;
        let run = move || tracer.estimate_effective_rank(PROBES).map(drop);
        Ok(self.work(name, run)?.error(error))
    }

    /// And how many features it goes to the end with.
    fn top(&self, name: &'static str) -> Result<(Work<'static>, Row)> {
        let tracer = self.tracer()?;
        let top = tracer.top(TOP, STATISTIC)?;
        let error = self.error(STATISTIC, &top.entries[..CHECKED])?;
        let work = self.work(name, move || tracer.top(TOP, STATISTIC).map(drop))?.error(error);
        let size = format!("top {TOP} of {} features", top.features);
        let refined = Row::new(format!("{name}: refined"), size, top.refined as f64, "features");
        Ok((work, refined))
    }
}

/// The first values, with their places.
fn first(values: &Tensor) -> Result<Vec<(usize, f32)>> {
    Ok(values.narrow(0, 0, CHECKED)?.to_vec1()?.into_iter().enumerate().collect())
}

fn growth() -> Result<Row> {
    growth::row("tracer scan", "d_model", WIDTHS, "d_hidden 3 d_model", |d| {
        let tracer = MlpFeatures::new(Weights::Falling, d, 3 * d, FEATURES[0])?.tracer()?;
        growth::seconds(|| tracer.compute(STATISTIC).map(drop))
    })
}

impl MlpFeatures {
    fn new(kind: Weights, d: usize, hidden: usize, features: usize) -> Result<Self> {
        let cpu = &Device::Cpu;
        let config = Config { vocab: 64, ..Config::bilinear(1, 8, d, hidden) };
        let model = Decoder::random(config, 0, cpu)?;
        let mut directions = Rng::seed(0).normal((features, d), cpu)?;
        let square = qr(&Rng::seed(1).normal((d, d), cpu)?)?.q;
        for var in model.variables() {
            let changed = match (kind, var.dims2()?) {
                (Weights::Falling, shape) if shape == (2 * hidden, d) => {
                    // Random left singular vectors, and right ones that both maps share.
                    matmul(var.as_tensor(), &square.broadcast_mul(&embedded_spectrum(d)?)?)?
                }
                (Weights::Ties, shape) if shape == (2 * hidden, d) => {
                    // Both maps orthogonal: eigenvalues are the directions' entries.
                    let zeros = Tensor::zeros((hidden - d, d), DType::F32, cpu)?;
                    Tensor::cat(&[&square, &zeros, &square, &zeros], 0)?
                }
                (Weights::Ties, shape) if shape == (d, hidden) => {
                    let zeros = Tensor::zeros((d, hidden - d), DType::F32, cpu)?;
                    Tensor::cat(&[&Tensor::eye(d, DType::F32, cpu)?, &zeros], 1)?
                }
                _ => continue,
            };
            var.set(&changed)?;
        }
        if kind == Weights::Ties {
            let top: Vec<f32> = (0..8).map(|i| 1.0 - 1e-4 * i as f32).collect();
            let top = Tensor::new(top, cpu)?.unsqueeze(0)?.repeat((features, 1))?;
            let rest = Rng::seed(2).uniform(-0.9, 0.9, (features, d - 8), cpu)?;
            directions = Tensor::cat(&[top, rest], 1)?;
        }
        Ok(Self { model, encoder: directions })
    }
}

/// The singular values of the embedded model's left map in its third layer, over the first, at d
/// places.
fn embedded_spectrum(d: usize) -> Result<Tensor> {
    let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    let values: Vec<f32> = svd(&model.w_l(2)?)?.values.to_vec1()?;
    let at = |i: usize| {
        let place = i as f32 * (values.len() - 1) as f32 / (d - 1) as f32;
        let low = (place as usize).min(values.len() - 2);
        let share = place - low as f32;
        (values[low] * (1.0 - share) + values[low + 1] * share) / values[0]
    };
    Ok(Tensor::new((0..d).map(at).collect::<Vec<_>>(), &Device::Cpu)?)
}
