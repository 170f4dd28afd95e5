//! The plane through which a class is changed best, found from what the model answers.

use std::fmt;

use candle_core::{D, DType, Device, Tensor};

use super::change::{Change, changes};
use super::pass::{check_layer, stream_point};
use super::problems::{Problems, Role};
use super::streams::Streams;
use crate::check::{check_positive, check_sizes};
use crate::display::show_as_text;
use crate::geometry::Subspace;
use crate::linalg::{matmul, matmul_nt, matmul_tn, qr};
use crate::model::{Decoder, Hooks};
use crate::progress::Progress;
use crate::random::Rng;
use crate::{Error, Result};

/// How [`Alignment::fit`] searches.
#[derive(Debug, Clone)]
pub struct AlignmentOptions {
    /// The layer before which the stream is changed; 0.
    pub layer: usize,
    /// The position; the start.
    pub role: Role,
    /// Dimensions of the subspace; 2.
    pub dimensions: usize,
    /// Steps; 100.
    pub steps: usize,
    /// Changes of a step; 32.
    pub batch: usize,
    /// Length of the first step, in the angle by which the subspace turns; it falls to 0 along a
    /// cosine; 0.3.
    pub rate: f64,
    /// Seed of the first subspace and of the changes; 0.
    pub seed: u64,
}

impl Default for AlignmentOptions {
    fn default() -> Self {
        Self {
            layer: 0,
            role: Role::Start,
            dimensions: 2,
            steps: 100,
            batch: 32,
            rate: 0.3,
            seed: 0,
        }
    }
}

/// A subspace found by distributed alignment search (Geiger et al., 2024): that in which the exchange
/// of a source's activation changes the answer best.
///
/// With x the activation of a problem, x' that of its source, and Q `[d, q]` with orthonormal columns,
///
/// ```text
/// x + (x' − x) Q Qᵀ      loss = −log p(answer asked for)
/// ```
///
/// where p is of all tokens. With g the gradient of the loss at the changed activation and D = x' − x,
/// the gradient of Q is `(Dᵀg + gᵀD) Q`; each step goes along its part at right angles to Q, and
/// a QR decomposition makes the columns orthonormal again.
///
/// It answers what a probe cannot: whether what is *read* best is also what is *used*. Compare
/// [`Subspace::angles`] with a probe's subspace, and with angles of random subspaces.
#[derive(Debug, Clone)]
pub struct Alignment {
    subspace: Subspace,
    losses: Vec<f64>,
}

impl Alignment {
    /// Searches on the changes of `problems`; give it a part of them
    /// ([`Problems::of_template`]) to have others for a test by
    /// [`Patch::Exchange`](super::Patch::Exchange).
    ///
    /// # Errors
    /// As [`changes`], [`Decoder::gradients`] and [`Subspace::random`]; [`Error::Invalid`] for
    /// activations of another role, options of 0; [`Error::Interrupted`] when Stop is pressed.
    pub fn fit(
        model: &Decoder,
        problems: &Problems,
        streams: &Streams,
        options: &AlignmentOptions,
    ) -> Result<Self> {
        check_sizes(&[("`steps`", options.steps), ("`batch`", options.batch)])?;
        check_positive("`rate`", options.rate)?;
        check_layer(model, options.layer)?;
        if streams.role() != options.role || streams.class_of() != problems.classes(options.role) {
            let expected = format!("those at the {} of the same problems", options.role);
            return Err(Error::invalid("the activations", expected, streams));
        }
        let period = problems.task().period();
        let all = changes(&problems.questions(), period, options.role, None)?;
        let x = streams.layer(options.layer)?.to_dtype(DType::F64)?;
        let mut rng = Rng::seed(options.seed);
        let mut subspace = Subspace::random(x.dims()[1], options.dimensions, &mut rng)?;
        let search = AlignmentSearch { model, problems, x, options };
        let mut losses = Vec::with_capacity(options.steps);
        let mut progress = Progress::new("alignment", options.steps as u64, "step");
        for step in 0..options.steps {
            let drawn: Vec<Change> =
                (0..options.batch).map(|_| all[rng.below(all.len())]).collect();
            let (loss, gradient) = search.loss(subspace.basis(), &drawn)?;
            losses.push(loss);
            let share = step as f64 / options.steps as f64;
            let rate = options.rate * 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
            subspace = turned(&subspace, &gradient, rate)?;
            progress.note(format!("loss {loss:.3}"));
            if progress.advance(1) {
                return Err(Error::Interrupted { what: "the alignment".to_owned() });
            }
        }
        Ok(Self { subspace, losses })
    }

