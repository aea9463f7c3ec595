//! Which tokens begin and end a text, as transformers 5 finds it in the files beside a `tokenizer.json`.
//!
//! `special_tokens_map.json` comes before `tokenizer_config.json`, unless the latter lists `added_tokens_decoder`. Where
//! neither has the key at all, which is not the same as null, it is what the tokenizer's class has: `tokenizer_class` of
//! `tokenizer_config.json` or of `config.json`, or the class of the model's type.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use crate::error::Result;
use crate::file::JsonObject;

pub(super) const CONFIG: &str = "tokenizer_config.json";
const MAP: &str = "special_tokens_map.json";
const MODEL: &str = "config.json";

/// What begins or ends a text in well-known tokenizers, asked for in this order where no file lies beside
/// `tokenizer.json`.
const USUAL_BOS: [&str; 3] = ["<s>", "<|begin_of_text|>", "<|endoftext|>"];
const USUAL_EOS: [&str; 4] = ["</s>", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>"];

/// Classes of tokenizers (`…Tokenizer`), types of models whose tokenizer is of such a class, and the tokens that begin
/// and end a text in it. Classes that are not here have neither.
const CLASSES: [(&str, &str, Ends<&str>); 8] = [
    (
        "CodeGen GPT2 GPTNeoX Whisper",
        "codegen dbrx falcon_mamba gpt2 gpt_neo gpt_neox gptj mamba mamba2 mpt olmo olmoe opt phi rwkv starcoder2 \
         whisper xlstm",
        (Some("<|endoftext|>"), Some("<|endoftext|>")),
    ),
    ("Qwen2 Qwen3_5", "qwen2 qwen2_moe qwen3 qwen3_5 qwen3_moe qwen3_next", (None, Some("<|endoftext|>"))),
    (
        "Bart Barthez BigBird Camembert CodeLlama LED Llama MBart MPNet Nllb Nougat Phi3 Roberta SeamlessM4T XGLM \
         XLMRoberta XLNet",
        "bart barthez big_bird camembert code_llama led mbart mpnet nllb nougat roberta seamless_m4t xglm \
         xlm-roberta xlnet",
        (Some("<s>"), Some("</s>")),
    ),
    ("MBart50 Pegasus T5", "mbart50 mt5 pegasus switch_transformers t5", (None, Some("</s>"))),
    (
        "Gemma",
        "gemma gemma2 gemma3 gemma3_text gemma3n recurrent_gemma t5gemma",
        (Some("<bos>"), Some("<eos>")),
    ),
    ("Cohere", "cohere cohere2", (Some("<BOS_TOKEN>"), Some("<|END_OF_TURN_TOKEN|>"))),
    ("Albert Deberta DebertaV2 RemBert", "albert deberta deberta-v2 rembert", (Some("[CLS]"), Some("[SEP]"))),
    ("CLIP", "clip", (Some("<|startoftext|>"), Some("<|endoftext|>"))),
];

/// What begins a text, and what ends it.
type Ends<T> = (Option<T>, Option<T>);

/// The files beside a `tokenizer.json`, as far as they are there.
pub(super) struct SpecialTokens {
    map: Option<JsonObject>,
    config: Option<JsonObject>,
    model: Option<JsonObject>,
}

impl SpecialTokens {
    /// Those of a `tokenizer.json` that has nothing beside it.
    pub(super) const NONE: Self = Self { map: None, config: None, model: None };

    /// Reads what lies beside the `tokenizer.json` at `path`.
    pub(super) fn beside(path: &Path) -> Result<Self> {
        let beside = |name: &str| JsonObject::read_if_there(path.with_file_name(name));
        let config = beside(CONFIG)?;
        let complete =
            config.as_ref().is_some_and(|config| config.entries.contains_key("added_tokens_decoder"));
        Ok(Self { map: if complete { None } else { beside(MAP)? }, model: beside(MODEL)?, config })
    }

    /// The tokens that begin and end a text, of a `tokenizer.json` with these `ids`, which works on bytes or not.
    pub(super) fn find(&self, ids: &HashMap<String, u32>, byte_level: bool) -> Result<Ends<u32>> {
        let class = self.class(byte_level);
        let alone = self.map.is_none() && self.config.is_none() && class.is_none();
        let usual = |names: &'static [&str]| names.iter().copied().find(|&name| ids.contains_key(name));
        let (bos, eos) = match class {
            None if alone => (usual(&USUAL_BOS), usual(&USUAL_EOS)),
            class => class.and_then(of_class).unwrap_or_default(),
        };
        Ok((self.token("bos_token", bos, ids)?, self.token("eos_token", eos, ids)?))
    }

    fn token(&self, key: &str, default: Option<&str>, ids: &HashMap<String, u32>) -> Result<Option<u32>> {
        let mut files = [&self.map, &self.config].into_iter().flatten();
        let Some((file, value)) = files.find_map(|file| Some((file, file.entries.get(key)?))) else {
            return Ok(default.and_then(|name| ids.get(name).copied()));
        };
        let name = match value {
            Value::Null => return Ok(None),
            Value::String(name) => name,
            Value::Object(token) if token.get("content").is_some_and(Value::is_string) => {
                token["content"].as_str().unwrap_or_default()
            }
            other => return Err(file.wrong(key, other, "a token, an object with its `content`, or null")),
        };
        if name.is_empty() {
            return Ok(None);
        }
        let missing =
            || file.wrong(key, value, &format!("null, or one of the tokenizer's {} tokens", ids.len()));
        ids.get(name).copied().map(Some).ok_or_else(missing)
    }

    /// The tokenizer's class, or the type of the model whose class it has. [`None`] if no file says so.
    fn class<'a>(&'a self, byte_level: bool) -> Option<&'a str> {
        let text = |file: &'a Option<JsonObject>, key| file.as_ref()?.entries.get(key)?.as_str();
        let class = text(&self.config, "tokenizer_class").or_else(|| text(&self.model, "tokenizer_class"));
        let Some(class) = class else { return text(&self.model, "model_type") };
        let class = class.strip_suffix("Fast").unwrap_or(class);
        // That class does not work on bytes: transformers takes another for such a file, whatever it is called.
        Some(if byte_level && class == "LlamaTokenizer" { "TokenizersBackend" } else { class })
    }
}

fn of_class(class: &str) -> Option<Ends<&'static str>> {
    let name = class.strip_suffix("Tokenizer");
    let of = |words: &str, word: &str| words.split(' ').any(|other| other == word);
    let known = CLASSES.iter().find(|(names, models, _)| match name {
        Some(name) => of(names, name),
        None => of(models, class),
    });
    known.map(|&(_, _, ends)| ends)
}
