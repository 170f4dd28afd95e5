//! Configs of families as they usually are.

use super::{Activation, Config, Mlp, Norm, Position, QkNorm, Rotary};

impl Config {
    /// A bilinear transformer as the published ones are: RMS norms without gain, attention scaled
    /// by 1/√(2·layers), no biases.
    pub fn bilinear(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        Self {
            layers,
            heads,
            kv_heads: None,
            d_model,
            d_head: None,
            d_hidden,
            context: 256,
            vocab: 4096,
            norm: Norm::Rms { eps: 1e-8 },
            pre_norms: true,
            post_norms: false,
            qk_norm: None,
            position: Position::Rotary(Rotary::new(10_000.)),
            local_rotary: None,
            unturned: Vec::new(),
            position_offset: 0,
            qkv_bias: false,
            attention_bias: false,
            score_scale: None,
            inverse_layer_scale: false,
            score_cap: None,
            windows: Vec::new(),
            attention_scale: 1. / (2. * layers as f64).sqrt(),
            residual_scale: 1.,
            parallel: false,
            mlp: Mlp::Gated(None),
            mlp_bias: false,
            mlp_norm: false,
            embed_scale: 1.,
            logit_scale: 1.,
            logit_cap: None,
            tied: false,
            unembed_bias: false,
        }
    }

    /// GPT-2: LayerNorms, learned positions, a plain MLP with the tanh GELU, biases everywhere but in
    /// the unembedding, which is tied.
    pub fn gpt2(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        Self {
            norm: Norm::LayerNorm { eps: 1e-5 },
            position: Position::Learned,
            qkv_bias: true,
            attention_bias: true,
            attention_scale: 1.,
            mlp: Mlp::Plain(Some(Activation::GeluTanh)),
            mlp_bias: true,
            tied: true,
            ..Self::bilinear(layers, heads, d_model, d_hidden)
        }
    }

    /// GPT-Neo: as GPT-2 without biases of queries, keys and values, scores that are not scaled, and
    /// a window of 256 in every other layer, from the second on.
    pub fn gpt_neo(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        Self {
            qkv_bias: false,
            score_scale: Some(1.),
            windows: (0..layers).map(|layer| (layer % 2 == 1).then_some(256)).collect(),
            ..Self::gpt2(layers, heads, d_model, d_hidden)
        }
    }

    /// OPT: as GPT-2 with ReLU, and with the vectors of positions from row 2 on.
    pub fn opt(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        Self {
            position_offset: 2,
            mlp: Mlp::Plain(Some(Activation::Relu)),
            ..Self::gpt2(layers, heads, d_model, d_hidden)
        }
    }

    /// GPT-NeoX and Pythia: LayerNorms, the parallel residual, a quarter of each head rotary where
    /// that is an even number, a plain MLP with the exact GELU, biases everywhere.
    pub fn gpt_neox(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        let dims = d_model / heads.max(1) / 4;
        Self {
            position: Position::Rotary(Rotary {
                dims: Some(dims - dims % 2),
                ..Rotary::new(10_000.)
            }),
            parallel: true,
            mlp: Mlp::Plain(Some(Activation::Gelu)),
            tied: false,
            ..Self::gpt2(layers, heads, d_model, d_hidden)
        }
    }

    /// Llama: RMS norms with gain, rotary embedding, a SiLU-gated MLP, no biases. Mistral has
    /// `windows` more, Qwen-2 `qkv_bias`, Qwen 3 `qk_norm`, SmolLM 3 `unturned` layers, Granite
    /// scales.
    pub fn llama(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        Self {
            norm: Norm::RmsGain { eps: 1e-5 },
            attention_scale: 1.,
            mlp: Mlp::Gated(Some(Activation::Silu)),
            ..Self::bilinear(layers, heads, d_model, d_hidden)
        }
    }

    /// OLMo 2: as Llama with norms after attention and MLP instead of before them, RMS norms of all
    /// queries and of all keys, and rotary base 500,000. OLMo 3 has `windows` more.
    pub fn olmo2(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        Self {
            norm: Norm::RmsGain { eps: 1e-6 },
            pre_norms: false,
            post_norms: true,
            qk_norm: Some(QkNorm::Whole),
            position: Position::Rotary(Rotary::new(500_000.)),
            ..Self::llama(layers, heads, d_model, d_hidden)
        }
    }

    /// Gemma 2: norms before and after attention and MLP with gain 1 + w, scaled embeddings, soft
    /// caps of 50 and 30, every other layer with a window of 4,096 from the first on.
    pub fn gemma2(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        Self {
            norm: Norm::RmsOnePlusGain { eps: 1e-6 },
            post_norms: true,
            score_cap: Some(50.),
            windows: (0..layers).map(|layer| (layer % 2 == 0).then_some(4096)).collect(),
            mlp: Mlp::Gated(Some(Activation::GeluTanh)),
            embed_scale: (d_model as f64).sqrt(),
            logit_cap: Some(30.),
            tied: true,
            ..Self::llama(layers, heads, d_model, d_hidden)
        }
    }

    /// Gemma 3: as Gemma 2 with norms of each head's queries and keys and without soft caps; a window
    /// of 1,024 and rotary base 10,000 in five of six layers, rotary base 1,000,000 in the sixth,
    /// which sees everything.
    pub fn gemma3(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        Self {
            qk_norm: Some(QkNorm::PerHead),
            position: Position::Rotary(Rotary::new(1_000_000.)),
            local_rotary: Some(Rotary::new(10_000.)),
            score_cap: None,
            windows: (1..=layers).map(|number| (number % 6 != 0).then_some(1024)).collect(),
            logit_cap: None,
            ..Self::gemma2(layers, heads, d_model, d_hidden)
        }
    }
}