    /// The subspace.
    pub fn subspace(&self) -> &Subspace {
        &self.subspace
    }

    /// The loss of each step, the mean of `−log p` in nats.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }
}

/// The subspace turned by an angle of `rate` against the gradient of its basis.
fn turned(subspace: &Subspace, gradient: &Tensor, rate: f64) -> Result<Subspace> {
    let basis = subspace.basis();
    let across = (gradient - matmul(basis, &matmul_tn(basis, gradient)?)?)?;
    let length = across.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
    if length == 0.0 {
        return Ok(subspace.clone());
    }
    let moved = (basis - (across * (rate / length))?)?;
    Subspace::spanned_by(&qr(&moved)?.q)
}

/// The loss of a subspace.
struct AlignmentSearch<'a> {
    model: &'a Decoder,
    problems: &'a Problems,
    /// Activations, `[problems, d]`, f64.
    x: Tensor,
    options: &'a AlignmentOptions,
}

impl AlignmentSearch<'_> {
    /// The mean of `−log p(new answer)` over some changes, and its gradient with respect to the basis
    /// `[d, q]`.
    fn loss(&self, basis: &Tensor, changes: &[Change]) -> Result<(f64, Tensor)> {
        let which: Vec<usize> = changes.iter().map(|change| change.problem).collect();
        let (mut loss, mut gradient) = (0.0, basis.zeros_like()?);
        for places in self.problems.batches(&which, changes.len()) {
            let own: Vec<Change> = places.iter().map(|&at| changes[at]).collect();
            let (part, part_gradient) = self.batch(basis, &own)?;
            loss += part;
            gradient = (gradient + part_gradient)?;
        }
        let count = changes.len() as f64;
        Ok((loss / count, (gradient / count)?))
    }

    /// The sums over changes of prompts of one length.
    fn batch(&self, basis: &Tensor, changes: &[Change]) -> Result<(f64, Tensor)> {
        let picked = |of: fn(&Change) -> usize| -> Result<Tensor> {
            let ids: Vec<u32> = changes.iter().map(|change| of(change) as u32).collect();
            Ok(self.x.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?)
        };
        let apart = (picked(|change| change.source)? - picked(|change| change.problem)?)?;
        let shift = matmul_nt(&matmul(&apart, basis)?, basis)?;
        let problems: Vec<usize> = changes.iter().map(|change| change.problem).collect();
        let tokens = self.problems.tokens(&problems, self.model)?;
        let (batch, positions) = tokens.dims2()?;
        let mut own = vec![0f32; batch * positions];
        for (row, &problem) in problems.iter().enumerate() {
            let position = self.problems.get(problem)?.position(self.options.role)?;
            own[row * positions + position] = 1.0;
        }
        let device = self.model.device();
        let own = Tensor::from_vec(own, (batch, positions, 1), device)?;
        let own = own.to_dtype(self.model.dtype())?;
        let shift = shift.to_dtype(self.model.dtype())?.to_device(device)?.unsqueeze(1)?;
        let shift = own.broadcast_mul(&shift)?;
        let point = stream_point(self.model, self.options.layer);
        let hooks = Hooks::new().replace(point, move |x| Ok((x + &shift)?));
        let answers = self.problems.answer_tokens();
        let answers: Vec<u32> = changes.iter().map(|change| answers[change.new]).collect();
        let answers = Tensor::new(answers, device)?.unsqueeze(1)?;
        let found = self.model.gradients(&tokens, &[point], &hooks, |logits| {
            let last = logits.narrow(1, positions - 1, 1)?.squeeze(1)?;
            let shifted = last.broadcast_sub(&last.max_keepdim(D::Minus1)?)?;
            let own = shifted.gather(&answers, 1)?.squeeze(1)?;
            Ok((shifted.exp()?.sum(D::Minus1)?.log()? - own)?.sum_all()?)
        })?;
        let g = found.gradients.get(point)?.broadcast_mul(&own)?.sum(1)?;
        let g = g.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let first = matmul_tn(&apart, &matmul(&g, basis)?)?;
        let second = matmul_tn(&g, &matmul(&apart, basis)?)?;
        Ok((found.value, (first + second)?))
    }
}

