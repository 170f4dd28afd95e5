//! What an intervention does to the next token.

use std::fmt;

use candle_core::DType;

use super::{Decoder, Hooks, Sampling};
use crate::display::{ShownCell, ShownColumn, ShownTable};
use crate::{Error, Result};

/// How hooks change what a model says after a text: the tokens whose probabilities move most.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// From the largest change down.
    pub rows: Vec<EffectRow>,
    /// `Σ p log(p/q)` in nats, of the probabilities p without the hooks and q with them.
    pub divergence: f64,
}

/// A token with and without an intervention.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectRow {
    /// The token's text.
    pub token: String,
    /// The token as the table shows it; see
    /// [`Tokenizer::visible`](crate::data::text::Tokenizer::visible).
    pub visible: String,
    /// Its logit without the hooks.
    pub before: f32,
    /// Its logit with them.
    pub after: f32,
    /// Its probability without the hooks.
    pub p_before: f64,
    /// Its probability with them.
    pub p_after: f64,
}

impl EffectRow {
    /// `after − before`.
    pub fn change(&self) -> f32 {
        self.after - self.before
    }
}

impl Decoder {
    /// How `hooks` change the next token after a text: the `count` tokens whose probabilities they
    /// move most.
    ///
    /// # Errors
    /// As [`Decoder::tokens`] and [`Decoder::run`]; a count of zero or above the vocabulary.
    pub fn effect(&self, text: &str, hooks: &Hooks, count: usize) -> Result<Effect> {
        let tokenizer = self.tokenizer()?;
        let vocab = self.config().vocab;
        if count == 0 || count > vocab {
            let expected = format!("between 1 and {vocab}, the tokens");
            return Err(Error::invalid("the number of tokens", expected, count));
        }
        let tokens = self.tokens(text)?;
        let last = |hooks: &Hooks| -> Result<(Vec<f32>, Vec<f64>)> {
            let logits = self.run(&tokens, hooks)?.0.get(0)?;
            let logits = logits.get(logits.dim(0)? - 1)?;
            Ok((
                logits.to_dtype(DType::F32)?.to_vec1()?,
                Sampling::default().probabilities(&logits)?,
            ))
        };
        let (before, p_before) = last(&Hooks::new())?;
        let (after, p_after) = last(hooks)?;
        let mut order: Vec<usize> = (0..vocab).collect();
        let size = |token: &usize| (p_after[*token] - p_before[*token]).abs();
        order.sort_by(|a, b| size(b).total_cmp(&size(a)));
        let row = |token: &usize| {
            Ok(EffectRow {
                token: tokenizer.token(*token as u32)?,
                visible: tokenizer.visible(*token as u32)?,
                before: before[*token],
                after: after[*token],
                p_before: p_before[*token],
                p_after: p_after[*token],
            })
        };
        let divergence = p_before
            .iter()
            .zip(&p_after)
            .filter(|(p, _)| **p > 0.0)
            .map(|(p, q)| p * (p / q.max(f64::MIN_POSITIVE)).ln())
            .sum();
        Ok(Effect { rows: order[..count].iter().map(row).collect::<Result<_>>()?, divergence })
    }
}

impl Effect {
    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn shown(&self) -> ShownTable {
        let numbers = ["logit before", "logit after", "change", "p before", "p after"];
        let columns = [ShownColumn::left("token")].into_iter();
        let mut shown = ShownTable::new(columns.chain(numbers.map(ShownColumn::right)))
            .caption(format!("divergence {:.4} nats", self.divergence));
        for row in &self.rows {
            shown.push([
                ShownCell::code(&row.visible),
                format!("{:.3}", row.before).into(),
                format!("{:.3}", row.after).into(),
                format!("{:+.3}", row.change()).into(),
                format!("{:.2} %", 100.0 * row.p_before).into(),
                format!("{:.2} %", 100.0 * row.p_after).into(),
            ]);
        }
        shown
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "divergence {:.4} nats", self.divergence)?;
        for row in &self.rows {
            let (token, change) = (&row.visible, row.change());
            let (p, q) = (100.0 * row.p_before, 100.0 * row.p_after);
            writeln!(f, "{token:>16} {p:6.2} % → {q:6.2} %   logit {change:+.3}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::data::text::Tokenizer;
    use crate::model::{Config, HookPoint};

    #[test]
    fn it_tells_the_change_of_each_logit() {
        let config = Config { vocab: 260, ..Config::bilinear(1, 2, 8, 16) };
        let tokenizer = Tokenizer::train(["the king of the sea"], 260).unwrap();
        let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
        let model = model.with_tokenizer(&tokenizer).unwrap();
        let none = model.effect("the king", &Hooks::new(), 3).unwrap();
        assert!(none.rows.iter().all(|row| row.change() == 0.0) && none.divergence.abs() < 1e-12);
        let hooks = Hooks::new().replace(HookPoint::ResidPost(0), |x| Ok((x * -2.0)?));
        let effect = model.effect("the king", &hooks, tokenizer.vocab()).unwrap();
        let moved = |row: &EffectRow| (row.p_after - row.p_before).abs();
        let sizes: Vec<f64> = effect.rows.iter().map(moved).collect();
        assert!(sizes.is_sorted_by(|a, b| a >= b) && effect.divergence > 0.0);
        // A norm follows: twice the stream the other way round is the same logits negated.
        assert!(effect.rows.iter().all(|row| (row.before + row.after).abs() < 1e-4));
        let sum: f64 = effect.rows.iter().map(|row| row.p_after).sum();
        // The model has two rows more than there are tokens.
        assert!((sum - 258.0 / 260.0).abs() < 1e-3 && effect.shown().html().contains("<td>"));
        assert!(model.effect("the", &hooks, 0).is_err() && model.effect("", &hooks, 1).is_err());
    }
}
