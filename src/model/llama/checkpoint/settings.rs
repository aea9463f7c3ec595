//! `config.json` and `generation_config.json` as `transformers` writes them.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::file::{JsonObject, write_atomically};
use crate::model::llama::LlamaConfig;

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";

/// What a count is.
const COUNT: &str = "a whole number of at least 1";

fn need(fields: &JsonObject, key: &str) -> Result<usize> {
    let missing = || Error::data(&fields.path, format!("`{key}` is missing; allowed: {COUNT}"));
    fields.find(key, COUNT)?.ok_or_else(missing)
}

fn flag(fields: &JsonObject, key: &str) -> Result<bool> {
    Ok(fields.find(key, "true or false")?.unwrap_or(false))
}

/// The token or tokens that `key` names, none for null and for negative numbers, which older files have in place of
/// null. [`None`] if the key is missing.
fn tokens(fields: &JsonObject, key: &str) -> Result<Option<Vec<u32>>> {
    let Some(value) = fields.entries.get(key) else { return Ok(None) };
    let wrong = || fields.wrong(key, value, "a token, a list of tokens, or null");
    let numbers = match value {
        Value::Null => &[],
        Value::Array(numbers) => numbers.as_slice(),
        number => std::slice::from_ref(number),
    };
    let numbers = numbers.iter().map(|number| number.as_i64().ok_or_else(wrong));
    let tokens = numbers.filter(|number| !matches!(number, Ok(..0)));
    tokens.map(|number| u32::try_from(number?).map_err(|_| wrong())).collect::<Result<_>>().map(Some)
}

/// Reads the configuration of a dense model from a folder. Settings that change the computation in ways this model does
/// not know are refused.
pub(super) fn read(folder: &Path) -> Result<LlamaConfig> {
    let fields = JsonObject::read(folder.join(CONFIG))?;
    let refuse = |what: String| Err(Error::data(&fields.path, what));
    let kind: Option<String> = fields.find("model_type", "llama")?;
    if let Some(kind) = kind.filter(|kind| kind != "llama") {
        return refuse(format!("`model_type` is `{kind}`; only `llama` can be read"));
    }
    let activation: Option<String> = fields.find("hidden_act", "silu")?;
    if let Some(activation) = activation.filter(|name| name != "silu" && name != "swish") {
        return refuse(format!("`hidden_act` is `{activation}`; only `silu` can be read"));
    }
    for bias in ["attention_bias", "mlp_bias"] {
        if flag(&fields, bias)? {
            return refuse(format!("`{bias}` is true; only false can be read: the projections have no bias"));
        }
    }
    let [bos, eos] = special_tokens(&fields, folder)?;
    let config = LlamaConfig::new(
        need(&fields, "vocab_size")?,
        need(&fields, "hidden_size")?,
        need(&fields, "intermediate_size")?,
        need(&fields, "num_hidden_layers")?,
        need(&fields, "num_attention_heads")?,
    )
    .with_kv_heads(fields.find("num_key_value_heads", COUNT)?)
    .with_context(fields.find("max_position_embeddings", COUNT)?.unwrap_or(2048))
    .with_bos(bos.first().copied())
    .with_eos(eos)
    .with_rope_theta(rope_theta(&fields)?)
    .with_norm_epsilon(fields.find("rms_norm_eps", "a number above 0")?.unwrap_or(1e-6))
    .with_tied_head(flag(&fields, "tie_word_embeddings")?);
    if let Err(error) = config.validate() {
        return refuse(format!("it describes no model: {error}"));
    }
    match fields.find::<usize>("head_dim", "hidden_size / num_attention_heads")? {
        Some(width) if width != config.d_head() => refuse(format!(
            "`head_dim` is {width}; it must be hidden_size / num_attention_heads = {}",
            config.d_head()
        )),
        _ => Ok(config),
    }
}

/// The base of the rotary frequencies. Settings inside of `rope_scaling` (which older versions of transformers had),
/// or else inside of `rope_parameters` (since version 5), come before `rope_theta` outside of them; an object that is
/// empty counts for none.
fn rope_theta(fields: &JsonObject) -> Result<f64> {
    const NUMBER: &str = "a number above 0";
    let mut rope = Map::new();
    for key in ["rope_scaling", "rope_parameters"] {
        if rope.is_empty() {
            rope = fields.find(key, "an object or null")?.unwrap_or_default();
        }
    }
    let rope = JsonObject { path: fields.path.clone(), entries: rope };
    // `type` is what older versions called it.
    let kind: Option<String> = match rope.find("rope_type", "default")? {
        None => rope.find("type", "default")?,
        kind => kind,
    };
    if let Some(kind) = kind.filter(|kind| kind != "default") {
        let reason = format!("`rope_type` is `{kind}`; only `default` can be read");
        return Err(Error::data(&fields.path, reason));
    }
    let inside = rope.find("rope_theta", NUMBER)?;
    let outside = fields.find("rope_theta", NUMBER)?;
    Ok(inside.or(outside).unwrap_or(10_000.0))
}

