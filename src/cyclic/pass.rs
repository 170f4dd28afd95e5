//! Passes of a model with one position exchanged.
//!
//! What passes have in common is run once. The tokens before the exchanged position are the same in all
//! passes of a problem, and in problems that differ in that position alone: their keys and values are
//! kept. What the exchanged position itself becomes depends on those and on its vector, not on the
//! token that stood there. So a pass is two steps: of the exchanged position, once for every beginning
//! and vector, and of the positions after it.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};

use super::problems::{Problems, Role};
use crate::model::{Decoder, HookPoint, Past};
use crate::{Error, Result};

/// Where the residual stream before a layer is; after the last one for their number.
pub(super) fn stream_point(model: &Decoder, layer: usize) -> HookPoint {
    match layer < model.config().layers {
        true => HookPoint::ResidPre(layer),
        false => HookPoint::ResidPost(model.config().layers - 1),
    }
}

/// Fails for a layer beyond the stream after the last one.
pub(super) fn check_layer(model: &Decoder, layer: usize) -> Result<()> {
    let layers = model.config().layers;
    match layer <= layers {
        true => Ok(()),
        false => {
            let expected = format!("at most {layers}, the stream after the last layer");
            Err(Error::invalid("the layer", expected, layer))
        }
    }
}

/// A beginning that problems share: its number of tokens, and its row among those of as many.
type Beginning = (usize, usize);

/// What is known of a problem before anything is exchanged.
#[derive(Debug, Clone)]
struct CleanRun {
    beginning: Beginning,
    /// For each layer, the stream after the position that is exchanged, `[positions, d_model]`, and
    /// a number that it shares with equal ones.
    rest: BTreeMap<usize, (Tensor, usize)>,
}

/// Passes that go on from the residual stream before some layers, with a position of problems
/// exchanged.
pub(super) struct Runner<'a> {
    model: &'a Decoder,
    problems: &'a Problems,
    answers: Tensor,
    /// Keys and values of beginnings, by their number of tokens.
    beginnings: BTreeMap<usize, Past>,
    clean: HashMap<usize, CleanRun>,
    batch: usize,
    token_layers: Cell<u64>,
}

/// A pass that is to be run: of a problem, with a row of the vectors.
struct PlannedPass {
    problem: usize,
    row: usize,
    /// Which of the distinct vectors it is.
    vector: usize,
    beginning: Beginning,
}

impl<'a> Runner<'a> {
    /// For the problems `which`, whose position of `role` is exchanged before some of `layers`.
    pub(super) fn new(
        model: &'a Decoder,
        problems: &'a Problems,
        layers: &[usize],
        role: Role,
        which: &[usize],
        batch: usize,
    ) -> Result<Self> {
        layers.iter().try_for_each(|&layer| check_layer(model, layer))?;
        let answers = Tensor::new(problems.answer_tokens(), model.device())?;
        let mut runner = Self {
            model,
            problems,
            answers,
            beginnings: BTreeMap::new(),
            clean: HashMap::new(),
            batch,
            token_layers: Cell::new(0),
        };
        if !layers.is_empty() {
            let beginnings = runner.read_beginnings(role, which)?;
            runner.read_rests(layers, which, &beginnings)?;
        }
        Ok(runner)
    }

    /// Positions times layers that were run so far.
    pub(super) fn token_layers(&self) -> u64 {
        self.token_layers.get()
    }

    fn count(&self, rows: usize, positions: usize, layers: usize) {
        self.token_layers.set(self.token_layers.get() + (rows * positions * layers) as u64);
    }

    /// Runs the tokens before the exchanged position, and returns the beginning of each of `which`.
    fn read_beginnings(&mut self, role: Role, which: &[usize]) -> Result<Vec<Beginning>> {
        let mut of_length: BTreeMap<usize, Vec<&[u32]>> = BTreeMap::new();
        let mut beginnings = Vec::with_capacity(which.len());
        let mut row_of: HashMap<&[u32], usize> = HashMap::new();
        for &problem in which {
            let problem = self.problems.get(problem)?;
            let tokens = &problem.tokens[..problem.position(role)?];
            let rows = of_length.entry(tokens.len()).or_default();
            let row = *row_of.entry(tokens).or_insert_with(|| {
                rows.push(tokens);
                rows.len() - 1
            });
            beginnings.push((tokens.len(), row));
        }
        for (length, rows) in of_length {
            let mut parts = Vec::new();
            for rows in rows.chunks(self.batch).filter(|_| length > 0) {
                let tokens = Tensor::new(rows.concat(), self.model.device())?;
                parts.push(self.model.past_of(&tokens.reshape((rows.len(), length))?)?);
                self.count(rows.len(), length, self.model.config().layers);
            }
            self.beginnings.insert(length, Past::stacked(&parts)?);
        }
        Ok(beginnings)
    }

