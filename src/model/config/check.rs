//! Whether sizes and numbers make a model.

use super::{Config, Mlp, Norm, Position};
use crate::check::check_sizes;
use crate::{Error, Result};

impl Config {
    /// Checks that the sizes make a model.
    pub(in crate::model) fn check(&self) -> Result<()> {
        check_sizes(&[
            ("the number of layers", self.layers),
            ("the number of heads", self.heads),
            ("the number of key and value heads", self.kv_heads()),
            ("d_model", self.d_model),
            ("the context", self.context),
            ("the vocabulary", self.vocab),
        ])?;
        if self.mlp != Mlp::None {
            check_sizes(&[("d_hidden", self.d_hidden)])?;
        }
        if self.d_head.is_none() {
            // Half of a head turns with the other half.
            let width = self.d_model / self.heads;
            let whole = self.rotaries().any(|rotary| rotary.entries(width) == width);
            let (parts, of) = match whole {
                true => (2 * self.heads, "twice "),
                false => (self.heads, ""),
            };
            if !self.d_model.is_multiple_of(parts) {
                let expected = format!("a multiple of {of}the {} heads", self.heads);
                return Err(Error::invalid("d_model", expected, self.d_model));
            }
        }
        check_sizes(&[("d_head", self.d_head())])?;
        if !self.heads.is_multiple_of(self.kv_heads()) {
            let expected = format!("a multiple of the {} key and value heads", self.kv_heads());
            return Err(Error::invalid("the number of heads", expected, self.heads));
        }
        self.check_positions()?;
        let of_layers = [("the windows", self.windows.len()), ("`unturned`", self.unturned.len())];
        for (what, entries) in of_layers {
            if entries != 0 && entries != self.layers {
                let expected = format!("none, or one for each of {} layers", self.layers);
                return Err(Error::invalid(what, expected, entries));
            }
        }
        if self.windows.contains(&Some(0)) {
            return Err(Error::invalid("a window", "at least 1", 0));
        }
        if self.qk_norm.is_some() && (self.norm == Norm::None || self.norm.centres()) {
            let expected =
                "an RMS norm where queries and keys have norms too, which are of its kind";
            return Err(Error::invalid("the norm", expected, format!("{:?}", self.norm)));
        }
        self.check_numbers()
    }

    fn check_positions(&self) -> Result<()> {
        if let Position::Rotary(rotary) = &self.position {
            rotary.check(self.d_head(), "")?;
            if let Some(local) = &self.local_rotary {
                local.check(self.d_head(), "local ")?;
            }
            return match self.position_offset {
                0 => Ok(()),
                other => {
                    let expected = "0 where positions have no vectors";
                    Err(Error::invalid("the offset of positions", expected, other))
                }
            };
        }
        if self.local_rotary.is_some() || self.unturned.contains(&true) {
            let expected = "rotary where `local_rotary` or `unturned` says which layers turn how";
            return Err(Error::invalid("positions", expected, format!("{:?}", self.position)));
        }
        match self.context.checked_add(self.position_offset) {
            Some(_) => Ok(()),
            None => {
                let expected = "a row number";
                Err(Error::invalid("the offset of positions", expected, self.position_offset))
            }
        }
    }