/// The tokens that begin and end a text. `generation_config.json` comes first: it is what transformers generates by.
/// Keys that `config.json` lacks, which is not the same as null, are 1 and 2, as in transformers.
fn special_tokens(config: &JsonObject, folder: &Path) -> Result<[Vec<u32>; 2]> {
    let generation = JsonObject::read_if_there(folder.join(GENERATION))?;
    let find = |key: &str, default: u32| -> Result<Vec<u32>> {
        let said = tokens(config, key)?.unwrap_or_else(|| vec![default]);
        let generating = generation.as_ref().map(|file| tokens(file, key)).transpose()?.flatten();
        Ok(generating.filter(|tokens| !tokens.is_empty()).unwrap_or(said))
    };
    Ok([find("bos_token_id", 1)?, find("eos_token_id", 2)?])
}

/// Writes `generation_config.json` and `config.json` for a model.
pub(super) fn write(config: &LlamaConfig, folder: &Path) -> Result<()> {
    let write =
        |name: &str, content: &Value| write_atomically(folder.join(name), format!("{content:#}").as_bytes());
    write(GENERATION, &generation_json(config))?;
    write(CONFIG, &to_json(config))
}

fn generation_json(config: &LlamaConfig) -> Value {
    json!({ "_from_model_config": true, "bos_token_id": config.bos, "eos_token_id": end_json(config) })
}

/// One token as a number, several as a list.
fn end_json(config: &LlamaConfig) -> Value {
    match config.eos.as_slice() {
        [] => Value::Null,
        [token] => json!(token),
        tokens => json!(tokens),
    }
}

