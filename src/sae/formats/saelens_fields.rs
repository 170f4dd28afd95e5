//! The fields of SAELens's `cfg.json`, over all versions.

use serde::Deserialize;
use serde_json::Value;

use crate::store::Size;

/// What says how an autoencoder computes.
#[derive(Debug, Deserialize)]
pub(super) struct SaeLensConfig {
    /// `standard` if left out; or `jumprelu`, `topk`, `abstopk`, `gated`, `matching_pursuit`,
    /// `transcoder`, `jumprelu_transcoder`, `skip_transcoder`, `jumprelu_skip_transcoder`. Before
    /// version 6 it may be left out or wrong where the activation function is top-k.
    pub(super) architecture: Option<String>,
    /// The activation function, before version 6: ReLU if left out.
    pub(super) activation_fn: Option<SaeLensActivation>,
    /// The activation function, under the name of some versions.
    pub(super) activation_fn_str: Option<SaeLensActivation>,
    /// What the activation function is given, before version 6.
    pub(super) activation_fn_kwargs: Option<ActivationArguments>,
    /// Width of the inputs, d.
    pub(super) d_in: Size,
    /// Number of features, m.
    pub(super) d_sae: Option<Size>,
    /// Features per dimension of the inputs, where `d_sae` is left out.
    pub(super) expansion_factor: Option<Value>,
    /// Width of the outputs: `d_in` if left out.
    pub(super) d_out: Option<Size>,
    /// Features that a code keeps. Of top-k alone.
    pub(super) k: Option<Size>,
    /// Whether b_dec is taken off inputs. True if left out, but for transcoders.
    pub(super) apply_b_dec_to_input: Option<bool>,
    /// Whether codes are values times decoder lengths. False if left out; of top-k alone.
    pub(super) rescale_acts_by_decoder_norm: Option<bool>,
    /// How inputs are normalised: not at all if left out. The oldest versions have a truth value.
    pub(super) normalize_activations: Option<InputNormalization>,
    /// How hook points with a dimension of heads are made flat.
    #[expect(dead_code, reason = "what is not supported is refused while it is read")]
    pub(super) reshape_activations: Option<Reshape>,
    /// Whether fine-tuned factors multiply the codes before they are decoded. False if left out.
    pub(super) finetuning_scaling_factor: Option<bool>,
    /// The same, before version 3.
    pub(super) uses_scaling_factor: Option<bool>,
    /// The layer of the oldest versions' hook points: `blocks.{layer}.hook_mlp_out`.
    pub(super) hook_point_layer: Option<Value>,
    /// The layer, under a later name.
    pub(super) hook_layer: Option<Value>,
}

/// Activation functions that are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SaeLensActivation {
    Relu,
    TopK,
}

/// Arguments of an activation function.
#[derive(Debug, Deserialize)]
pub(super) struct ActivationArguments {
    /// Features that a code keeps.
    pub(super) k: Option<Size>,
}

/// A normalisation of inputs, or whether there is one.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(
    untagged,
    expecting = "none, layer_norm, constant_norm_rescale or expected_average_only_in"
)]
pub(super) enum InputNormalization {
    /// True is `expected_average_only_in`.
    Flag(bool),
    Named(NamedNormalization),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NamedNormalization {
    None,
    LayerNorm,
    /// Each row to length √d.
    ConstantNormRescale,
    /// By one number, which the training estimated and no file has.
    ExpectedAverageOnlyIn,
}

/// What is done with inputs of several heads: they are read flat here in any case.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reshape {
    None,
    HookZ,
}

/// What matching pursuit has besides.
#[derive(Debug, Deserialize)]
pub(super) struct MatchingPursuitConfig {
    /// The length of the rest at which it ends.
    pub(super) residual_threshold: f64,
    /// Its most steps: the number of features if left out.
    pub(super) max_iterations: Option<Size>,
    /// Whether it ends where a feature comes a second time. True if left out.
    pub(super) stop_on_duplicate_support: Option<bool>,
}

/// A part of the configuration within `metadata`.
#[derive(Debug, Deserialize)]
pub(super) struct InMetadata<T> {
    pub(super) metadata: Option<T>,
}

/// What [`Sae::save`](crate::sae::Sae::save) adds to `metadata` where it takes the mean off inputs,
/// for which SAELens has no name.
#[derive(Debug, Default, Deserialize)]
pub(super) struct CentredInputs {
    /// False if left out.
    pub(super) centred_inputs: Option<bool>,
}

