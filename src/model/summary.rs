//! A model at a glance.

use std::fmt;

use candle_core::DType;

use super::{Activation, Decoder, Mlp, Norm, Position};
use crate::display::show_as_text;
use crate::text::thousands;

/// The parts of a model with their shapes and numbers of parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    title: String,
    /// Name, shape, and how many there are.
    parts: Vec<(String, Vec<usize>, usize)>,
    notes: Vec<String>,
}

impl Summary {
    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.parts.iter().map(|(_, shape, count)| count * shape.iter().product::<usize>()).sum()
    }
}

show_as_text!(Summary);

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} parameters", self.title, thousands(self.parameters()))?;
        let width = self.parts.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        for (name, shape, count) in &self.parts {
            let times = if *count == 1 { String::new() } else { format!("{count} × ") };
            let size = thousands(count * shape.iter().product::<usize>());
            let shape = format!("{times}{shape:?}");
            writeln!(f, "  {name:width$}  {shape:20} {size:>14}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

impl Decoder {
    /// Parts, shapes and numbers of parameters.
    pub fn summary(&self) -> Summary {
        let config = self.config();
        let mut parts: Vec<(String, Vec<usize>, usize)> = Vec::new();
        for (name, weight) in self.weights() {
            let name = match name.strip_prefix("transformer.h.").and_then(|n| n.split_once('.')) {
                Some((_, inner)) => format!("block.{inner}"),
                None => name,
            };
            match parts.iter_mut().find(|(own, ..)| *own == name) {
                Some((.., count)) => *count += 1,
                None => parts.push((name, weight.dims().to_vec(), 1)),
            }
        }
        let activation = |activation: Option<Activation>| match activation {
            None => String::new(),
            Some(Activation::GeluTanh) => "tanh gelu ".to_owned(),
            Some(Activation::Solu) => "SoLU ".to_owned(),
            Some(activation) => format!("{activation:?} ").to_lowercase(),
        };
        let mlp = match config.mlp {
            Mlp::Gated(None) => format!("bilinear MLP of {}", config.d_hidden),
            Mlp::Gated(gate) => format!("{}gated MLP of {}", activation(gate), config.d_hidden),
            Mlp::Plain(act) => format!("{}plain MLP of {}", activation(act), config.d_hidden),
            Mlp::None => "attention alone".to_owned(),
        };
        let mut title = format!(
            "{} layers, {} heads, d_model {}, {mlp}, context {}",
            config.layers, config.heads, config.d_model, config.context
        );
        let unturned = config.unturned.iter().filter(|unturned| **unturned).count();
        let sliding = config.windows.iter().flatten().max();
        let more = [
            (config.norm == Norm::None).then(|| "no norms".to_owned()),
            (!config.pre_norms).then(|| "no norms before attention and MLP".to_owned()),
            config.qk_norm.map(|_| "norms of queries and keys".to_owned()),
            config.kv_heads.filter(|kv| *kv != config.heads).map(|kv| format!("{kv} key heads")),
            config.d_head.map(|d_head| format!("d_head {d_head}")),
            sliding.map(|window| format!("windows of {window}")),
            (config.position == Position::Shortformer).then(|| "Shortformer".to_owned()),
            (unturned > 0).then(|| {
                format!("{unturned} of {} layers without rotary embedding", config.layers)
            }),
            config.parallel.then(|| "parallel residual".to_owned()),
            config.tied.then(|| "tied unembedding".to_owned()),
            (self.dtype() != DType::F32).then(|| format!("in {}", self.dtype().as_str())),
        ];
        for part in more.into_iter().flatten() {
            title.push_str(", ");
            title.push_str(&part);
        }
        Summary { title, parts, notes: self.notes().to_vec() }
    }

    /// Shows the summary as the value of a cell.
    pub fn evcxr_display(&self) {
        self.summary().evcxr_display();
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::Config;

    #[test]
    fn every_parameter_is_counted_once() {
        let config = Config { vocab: 50, mlp_bias: true, ..Config::bilinear(3, 2, 8, 16) };
        let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
        let summary = model.summary();
        let all: usize = model.variables().iter().map(|var| var.elem_count()).sum();
        assert_eq!(summary.parameters(), all);
        let text = summary.to_string();
        assert!(text.starts_with("3 layers, 2 heads, d_model 8, bilinear MLP of 16"), "{text}");
        assert!(text.contains("block.attn.qkv.weight") && text.contains("3 × [24, 8]"), "{text}");
    }

    #[test]
    fn what_is_unusual_is_in_the_title() {
        let title = |config: Config| {
            let config = Config { vocab: 9, context: 8, ..config };
            let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
            let text = model.summary().to_string();
            text.lines().next().unwrap_or_default().to_owned()
        };
        let unturned = vec![false, true];
        let olmo = title(Config { unturned, ..Config::olmo2(2, 2, 8, 6) });
        for part in
            ["silu gated MLP of 6", "no norms before", "queries and keys", "1 of 2 layers without"]
        {
            assert!(olmo.contains(part), "{part} in {olmo}");
        }
        let position = Position::Shortformer;
        let short = title(Config { position, mlp: Mlp::None, ..Config::gpt2(1, 2, 8, 6) });
        assert!(short.contains("attention alone, context 8, Shortformer"), "{short}");
    }
}