    /// Runs the tokens from the exchanged position on, as they are.
    fn read_rests(
        &mut self,
        layers: &[usize],
        which: &[usize],
        beginnings: &[Beginning],
    ) -> Result<()> {
        let points: Vec<_> = layers.iter().map(|&at| stream_point(self.model, at)).collect();
        let deepest = layers.iter().max().copied().unwrap_or(0);
        let mut numbers: HashMap<(usize, Vec<u32>), usize> = HashMap::new();
        let mut by_shape: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (at, &(length, _)) in beginnings.iter().enumerate() {
            let all = self.problems.get(which[at])?.tokens.len();
            by_shape.entry((length, all)).or_default().push(at);
        }
        for ((length, all), places) in by_shape {
            for places in places.chunks(self.batch) {
                let mut tokens = Vec::new();
                for &at in places {
                    tokens.extend_from_slice(&self.problems.get(which[at])?.tokens[length..]);
                }
                let tokens = Tensor::new(tokens, self.model.device())?;
                let tokens = tokens.reshape((places.len(), all - length))?;
                let rows = places.iter().map(|&at| beginnings[at].1);
                let past = self.beginning(length, rows, 0)?;
                let cache = self.model.activations_after(past, &tokens, &points)?;
                self.count(places.len(), all - length, deepest);
                for (i, &at) in places.iter().enumerate() {
                    let mut rest = BTreeMap::new();
                    for (&layer, &point) in layers.iter().zip(&points) {
                        let stream = cache.get(point)?.get(i)?;
                        let stream = stream.narrow(0, 1, all - length - 1)?.contiguous()?;
                        let next = numbers.len();
                        let number = *numbers.entry((layer, bits(&stream)?)).or_insert(next);
                        rest.insert(layer, (stream, number));
                    }
                    let run = CleanRun { beginning: beginnings[at], rest };
                    self.clean.insert(which[at], run);
                }
            }
        }
        Ok(())
    }

    /// Keys and values of some beginnings of one length, for passes from a layer on.
    fn beginning(
        &self,
        length: usize,
        rows: impl Iterator<Item = usize>,
        layer: usize,
    ) -> Result<Past> {
        match self.beginnings.get(&length) {
            Some(past) => past.select(&ids(rows, self.model.device())?, layer),
            None => Ok(Past::default()),
        }
    }

    /// Logits of the words, `[rows, words]` in f64, after passes of problems with the stream before
    /// `layer` at the role's position exchanged for rows of `vectors`, `[rows, d_model]`. Passes that
    /// are equal in all are run once. `each` is called with the number of rows that a batch has
    /// done, and ends the call with `None` by returning true.
    pub(super) fn logits(
        &self,
        layer: usize,
        which: &[usize],
        vectors: &Tensor,
        each: &mut impl FnMut(usize) -> bool,
    ) -> Result<Option<Vec<Vec<f64>>>> {
        let vectors = vectors.to_device(&Device::Cpu)?.to_dtype(self.model.dtype())?;
        let mut numbers: HashMap<Vec<u32>, usize> = HashMap::new();
        let mut same: HashMap<(Beginning, usize, usize), usize> = HashMap::new();
        let (mut passes, mut of_row) = (Vec::new(), Vec::with_capacity(which.len()));
        for (row, &problem) in which.iter().enumerate() {
            let (clean, rest) = self.clean_run(problem, layer)?;
            let next = numbers.len();
            let vector = *numbers.entry(bits(&vectors.get(row)?)?).or_insert(next);
            let pass = *same.entry((clean.beginning, vector, rest.1)).or_insert_with(|| {
                let beginning = clean.beginning;
                passes.push(PlannedPass { problem, row, vector, beginning });
                passes.len() - 1
            });
            of_row.push(pass);
        }
        let mut rows_of = vec![0; passes.len()];
        of_row.iter().for_each(|&pass| rows_of[pass] += 1);
        let vectors = vectors.to_device(self.model.device())?;
        let mut found: Vec<Vec<f64>> = vec![Vec::new(); passes.len()];
        for places in self.batches(&passes, layer)? {
            let own: Vec<&PlannedPass> = places.iter().map(|&at| &passes[at]).collect();
            let logits = self.run(layer, &own, &vectors)?;
            let logits = logits.index_select(&self.answers, 1)?.to_dtype(DType::F64)?;
            let rows: Vec<Vec<f64>> = logits.to_device(&Device::Cpu)?.to_vec2()?;
            for (&at, row) in places.iter().zip(rows) {
                found[at] = row;
            }
            if each(places.iter().map(|&at| rows_of[at]).sum()) {
                return Ok(None);
            }
        }
        Ok(Some(of_row.into_iter().map(|pass| found[pass].clone()).collect()))
    }