/// Fields of the training, the data or the machine that SAELens wrote to `cfg.json` from its first
/// releases to version 6: those of its runner, training, logging, caching and toy model
/// configurations, which older versions saved as a whole.
///
/// Fields that record how activations were made are not here: a
/// [`TrainingRecord`](crate::sae::TrainingRecord) takes them. Nor are those that change numbers.
pub(super) const HARMLESS: [&str; 138] = [
    // The model and the data.
    "model_class_name",
    "hook_eval",
    "hook_point_eval",
    "hook_layer",
    "hook_layer_out",
    "hook_point_layer",
    "hook_head_index_out",
    "hf_hook_name",
    "hf_hook_name_out",
    "dataset_trust_remote_code",
    "eval_dataset_path",
    "eval_dataset_split",
    "eval_dataset_trust_remote_code",
    "streaming",
    "is_dataset_tokenized",
    "tokenizer_name",
    "disable_concat_sequences",
    "sequence_separator_token",
    "model_kwargs",
    "neuronpedia_id",
    "sae_lens_version",
    "sae_lens_training_version",
    // Activations on disk and in memory.
    "use_cached_activations",
    "cached_activations_path",
    "new_cached_activations_path",
    "n_batches_in_buffer",
    "store_batch_size",
    "store_batch_size_prompts",
    "tokens_per_buffer",
    "activations_mixing_fraction",
    "act_store_device",
    "llm_device",
    "prefetch_llm_batches",
    "n_batches_for_norm_estimate",
    "model_batch_size",
    "buffer_size_gb",
    "shuffle",
    "shuffle_every_n_buffers",
    "n_shuffles_with_last_section",
    "n_shuffles_in_entire_dir",
    "n_shuffles_final",
    "hf_repo_id",
    "hf_num_shards",
    "hf_revision",
    "hf_is_private_repo",
    // The machine.
    "device",
    "seed",
    "autocast",
    "autocast_lm",
    "compile_llm",
    "llm_compilation_mode",
    "compile_sae",
    "sae_compilation_mode",
    // The start of training.
    "expansion_factor",
    "from_pretrained_path",
    "b_dec_init_method",
    "decoder_init_norm",
    "decoder_orthogonal_init",
    "decoder_heuristic_init",
    "decoder_heuristic_init_norm",
    "init_encoder_as_decoder_transpose",
    "normalize_sae_decoder",
    "noise_scale",
    "noise",
    // Its length and its steps.
    "training_tokens",
    "total_training_tokens",
    "total_training_steps",
    "finetuning_tokens",
    "finetuning_method",
    "train_batch_size",
    "train_batch_size_tokens",
    "adam_beta1",
    "adam_beta2",
    "lr",
    "lr_end",
    "lr_scheduler_name",
    "lr_warm_up_steps",
    "lr_decay_steps",
    "n_restart_cycles",
    // Its loss.
    "mse_loss_normalization",
    "l1_coefficient",
    "l1_loss_type",
    "l1_warm_up_steps",
    "lp_norm",
    "l0_coefficient",
    "l0_warm_up_steps",
    "target_l0",
    "pre_act_loss_coefficient",
    "scale_sparsity_penalty_by_decoder_norm",
    "aux_loss_coefficient",
    "use_sparse_activations",
    "use_gram",
    "topk_threshold_lr",
    "matryoshka_widths",
    "use_matryoshka_aux_loss",
    "jumprelu_init_threshold",
    "jumprelu_bandwidth",
    "jumprelu_sparsity_loss_mode",
    "jumprelu_tanh_scale",
    "jumprelu_ste_to_input",
    // Dead features.
    "use_ghost_grads",
    "feature_sampling_method",
    "feature_sampling_window",
    "feature_reinit_scale",
    "resample_batches",
    "dead_feature_window",
    "dead_feature_threshold",
    "dead_feature_estimation_method",
    // Logs and checkpoints.
    "logger",
    "log_to_wandb",
    "log_activations_store_to_wandb",
    "log_optimizer_state_to_wandb",
    "log_weights_to_wandb",
    "wandb_project",
    "wandb_entity",
    "wandb_id",
    "wandb_name",
    "wandb_log_frequency",
    "run_name",
    "eval_every_n_wandb_logs",
    "n_eval_batches",
    "eval_batch_size_prompts",
    "n_checkpoints",
    "checkpoint_path",
    "save_final_checkpoint",
    "resume",
    "resume_from_checkpoint",
    "output_path",
    "verbose",
    "training_architecture",
    "training_architecture_details",
    "d_in_note",
    // Toy models.
    "n_features",
    "n_hidden",
    "n_correlated_pairs",
    "n_anticorrelated_pairs",
    "feature_probability",
    "model_training_steps",
];
