//! What a model would say if it ended early.

use std::fmt;

use candle_core::Tensor;

use crate::display::{ShownCell, ShownColumn, ShownTable};
use crate::model::{Decoder, HookPoint, Hooks, Sampling};
use crate::text::escape;
use crate::{Error, Result};

/// The most probable next tokens after each layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Lens {
    /// Before the first layer, then after each.
    pub rows: Vec<LensRow>,
}

/// The most probable next tokens at one depth.
#[derive(Debug, Clone, PartialEq)]
pub struct LensRow {
    /// Where the residual stream was read.
    pub point: HookPoint,
    /// Tokens and probabilities, from the most probable down.
    pub tokens: Vec<(String, f64)>,
    /// The tokens as the table shows them; see
    /// [`Tokenizer::visible`](crate::data::text::Tokenizer::visible).
    pub visible: Vec<String>,
}

impl Decoder {
    /// The logit lens (nostalgebraist, 2020): the residual stream before the first layer and after
    /// each one, put through the final norm and the unembedding as if the rest were not there.
    /// `[layers + 1, batch, positions, vocab]`; the last are the model's logits.
    ///
    /// # Errors
    /// As [`Decoder::logits`].
    pub fn logit_lens(&self, tokens: &Tensor) -> Result<Tensor> {
        let points = self.depths();
        let cache = self.activations(tokens, &points)?;
        let logits = |point: &HookPoint| self.unembed(cache.get(*point)?);
        Ok(Tensor::stack(&points.iter().map(logits).collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// [`Decoder::logit_lens`] at the end of a text: the `count` most probable next tokens at each
    /// depth.
    ///
    /// # Errors
    /// As [`Decoder::tokens`] and [`Decoder::logits`]; a count of zero or above the vocabulary.
    pub fn lens(&self, text: &str, count: usize) -> Result<Lens> {
        let tokenizer = self.tokenizer()?;
        let vocab = self.config().vocab;
        if count == 0 || count > vocab {
            let expected = format!("between 1 and {vocab}, the tokens");
            return Err(Error::invalid("the number of tokens", expected, count));
        }
        let points = self.depths();
        let hooks = Hooks::new().capture_all(points.iter().copied());
        let (_, cache) = self.run(&self.tokens(text)?, &hooks)?;
        let row = |point: &HookPoint| {
            let stream = cache.get(*point)?.get(0)?;
            let last = stream.get(stream.dim(0)? - 1)?.unsqueeze(0)?;
            let probabilities =
                Sampling::default().probabilities(&self.unembed(&last)?.squeeze(0)?)?;
            let mut order: Vec<usize> = (0..vocab).collect();
            order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
            let token =
                |token: &usize| Ok((tokenizer.token(*token as u32)?, probabilities[*token]));
            let tokens = order[..count].iter().map(token).collect::<Result<_>>()?;
            let visible = order[..count].iter().map(|token| tokenizer.visible(*token as u32));
            Ok(LensRow { point: *point, tokens, visible: visible.collect::<Result<_>>()? })
        };
        Ok(Lens { rows: points.iter().map(row).collect::<Result<_>>()? })
    }

    /// The residual stream before the first layer and after each.
    fn depths(&self) -> Vec<HookPoint> {
        let posts = (0..self.config().layers).map(HookPoint::ResidPost);
        std::iter::once(HookPoint::ResidPre(0)).chain(posts).collect()
    }
}

impl Lens {
    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn shown(&self) -> ShownTable {
        let num_tokens = self.rows.first().map_or(0, |row| row.tokens.len());
        let tokens = (0..num_tokens).map(|_| ShownColumn::left(""));
        let points = ShownColumn::right("").naming_rows();
        let mut shown = ShownTable::new(std::iter::once(points).chain(tokens));
        for row in &self.rows {
            let cell = |(token, (_, probability)): (&String, &(String, f64))| {
                let percent = format!("{:.1} %", 100. * probability);
                let html = format!("<code>{}</code> {percent}", escape(token));
                ShownCell::with_html(format!("{token} {percent}"), html)
            };
            let cells = row.visible.iter().zip(&row.tokens).map(cell);
            shown.push(std::iter::once(row.point.into()).chain(cells));
        }
        shown
    }
}

impl fmt::Display for Lens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            write!(f, "{:>14}", row.point.to_string())?;
            for (token, (_, probability)) in row.visible.iter().zip(&row.tokens) {
                write!(f, "  {token:>12} {:5.1} %", 100. * probability)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::data::text::Tokenizer;
    use crate::model::Config;

    #[test]
    fn it_ends_with_the_logits_and_begins_with_the_embedding() {
        let config = Config { vocab: 260, context: 32, ..Config::gpt2(2, 2, 8, 16) };
        let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
        let tokens = Tensor::new(&[[5u32, 7, 9], [1, 2, 3]], &Device::Cpu).unwrap();
        let lens = model.logit_lens(&tokens).unwrap();
        assert_eq!(lens.dims(), [3, 2, 3, 260]);
        let gap = |a: &Tensor, b: &Tensor| -> f32 {
            (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
        };
        assert!(gap(&lens.get(2).unwrap(), &model.logits(&tokens).unwrap()) < 1e-6);
        let start = model.activations(&tokens, &[HookPoint::ResidPre(0)]).unwrap();
        let start = model.unembed(start.get(HookPoint::ResidPre(0)).unwrap()).unwrap();
        assert_eq!(gap(&lens.get(0).unwrap(), &start), 0.0);

        let tokenizer = Tokenizer::train(["the king of the sea"], 260).unwrap();
        let model = model.with_tokenizer(&tokenizer).unwrap();
        let lens = model.lens("the king", 3).unwrap();
        assert_eq!(lens.rows.len(), 3);
        assert!(lens.rows.iter().all(|row| row.tokens.is_sorted_by(|a, b| a.1 >= b.1)));
        assert!(
            lens.to_string().contains("1.resid_post") && lens.shown().html().contains("<code>")
        );
        assert!(model.lens("the", 0).is_err());
    }

    /// Case 06: a special token, and a row of the embedding that no token has, are shown.
    #[test]
    fn special_tokens_and_padding_are_shown() {
        use crate::data::text::tests::word_level;
        let config = Config { vocab: 6, context: 8, ..Config::gpt2(1, 2, 8, 16) };
        let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
        let vocab = serde_json::json!({"a": 0, "b": 1, "[UNK]": 2, "<eos>": 3});
        let model = model.with_tokenizer(&word_level(vocab, &["<eos>"])).unwrap();
        let lens = model.lens("a b", 6).unwrap();
        let mut shown = lens.rows[0].visible.clone();
        shown.sort();
        assert_eq!(shown, ["<eos>", "[UNK]", "[id 4]", "[id 5]", "a", "b"]);
        let sum: f64 = lens.rows[1].tokens.iter().map(|(_, probability)| probability).sum();
        assert!((sum - 1.0).abs() < 1e-9);
        assert!(
            lens.shown().html().contains("<code>&lt;eos&gt;</code>"),
            "{}",
            lens.shown().html()
        );
        assert!(lens.to_string().contains("       <eos> "), "{lens}");
        assert!(model.lens("a", 7).unwrap_err().to_string().contains("between 1 and 6"));
    }
}
