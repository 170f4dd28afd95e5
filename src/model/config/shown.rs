//! A config in words.

use std::fmt;

use super::Config;

impl fmt::Debug for Config {
    /// As a derived one, without the parts that few models have where they are as usual: stores and
    /// checkpoints know by these words that they go on with the model they began with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            layers,
            heads,
            kv_heads,
            d_model,
            d_head,
            d_hidden,
            context,
            vocab,
            norm,
            pre_norms,
            post_norms,
            qk_norm,
            position,
            local_rotary,
            unturned,
            position_offset,
            qkv_bias,
            attention_bias,
            score_scale,
            inverse_layer_scale,
            score_cap,
            windows,
            attention_scale,
            residual_scale,
            parallel,
            mlp,
            mlp_bias,
            mlp_norm,
            embed_scale,
            logit_scale,
            logit_cap,
            tied,
            unembed_bias,
        } = self;
        let mut all = f.debug_struct("Config");
        all.field("layers", layers)
            .field("heads", heads)
            .field("kv_heads", kv_heads)
            .field("d_model", d_model)
            .field("d_head", d_head)
            .field("d_hidden", d_hidden)
            .field("context", context)
            .field("vocab", vocab)
            .field("norm", norm)
            .field("post_norms", post_norms)
            .field("position", position)
            .field("qkv_bias", qkv_bias)
            .field("attention_bias", attention_bias)
            .field("score_scale", score_scale)
            .field("inverse_layer_scale", inverse_layer_scale)
            .field("score_cap", score_cap)
            .field("windows", windows)
            .field("attention_scale", attention_scale)
            .field("parallel", parallel)
            .field("mlp", mlp)
            .field("mlp_bias", mlp_bias)
            .field("embed_scale", embed_scale)
            .field("logit_cap", logit_cap)
            .field("tied", tied);
        let unusual: [(&str, &dyn fmt::Debug, bool); 9] = [
            ("pre_norms", pre_norms, !pre_norms),
            ("qk_norm", qk_norm, qk_norm.is_some()),
            ("local_rotary", local_rotary, local_rotary.is_some()),
            ("unturned", unturned, !unturned.is_empty()),
            ("position_offset", position_offset, *position_offset != 0),
            ("residual_scale", residual_scale, *residual_scale != 1.),
            ("mlp_norm", mlp_norm, *mlp_norm),
            ("logit_scale", logit_scale, *logit_scale != 1.),
            ("unembed_bias", unembed_bias, *unembed_bias),
        ];
        for (name, value, is_shown) in unusual {
            if is_shown {
                all.field(name, value);
            }
        }
        all.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores and checkpoints of earlier versions have these words.
    #[test]
    fn a_config_of_the_first_families_is_written_as_ever() {
        let config = Config { kv_heads: Some(1), ..Config::llama(1, 2, 8, 6) };
        assert_eq!(
            format!("{config:?}"),
            "Config { layers: 1, heads: 2, kv_heads: Some(1), d_model: 8, d_head: None, d_hidden: 6, \
             context: 256, vocab: 4096, norm: RmsGain { eps: 1e-5 }, post_norms: false, position: \
             Rotary(Rotary { dims: None, base: 10000.0, scaling: None }), qkv_bias: false, \
             attention_bias: false, score_scale: None, inverse_layer_scale: false, score_cap: None, \
             windows: [], attention_scale: 1.0, parallel: false, mlp: Gated(Some(Silu)), mlp_bias: \
             false, embed_scale: 1.0, logit_cap: None, tied: false }"
        );
        let olmo = format!("{:?}", Config::olmo2(1, 2, 8, 6));
        assert!(olmo.ends_with("tied: false, pre_norms: false, qk_norm: Some(Whole) }"), "{olmo}");
        let other = Config { logit_scale: 0.5, unembed_bias: true, ..config };
        let other = format!("{other:?}");
        assert!(other.ends_with("logit_scale: 0.5, unembed_bias: true }"), "{other}");
    }
}