/// The content of `config.json` for a model. `rope_theta` stands in both places, for readers of either kind.
fn to_json(config: &LlamaConfig) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": false,
        "attention_dropout": 0.0,
        "bos_token_id": config.bos,
        "dtype": "float32",
        "eos_token_id": end_json(config),
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
    use std::fs;

    use super::*;

    fn in_folder(config: &Value, generation: Option<&str>) -> Result<LlamaConfig> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CONFIG), config.to_string()).unwrap();
        if let Some(generation) = generation {
            fs::write(folder.path().join(GENERATION), generation).unwrap();
        }
        read(folder.path())
    }

    fn read_json(change: impl FnOnce(&mut Map<String, Value>)) -> Result<LlamaConfig> {
        let mut json = to_json(&config());
        change(json.as_object_mut().unwrap());
        in_folder(&json, None)
    }

    fn config() -> LlamaConfig {
        LlamaConfig::new(100, 64, 172, 2, 4)
            .with_kv_heads(Some(2))
            .with_bos(Some(3))
            .with_eos(vec![4, 5])
            .with_rope_theta(500_000.0)
            .with_norm_epsilon(1e-6)
            .with_tied_head(true)
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (bos, eos) in [(Some(3), vec![4, 5]), (None, vec![4]), (Some(0), vec![])] {
            let config = config().with_bos(bos).with_eos(eos);
            let folder = tempfile::tempdir().unwrap();
            write(&config, folder.path()).unwrap();
            assert_eq!(read(folder.path()).unwrap(), config);
            fs::remove_file(folder.path().join(GENERATION)).unwrap();
            assert_eq!(read(folder.path()).unwrap(), config);
        }
    }

    /// Every expectation is the base that transformers 5.24 finds.
    #[test]
    fn the_rotary_base_is_found_where_transformers_finds_it() {
        let theta = |settings: Value| {
            let Value::Object(settings) = settings else { panic!("{settings}") };
            let read = read_json(|json| {
                json.retain(|key, _| !key.starts_with("rope"));
                json.extend(settings);
            });
            read.unwrap().rope_theta
        };
        let inside = |theta: f64| json!({ "rope_type": "default", "rope_theta": theta });
        assert_eq!(theta(json!({})), 1e4);
        assert_eq!(theta(json!({ "rope_theta": 5e5 })), 5e5);
        assert_eq!(theta(json!({ "rope_theta": 5e5, "rope_scaling": null })), 5e5);
        assert_eq!(theta(json!({ "rope_scaling": inside(5e5) })), 5e5);
        assert_eq!(theta(json!({ "rope_scaling": inside(5e5), "rope_theta": 1e6 })), 5e5);
        assert_eq!(theta(json!({ "rope_parameters": inside(5e5), "rope_theta": 1e6 })), 5e5);
        assert_eq!(theta(json!({ "rope_parameters": inside(5e5), "rope_scaling": inside(7e5) })), 7e5);
        assert_eq!(theta(json!({ "rope_parameters": inside(5e5), "rope_scaling": {} })), 5e5);
        let bare = json!({ "rope_type": "default" });
        assert_eq!(theta(json!({ "rope_parameters": inside(5e5), "rope_scaling": bare })), 1e4);
        assert_eq!(
            theta(json!({ "rope_parameters": inside(5e5), "rope_scaling": bare, "rope_theta": 9e5 })),
            9e5
        );
        // Under both names, the newer one counts; of what is set aside nothing does.
        let both = json!({ "type": "linear", "rope_type": "default" });
        assert_eq!(theta(json!({ "rope_scaling": both, "rope_theta": 5e5 })), 5e5);
        let linear = json!({ "type": "linear", "factor": 2.0 });
        assert_eq!(theta(json!({ "rope_parameters": linear, "rope_scaling": bare })), 1e4);
    }

    /// Every expectation is what `LlamaConfig` and `GenerationConfig` of transformers 5.24 hold.
    #[test]
    fn tokens_that_begin_and_end_a_text_are_found_where_transformers_finds_them() {
        let found = |settings: Value, generation: Option<&str>| {
            let Value::Object(settings) = settings else { panic!("{settings}") };
            let mut json = to_json(&config());
            let entries = json.as_object_mut().unwrap();
            entries.retain(|key, _| !key.ends_with("token_id"));
            entries.extend(settings);
            let read = in_folder(&json, generation).unwrap();
            (read.bos, read.eos)
        };
        assert_eq!(found(json!({}), None), (Some(1), vec![2]));
        assert_eq!(found(json!({ "bos_token_id": null, "eos_token_id": null }), None), (None, vec![]));
        assert_eq!(found(json!({ "eos_token_id": 7 }), None), (Some(1), vec![7]));
        assert_eq!(found(json!({ "bos_token_id": null, "eos_token_id": [3, 4] }), None), (None, vec![3, 4]));
        assert_eq!(found(json!({ "bos_token_id": -1, "eos_token_id": 0 }), None), (None, vec![0]));
        let generation = r#"{ "bos_token_id": 8, "eos_token_id": [9, 10] }"#;
        assert_eq!(found(json!({ "eos_token_id": 9 }), Some(generation)), (Some(8), vec![9, 10]));
        assert_eq!(found(json!({ "bos_token_id": 5, "eos_token_id": 6 }), Some("{}")), (Some(5), vec![6]));
    }

    #[test]
    fn a_model_that_is_computed_otherwise_is_refused_by_the_setting() {
        let refused = |name: &str, value: Value| {
            let Err(Error::Data { reason, .. }) = read_json(|json| drop(json.insert(name.into(), value)))
            else {
                panic!("{name} passed")
            };
            reason
        };
        assert!(refused("model_type", json!("mistral")).contains("`mistral`"));
        assert!(refused("hidden_act", json!("gelu")).contains("`gelu`"));
        assert!(refused("attention_bias", json!(true)).contains("attention_bias"));
        for name in ["rope_scaling", "rope_parameters"] {
            assert!(refused(name, json!({ "type": "linear" })).contains("`linear`"));
            assert!(refused(name, json!({ "type": "default", "rope_type": "yarn" })).contains("`yarn`"));
        }
        assert!(refused("rope_scaling", json!(2.0)).contains("`rope_scaling` is 2.0; allowed: an object"));
        assert!(refused("head_dim", json!(32)).contains("`head_dim` is 32"));
        assert!(refused("num_attention_heads", json!(5)).contains("heads"));
        assert!(refused("vocab_size", Value::Null).contains("`vocab_size` is missing"));
        assert!(refused("vocab_size", json!("many")).contains("`vocab_size` is \"many\"; allowed: a whole"));
        assert!(
            refused("eos_token_id", json!("</s>")).contains("`eos_token_id` is \"</s>\"; allowed: a token")
        );
    }
}