    /// What is known of a problem, and its stream before a layer after the exchanged position.
    fn clean_run(&self, problem: usize, layer: usize) -> Result<(&CleanRun, &(Tensor, usize))> {
        let clean = self.clean.get(&problem);
        let rest = clean.and_then(|clean| Some((clean, clean.rest.get(&layer)?)));
        rest.ok_or_else(|| {
            let expected = "among those that the passes were prepared for";
            Error::invalid("the problem and layer", expected, format!("{problem} and {layer}"))
        })
    }

    /// Passes of one shape in batches; those that share the exchanged position follow each other.
    fn batches(&self, passes: &[PlannedPass], layer: usize) -> Result<Vec<Vec<usize>>> {
        let mut by_shape: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (at, pass) in passes.iter().enumerate() {
            let rest = self.clean_run(pass.problem, layer)?.1.0.dim(0)?;
            by_shape.entry((pass.beginning.0, rest)).or_default().push(at);
        }
        let mut batches = Vec::new();
        for mut places in by_shape.into_values() {
            places.sort_by_key(|&at| (passes[at].beginning, passes[at].vector));
            batches.extend(places.chunks(self.batch).map(<[usize]>::to_vec));
        }
        Ok(batches)
    }

    /// Logits at the last position of passes of one shape, `[passes, vocab]`.
    fn run(&self, layer: usize, passes: &[&PlannedPass], vectors: &Tensor) -> Result<Tensor> {
        let mut exchanged: Vec<&PlannedPass> = Vec::new();
        let mut of_pass = Vec::with_capacity(passes.len());
        for pass in passes {
            let key = |pass: &&PlannedPass| (pass.beginning, pass.vector);
            if exchanged.last().is_none_or(|last| key(last) != key(pass)) {
                exchanged.push(pass);
            }
            of_pass.push(exchanged.len() - 1);
        }
        let (device, left) = (self.model.device(), self.model.config().layers - layer);
        let length = exchanged.first().map_or(0, |pass| pass.beginning.0);
        let mut past =
            self.beginning(length, exchanged.iter().map(|pass| pass.beginning.1), layer)?;
        let own = vectors.index_select(&ids(exchanged.iter().map(|pass| pass.row), device)?, 0)?;
        let stream = self.model.stream_after(&mut past, layer, &own.unsqueeze(1)?)?;
        self.count(exchanged.len(), 1, left);
        let rest = passes.iter().map(|pass| Ok(self.clean_run(pass.problem, layer)?.1.0.clone()));
        let rest = rest.collect::<Result<Vec<Tensor>>>()?;
        let after = rest.first().map_or(Ok(0), |rest| rest.dim(0))?;
        let of_pass = ids(of_pass.into_iter(), device)?;
        let last = if after == 0 {
            stream.index_select(&of_pass, 0)?
        } else {
            let mut past = past.select(&of_pass, layer)?;
            let stream = self.model.stream_after(&mut past, layer, &Tensor::stack(&rest, 0)?)?;
            self.count(passes.len(), after, left);
            stream.narrow(1, after - 1, 1)?.contiguous()?
        };
        self.model.unembed(&last.squeeze(1)?)
    }
}

/// Row numbers as a tensor.
fn ids(rows: impl Iterator<Item = usize>, device: &Device) -> Result<Tensor> {
    let rows: Vec<u32> = rows.map(|row| row as u32).collect();
    Ok(Tensor::new(rows, device)?)
}

/// The bits of a tensor's values as f32, which are equal if the values are: those of a model in f64
/// are told apart by two words each.
fn bits(x: &Tensor) -> Result<Vec<u32>> {
    if x.elem_count() == 0 {
        return Ok(Vec::new());
    }
    let flat = x.flatten_all()?;
    if flat.dtype() == DType::F64 {
        let words = flat.to_vec1::<f64>()?.into_iter().map(f64::to_bits);
        return Ok(words.flat_map(|word| [word as u32, (word >> 32) as u32]).collect());
    }
    let values: Vec<f32> = flat.to_dtype(DType::F32)?.to_vec1()?;
    Ok(values.into_iter().map(f32::to_bits).collect())
}

#[cfg(test)]
mod tests;
