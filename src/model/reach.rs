//! Which hook points a pass of a model reaches.

use super::{Config, HookPoint, Mlp, Norm};

impl HookPoint {
    /// Why no pass of such a model reaches it, if none does.
    pub(super) fn never(self, config: &Config) -> Option<String> {
        if self.layer().is_some_and(|layer| layer >= config.layers) {
            return Some(format!("in a layer below {}", config.layers));
        }
        let reason = match self {
            Self::PosEmbed if !config.position.has_vectors() => {
                "of a model with learned positions; this one's are rotary"
            }
            Self::RotQ(_) | Self::RotK(_) if config.position.has_vectors() => {
                "of a model with rotary embedding; this one's positions are learned"
            }
            Self::QNormScale(_)
            | Self::QNormNormalized(_)
            | Self::QNormed(_)
            | Self::KNormScale(_)
            | Self::KNormNormalized(_)
            | Self::KNormed(_)
                if config.qk_norm.is_none() =>
            {
                "of a model with norms of queries and keys, as Qwen 3; this one has none"
            }
            Self::ResidMid(_) if config.mlp == Mlp::None => {
                "of a model with MLPs; in this one resid_post comes after the attention"
            }
            Self::ResidMid(_) if config.parallel => {
                "of a model that adds attention and MLP one after the other; this one adds both to \
                 resid_pre (parallel residual)"
            }
            Self::Ln2Scale(_)
            | Self::Ln2Normalized(_)
            | Self::MlpIn(_)
            | Self::MlpPre(_)
            | Self::MlpPreLinear(_)
            | Self::MlpMid(_)
            | Self::MlpLnScale(_)
            | Self::MlpLnNormalized(_)
            | Self::MlpPost(_)
            | Self::Ln2PostScale(_)
            | Self::Ln2PostNormalized(_)
            | Self::MlpOut(_)
                if config.mlp == Mlp::None =>
            {
                "of a model with MLPs; this one has attention alone"
            }
            Self::Ln1PostScale(_)
            | Self::Ln1PostNormalized(_)
            | Self::Ln2PostScale(_)
            | Self::Ln2PostNormalized(_)
                if !config.post_norms =>
            {
                "of a model with norms of outputs, as Gemma 2; this one has none"
            }
            Self::Ln1Scale(_)
            | Self::Ln1Normalized(_)
            | Self::Ln2Scale(_)
            | Self::Ln2Normalized(_)
                if !config.pre_norms =>
            {
                "of a model with norms before attention and MLP; in this one they read the residual \
                 stream itself"
            }
            Self::Ln1Scale(_)
            | Self::Ln1Normalized(_)
            | Self::Ln2Scale(_)
            | Self::Ln2Normalized(_)
            | Self::Ln1PostScale(_)
            | Self::Ln1PostNormalized(_)
            | Self::Ln2PostScale(_)
            | Self::Ln2PostNormalized(_)
            | Self::LnFinalScale
            | Self::LnFinalNormalized
                if config.norm == Norm::None =>
            {
                "of a model with norms; this one has none"
            }
            Self::MlpPreLinear(_) if matches!(config.mlp, Mlp::Plain(_)) => {
                "of a gated MLP; this model's have one half"
            }
            Self::MlpMid(_) | Self::MlpLnScale(_) | Self::MlpLnNormalized(_)
                if !config.mlp_norm =>
            {
                "of a model with a norm of the MLP's neurons (`solu_ln`); this one has none"
            }
            _ => return None,
        };
        Some(reason.to_owned())
    }
}

impl Config {
    /// Every point that a pass reaches, in its order.
    pub(super) fn points(&self) -> Vec<HookPoint> {
        let layers = (0..self.layers).flat_map(HookPoint::all);
        let before = [HookPoint::Embed, HookPoint::PosEmbed].into_iter();
        let all =
            before.chain(layers).chain([HookPoint::LnFinalScale, HookPoint::LnFinalNormalized]);
        all.filter(|point| point.never(self).is_none()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_the_points_of_its_parts() {
        let count = |config: Config| config.points().len();
        // Neither norms of outputs nor of queries, keys and neurons.
        let common = HookPoint::all(0).len() - 4 - 6 - 3;
        // Embedding and the final norm's two; no learned positions.
        assert_eq!(count(Config::llama(2, 2, 8, 8)), 2 * common + 3);
        assert_eq!(count(Config::gemma2(2, 2, 8, 8)), 2 * (common + 4) + 3);
        assert_eq!(count(Config::gemma3(2, 2, 8, 8)), 2 * (common + 4 + 6) + 3);
        // Norms of outputs instead of ln1 and ln2.
        assert_eq!(count(Config::olmo2(2, 2, 8, 8)), 2 * (common + 6) + 3);
        // No rotary embedding, no second half.
        assert_eq!(count(Config::gpt2(2, 2, 8, 8)), 2 * (common - 3) + 4);
        // Nor a resid_mid.
        assert_eq!(count(Config::gpt_neox(2, 2, 8, 8)), 2 * (common - 2) + 3);
        let none = Config { norm: Norm::None, ..Config::llama(1, 2, 8, 8) };
        assert_eq!(count(none), common - 4 + 1);
        let solu = Config { mlp_norm: true, ..Config::gpt2(2, 2, 8, 8) };
        assert_eq!(count(solu), 2 * (common - 3 + 3) + 4);
        let attention = Config { mlp: Mlp::None, mlp_norm: true, ..Config::gpt2(1, 2, 8, 8) };
        let names: Vec<String> = attention.points().iter().map(ToString::to_string).collect();
        let expected = [
            "embed",
            "pos_embed",
            "0.resid_pre",
            "0.ln1_scale",
            "0.ln1_normalized",
            "0.q",
            "0.k",
            "0.v",
            "0.scores",
            "0.pattern",
            "0.z",
            "0.attn_out",
            "0.resid_post",
            "ln_final_scale",
            "ln_final_normalized",
        ];
        assert_eq!(names, expected);
    }
}
