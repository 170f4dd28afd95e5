//! Fields of `config.json` that change no logit.
//!
//! The lists are the fields that the configuration classes of transformers 3 to 5 write, with those
//! of the usual trainers and converters. A field whose value can change a number is in none of them:
//! it is applied where a family is read, or refused.

use super::{ModelFamily, gemma3, phi3, starcoder2, transformer_lens};

/// Fields of every family: names of things, training, generation, and how other programs run.
const COMMON: [&str; 143] = [
    // Names, and how the files were made.
    "architectures",
    "auto_map",
    "base_model",
    "custom_pipelines",
    "dtype",
    "is_composition",
    "is_decoder",
    "language",
    "license",
    "model_name",
    "model_type",
    "name_or_path",
    "repo",
    "tags",
    "tokenizer",
    "tokenizer_class",
    "tokenizer_name",
    "torch_dtype",
    "trained_on",
    "transformers.js_config",
    "transformers_version",
    "vocab_size_note",
    // Training, and heads for other tasks.
    "dataset",
    "dataset_name",
    "finetuning_task",
    "gradient_checkpointing",
    "id2label",
    "init_device",
    "init_std",
    "initializer_range",
    "label2id",
    "label_smoothing",
    "lora_config",
    "num_labels",
    "problem_type",
    "router_aux_loss_coef",
    "task_specific_params",
    "tf_legacy_loss",
    "training_args",
    "use_lora",
    "xla_device",
    // How other programs run a model.
    "activation_checkpointing",
    "attn_impl",
    "attn_implementation",
    "attribute_map",
    "base_model_ep_plan",
    "base_model_pp_plan",
    "base_model_tp_plan",
    "chunk_size_feed_forward",
    "experts_implementation",
    "flash_attention",
    "flash_attn",
    "ignore_keys_at_rope_validation",
    "keys_to_ignore_at_inference",
    "loss_type",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "pretraining_tp",
    "return_dict",
    "torchscript",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_flash_attention",
    "use_flash_attention_2",
    "use_flash_attn",
    "use_return_dict",
    "use_sdpa",
    // Generation: how tokens are drawn, not what their logits are.
    "assistant_confidence_threshold",
    "assistant_early_exit",
    "assistant_ensemble_weight",
    "assistant_lookbehind",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token",
    "cache_config",
    "cache_implementation",
    "compile_config",
    "constraints",
    "continuous_batching_config",
    "disable_compile",
    "diversity_penalty",
    "do_sample",
    "dola_layers",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "eos_token",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "force_bos_token_to_be_generated",
    "force_words_ids",
    "forced_decoder_ids",
    "generation_config",
    "generation_kwargs",
    "guidance_scale",
    "is_assistant",
    "length_penalty",
    "low_memory",
    "max_cache_len",
    "max_length",
    "max_matching_ngram_size",
    "max_new_tokens",
    "max_time",
    "min_length",
    "min_new_tokens",
    "min_p",
    "no_repeat_ngram_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_logits",
    "output_scores",
    "pad_token",
    "penalty_alpha",
    "prefill_chunk_size",
    "prefix",
    "prompt_lookup_num_tokens",
    "remove_invalid_values",
    "renormalize_logits",
    "repetition_penalty",
    "return_dict_in_generate",
    "return_legacy_cache",
    "sequence_bias",
    "speculation_type",
    "stop_strings",
    "suppress_tokens",
    "target_lookbehind",
    "temperature",
    "token_healing",
    "top_h",
    "top_k",
    "top_p",
    "typical_p",
    "unk_token",
    "use_mtp",
    "watermarking_config",
    // Layers with a window count for something only where a family reads them.
    "max_window_layers",
];

/// GPT-2's: names of the first GPT, and how scores are computed in f16.
const GPT2: [&str; 4] = ["afn", "n_special", "predict_special_tokens", "reorder_and_upcast_attn"];

/// GPT-2's and GPT-Neo's: a head that sums up a text for other tasks.
const SUMMARY_HEAD: [&str; 5] = [
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
];

/// Llama's and those of its relatives.
const LLAMA: [&str; 1] = ["is_llama_config"];

/// Whether a model's logits are the same whatever the field says.
pub(super) fn changes_nothing(family: ModelFamily, name: &str) -> bool {
    let own: &[&[&str]] = match family {
        ModelFamily::Gpt2 => &[&GPT2, &SUMMARY_HEAD],
        ModelFamily::GptNeo => &[&SUMMARY_HEAD],
        ModelFamily::Starcoder2 => &[&starcoder2::INERT],
        ModelFamily::Llama(_) => &[&LLAMA],
        ModelFamily::Phi3 => &[&phi3::INERT],
        ModelFamily::Gemma3 => &[&gemma3::INERT],
        ModelFamily::TransformerLens => &[&transformer_lens::INERT],
        ModelFamily::Bilinear
        | ModelFamily::GptNeox
        | ModelFamily::Opt
        | ModelFamily::Olmo(_)
        | ModelFamily::Gemma2
        | ModelFamily::Gemma3Text => &[],
    };
    let name = match family {
        ModelFamily::Gemma3 => gemma3::within(name),
        _ => name,
    };
    // transformers keeps for itself what begins with an underscore, and dropouts act in training.
    name.starts_with('_')
        || name.contains("dropout")
        || name.contains("layerdrop")
        || name.ends_with("pdrop")
        || name.ends_with("_token_id")
        || own.iter().any(|fields| fields.contains(&name))
        || COMMON.contains(&name)
}