    fn check_numbers(&self) -> Result<()> {
        let positive = [
            ("the scale of attention scores", Some(self.score_scale())),
            ("the bound of attention scores", self.score_cap),
            ("the bound of logits", self.logit_cap),
            ("the scale of embeddings", Some(self.embed_scale)),
            ("the scale of what attention and MLP write", Some(self.residual_scale)),
            ("the scale of logits", Some(self.logit_scale)),
        ];
        for (what, value) in positive {
            if let Some(value) = value.filter(|value| !(*value > 0. && value.is_finite())) {
                return Err(Error::invalid(what, "positive", value));
            }
        }
        let eps = self.norm.eps();
        match eps >= 0. && eps.is_finite() {
            true => Ok(()),
            false => Err(Error::invalid("the epsilon of the norms", "zero or positive", eps)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{QkNorm, Rotary, Scaling};

    #[test]
    fn sizes_and_numbers_that_make_no_model_are_refused() {
        let usual = Config::llama(2, 4, 32, 64);
        usual.check().unwrap();
        let rotary = |rotary| Position::Rotary(rotary);
        let small = |dims| Rotary { dims: Some(dims), ..Rotary::new(1e4) };
        let slow = Rotary { scaling: Scaling::Linear { factor: 0. }, ..Rotary::new(1e4) };
        let learned = Config::opt(2, 4, 32, 64);
        learned.check().unwrap();
        let cases = [
            (Config { kv_heads: Some(3), ..usual.clone() }, "a multiple of the 3 key"),
            (Config { kv_heads: Some(0), ..usual.clone() }, "key and value heads"),
            (Config { heads: 5, ..usual.clone() }, "twice the 5 heads"),
            (Config { d_head: Some(7), ..usual.clone() }, "even number up to 7"),
            (Config { d_hidden: 0, ..usual.clone() }, "d_hidden"),
            (Config { windows: vec![None], ..usual.clone() }, "each of 2 layers"),
            (Config { windows: vec![None, Some(0)], ..usual.clone() }, "a window"),
            (Config { unturned: vec![true], ..usual.clone() }, "`unturned`"),
            (Config { score_cap: Some(0.), ..usual.clone() }, "bound of attention scores"),
            (Config { logit_cap: Some(f64::NAN), ..usual.clone() }, "bound of logits"),
            (Config { residual_scale: 0., ..usual.clone() }, "attention and MLP write"),
            (Config { logit_scale: f64::INFINITY, ..usual.clone() }, "scale of logits"),
            (Config { norm: Norm::RmsGain { eps: -1. }, ..usual.clone() }, "epsilon"),
            (Config { position: rotary(Rotary::new(0.)), ..usual.clone() }, "the rotary base"),
            (Config { position: rotary(small(10)), ..usual.clone() }, "even number up to 8"),
            (Config { position: rotary(slow.clone()), ..usual.clone() }, "of rotary scaling"),
            (Config { local_rotary: Some(small(3)), ..usual.clone() }, "local rotary entries"),
            (Config { local_rotary: Some(slow.clone()), ..usual.clone() }, "local rotary scaling"),
            (Config { position_offset: 2, ..usual.clone() }, "offset of positions"),
            (Config { position_offset: usize::MAX, ..learned.clone() }, "offset of positions"),
            (Config { local_rotary: Some(small(4)), ..learned.clone() }, "rotary where"),
            (Config { unturned: vec![true, false], ..learned.clone() }, "rotary where"),
            (Config { qk_norm: Some(QkNorm::Whole), ..learned.clone() }, "an RMS norm where"),
            (
                Config { qk_norm: Some(QkNorm::PerHead), norm: Norm::None, ..usual.clone() },
                "an RMS norm where",
            ),
        ];
        for (config, expected) in cases {
            let message = config.check().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        for config in [
            Config { d_hidden: 0, mlp: Mlp::None, ..usual },
            Config { position: Position::Shortformer, unturned: vec![false; 2], ..learned },
            Config::gemma3(7, 4, 32, 64),
            Config::olmo2(2, 4, 32, 64),
            Config::gpt_neo(3, 4, 32, 64),
        ] {
            config.check().unwrap();
        }
    }

    #[test]
    fn each_layer_has_its_rotary_embedding() {
        let config = Config::gemma3(7, 4, 32, 64);
        let bases: Vec<f64> = (0..7).map(|layer| config.rotary_of(layer).unwrap().base).collect();
        assert_eq!(bases, [1e4, 1e4, 1e4, 1e4, 1e4, 1e6, 1e4]);
        let unturned = vec![false, true, false];
        let config = Config { unturned, ..Config::llama(3, 4, 32, 64) };
        let turned = |layer| config.rotary_of(layer).is_some();
        assert_eq!([0, 1, 2].map(turned), [true, false, true]);
        assert!(Config::gpt2(1, 4, 32, 64).rotary_of(0).is_none());
        // A local embedding without windows is nobody's.
        let local = Some(Rotary::new(7.));
        let config = Config { local_rotary: local, ..Config::llama(1, 4, 32, 64) };
        assert_eq!(config.rotary_of(0), Some(&Rotary::new(1e4)));
    }
}
