//! `config.json` as `transformers` writes it.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::model::llama::LlamaConfig;

/// What a file says of the model's shape. Fields that change the computation in ways this model does not know are read
/// to be refused.
#[derive(Deserialize)]
struct Settings {
    model_type: Option<String>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_parameters: Option<Rope>,
    rope_scaling: Option<Rope>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    hidden_act: Option<String>,
}

/// Rotary settings: `rope_parameters` since transformers 5, `rope_scaling` (with the base outside) before.
#[derive(Deserialize)]
struct Rope {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
}

/// Reads the configuration of a dense model from `config.json`.
pub(super) fn read(path: &Path) -> Result<LlamaConfig> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let settings: Settings =
        serde_json::from_str(&text).map_err(|error| Error::data(path, error.to_string()))?;
    let refuse = |what: String| Err(Error::data(path, what));
    if let Some(kind) = settings.model_type.as_deref().filter(|&kind| kind != "llama") {
        return refuse(format!("`model_type` is `{kind}`; only `llama` can be read"));
    }
    if let Some(act) = settings.hidden_act.as_deref().filter(|&act| act != "silu" && act != "swish") {
        return refuse(format!("`hidden_act` is `{act}`; only `silu` can be read"));
    }
    if settings.attention_bias || settings.mlp_bias {
        return refuse("`attention_bias` and `mlp_bias` must be false: the projections have no bias".into());
    }
    for rope in [&settings.rope_parameters, &settings.rope_scaling].into_iter().flatten() {
        if let Some(kind) = rope.rope_type.as_deref().filter(|&kind| kind != "default") {
            return refuse(format!("`rope_type` is `{kind}`; only `default` can be read"));
        }
    }
    let inside = settings.rope_parameters.and_then(|rope| rope.rope_theta);
    let config = LlamaConfig::new(
        settings.vocab_size,
        settings.hidden_size,
        settings.intermediate_size,
        settings.num_hidden_layers,
        settings.num_attention_heads,
    )
    .with_kv_heads(settings.num_key_value_heads)
    .with_context(settings.max_position_embeddings)
    .with_rope_theta(inside.or(settings.rope_theta).unwrap_or(10_000.0))
    .with_norm_epsilon(settings.rms_norm_eps)
    .with_tied_head(settings.tie_word_embeddings);
    if let Err(error) = config.validate() {
        return refuse(format!("it describes no model: {error}"));
    }
    match settings.head_dim {
        Some(width) if width != config.d_head() => refuse(format!(
            "`head_dim` is {width}; it must be hidden_size / num_attention_heads = {}",
            config.d_head()
        )),
        _ => Ok(config),
    }
}

/// The content of `config.json` for a model. `rope_theta` stands in both places, for readers of either kind.
pub(super) fn to_json(config: &LlamaConfig) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": false,
        "attention_dropout": 0.0,
        "dtype": "float32",
        "head_dim": config.d_head(),
        "hidden_act": "silu",
        "hidden_size": config.d_model,
        "initializer_range": 0.02,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.context,
        "mlp_bias": false,
        "model_type": "llama",
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.num_kv_heads(),
        "rms_norm_eps": config.norm_epsilon,
        "rope_parameters": { "rope_theta": config.rope_theta, "rope_type": "default" },
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tied_head,
        "torch_dtype": "float32",
        "vocab_size": config.vocabulary,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_json(change: impl FnOnce(&mut Value)) -> Result<LlamaConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let mut json = to_json(&config());
        change(&mut json);
        fs::write(&path, json.to_string()).unwrap();
        read(&path)
    }

    fn config() -> LlamaConfig {
        LlamaConfig::new(100, 64, 172, 2, 4)
            .with_kv_heads(Some(2))
            .with_rope_theta(500_000.0)
            .with_norm_epsilon(1e-6)
            .with_tied_head(true)
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(read_json(|_| {}).unwrap(), config());
    }

    #[test]
    fn the_rotary_base_is_found_outside_and_inside_and_has_a_default() {
        let outside = read_json(|json| json["rope_parameters"] = Value::Null).unwrap();
        assert_eq!(outside.rope_theta, 500_000.0);
        let inside = read_json(|json| json["rope_theta"] = Value::Null).unwrap();
        assert_eq!(inside.rope_theta, 500_000.0);
        let nowhere = read_json(|json| {
            json["rope_theta"] = Value::Null;
            json["rope_parameters"] = Value::Null;
        });
        assert_eq!(nowhere.unwrap().rope_theta, 10_000.0);
    }

    #[test]
    fn a_model_that_is_computed_otherwise_is_refused_by_the_setting() {
        let refused = |name: &str, value: Value| {
            let Err(Error::Data { reason, .. }) = read_json(|json| json[name] = value) else {
                panic!("{name} passed")
            };
            reason
        };
        assert!(refused("model_type", json!("mistral")).contains("`mistral`"));
        assert!(refused("hidden_act", json!("gelu")).contains("`gelu`"));
        assert!(refused("attention_bias", json!(true)).contains("attention_bias"));
        assert!(refused("rope_scaling", json!({ "type": "linear" })).contains("`linear`"));
        assert!(refused("head_dim", json!(32)).contains("`head_dim` is 32"));
        assert!(refused("num_attention_heads", json!(5)).contains("heads"));
        assert!(refused("vocab_size", Value::Null).contains("line 1"));
    }
}