show_as_text!(Alignment);

impl fmt::Display for Alignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = [self.losses.first(), self.losses.last()].map(|loss| loss.unwrap_or(&0.0));
        write!(
            f,
            "{}, aligned in {} steps: loss {:.3} at first, {:.3} at last",
            self.subspace,
            self.losses.len(),
            ends[0],
            ends[1]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{prepared, random_basis};
    use super::super::{CyclicTask, InterveneOptions, Interventions, Patch};
    use super::*;

    #[test]
    fn the_gradient_is_that_of_differences() {
        let (model, problems) = prepared(&CyclicTask::weekdays());
        let model = model.widened().unwrap();
        let streams = problems.activations(&model, Role::Start).unwrap();
        let options = AlignmentOptions { layer: 1, ..AlignmentOptions::default() };
        let x = streams.layer(1).unwrap().to_dtype(DType::F64).unwrap();
        let all = changes(&problems.questions(), 7, Role::Start, None).unwrap();
        let search = AlignmentSearch { model: &model, problems: &problems, x, options: &options };
        let some = [all[3], all[100], all[201]];
        let basis = random_basis(16, 2);
        let gradient: Vec<Vec<f64>> = search.loss(&basis, &some).unwrap().1.to_vec2().unwrap();
        let entries: Vec<Vec<f64>> = basis.to_vec2().unwrap();
        for (row, column) in [(0, 0), (7, 1), (15, 0)] {
            let moved = |by: f64| {
                let mut entries = entries.clone();
                entries[row][column] += by;
                search.loss(&Tensor::new(entries, &Device::Cpu).unwrap(), &some).unwrap().0
            };
            let expected = (moved(1e-4) - moved(-1e-4)) / 2e-4;
            let found = gradient[row][column];
            assert!(found.abs() > 1e-6, "no gradient at {row}, {column}");
            let far = (found - expected).abs();
            assert!(far < 1e-5 * expected.abs().max(1.0), "{found} for {expected}");
        }
    }

    #[test]
    fn a_search_lowers_the_loss_and_is_exchanged_as_it_was_fitted() {
        let (model, problems) = prepared(&CyclicTask::next_day());
        let streams = problems.activations(&model, Role::Start).unwrap();
        let options = AlignmentOptions { layer: 1, steps: 60, ..AlignmentOptions::default() };
        let found = Alignment::fit(&model, &problems, &streams, &options).unwrap();
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let losses = found.losses();
        assert!(mean(&losses[50..]) < mean(&losses[..10]), "{losses:?}");
        assert!(found.to_string().contains("in 60 steps"), "{found}");
        let patches = vec![Patch::Exchange(found.subspace().clone()), Patch::Layer];
        let options = InterveneOptions { layers: vec![1], patches, ..Default::default() };
        let outcome = Interventions::run(&model, &problems, &streams, &options).unwrap();
        assert_eq!(outcome.outcomes().len(), 2);
        // In all dimensions it is the whole layer.
        let whole = Subspace::spanned_by(&random_basis(16, 16)).unwrap();
        let patches = vec![Patch::Exchange(whole), Patch::Layer];
        let options = InterveneOptions { patches, ..options };
        let outcome = Interventions::run(&model, &problems, &streams, &options).unwrap();
        let [first, second] = [0, 1].map(|i| &outcome.outcomes()[i].differences);
        assert!(first.iter().zip(second).all(|(one, two)| (one - two).abs() < 1e-3));
    }

    #[test]
    fn options_that_do_not_fit_are_named() {
        let (model, problems) = prepared(&CyclicTask::next_day());
        let streams = problems.activations(&model, Role::Start).unwrap();
        let text = |options: AlignmentOptions| {
            Alignment::fit(&model, &problems, &streams, &options).unwrap_err().to_string()
        };
        let base = AlignmentOptions::default();
        assert!(text(AlignmentOptions { steps: 0, ..base.clone() }).contains("`steps`"));
        assert!(text(AlignmentOptions { rate: -1.0, ..base.clone() }).contains("`rate`"));
        assert!(text(AlignmentOptions { dimensions: 17, ..base.clone() }).contains("at most 16"));
        assert!(
            text(AlignmentOptions { role: Role::Last, ..base.clone() }).contains("at the last")
        );
        assert!(text(AlignmentOptions { layer: 3, ..base }).contains("at most 2"));
    }
}
