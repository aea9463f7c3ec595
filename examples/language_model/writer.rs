//! Generation with a saved run, or with a checkpoint.

use std::io::{self, Write};
use std::path::Path;

use burn::prelude::*;
use burn_cht::data::Input;
use burn_cht::data::language::Tokenizer;
use burn_cht::model::llama::generate::{Generation, Sampling};
use burn_cht::model::llama::{Llama, LlamaConfig};
use burn_cht::run::{CheckpointChoice, SavedRun};
use burn_cht::{Error, Result};
use serde::Deserialize;

use crate::common::comparison::Comparison;
use crate::common::saved;
use crate::settings::{Settings, read_checkpoint};

/// Maximum number of bytes of a prompt on the standard input.
const LONGEST_PROMPT: usize = 1 << 20;

/// A checksum in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The options of generation, and of the sample at the end of a run.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Generating")]
pub struct Generating {
    /// Continue this prompt, or each line of the standard input (-), with the best checkpoint in --out, or with --checkpoint
    #[arg(long, value_name = "PROMPT")]
    pub generate: Option<String>,
    /// Tokens of a continuation at most [default: up to the model's context]
    #[arg(long, value_name = "TOKENS")]
    longest: Option<usize>,
    /// Temperature of sampling; 0 is greedy
    #[arg(long, default_value_t = 0.8)]
    sample_temperature: f64,
    /// Top-k: sample from this many most likely tokens only
    #[arg(long)]
    top_k: Option<usize>,
    /// Top-p: sample from the smallest set of most likely tokens that has this probability
    #[arg(long)]
    top_p: Option<f64>,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    sample_seed: u64,
    /// End a continuation before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
}

impl Generating {
    pub fn generation(&self, stop: &[u32]) -> Generation {
        Generation {
            max_tokens: self.longest,
            sampling: Sampling { temperature: self.sample_temperature, top_k: self.top_k, top_p: self.top_p },
            stop: stop.to_vec(),
            seed: self.sample_seed,
        }
    }
}

/// What of `config.json` is needed to generate.
#[derive(Deserialize)]
struct SavedConfig {
    tokenizer_checksum: String,
    model: LlamaConfig,
}

/// A model with its tokenizer.
pub struct Writer<B: Backend> {
    model: Llama<B>,
    tokenizer: Tokenizer,
}

impl<B: Backend> Writer<B> {
    /// The model of --checkpoint, or the best of the run in --out.
    pub fn open(comparison: &Comparison, settings: &Settings) -> Result<Self> {
        match (&settings.checkpoint, &comparison.out) {
            (Some(checkpoint), _) => {
                let learned = || Error::argument("tokenizer", "bpe", "bytes or a file, with --generate");
                let tokenizer = settings.own_tokenizer()?.ok_or_else(learned)?;
                let layout = settings.topology.layout()?;
                let model = read_checkpoint(checkpoint, &tokenizer, layout, &B::Device::default())?;
                Ok(Self { model, tokenizer })
            }
            (None, Some(run)) => Self::of_run(run),
            (None, None) => Err(Error::argument("generate", "without a model", "with --out or --checkpoint")),
        }
    }

    /// The best model of a run.
    pub fn of_run(run: &Path) -> Result<Self> {
        let saved = SavedRun::open(run)?;
        let config: SavedConfig = saved::config(&saved, "language_model")?;
        let tokenizer = Tokenizer::load(run)?;
        let checksum = hex(tokenizer.checksum());
        if checksum != config.tokenizer_checksum {
            let what = format!("tokenizer in {}", run.display());
            return Err(Error::Mismatch { what, found: checksum, expected: config.tokenizer_checksum });
        }
        let device = B::Device::default();
        let (model, _) = saved.load(config.model.try_init::<B>(&device)?, CheckpointChoice::Best, &device)?;
        Ok(Self { model, tokenizer })
    }

    /// Continues the prompt, or each line of the standard input.
    pub fn answer(&self, prompt: &str, generating: &Generating) -> Result<()> {
        if prompt != "-" {
            return self.write(prompt, generating, &mut io::stdout()).map(drop);
        }
        let mut prompts = Input::standard_input()?.lines(LONGEST_PROMPT);
        while let Some(prompt) = prompts.next_line()? {
            self.write(prompt, generating, &mut io::stdout())?;
        }
        Ok(())
    }

    /// Writes the prompt and its continuation to `out` while that grows, and returns both.
    pub fn write(&self, prompt: &str, generating: &Generating, out: &mut dyn Write) -> Result<String> {
        let ids = self.tokenizer.encode_prompt(prompt)?;
        if ids.is_empty() {
            let allowed = "a text of at least one token: the tokenizer has none that begins a text";
            return Err(Error::argument("prompt", format!("{prompt:?}"), allowed));
        }
        // Before anything is printed.
        self.model.check_prompt(&ids)?;
        let mut stream = self.tokenizer.text_stream();
        let mut shown = Shown { text: String::new(), printed: 0, stops: &generating.stop, out };
        for &id in &ids {
            shown.text.push_str(&stream.push(id)?);
        }
        // What the prompt says ends nothing.
        let length = shown.text.len();
        let mut open = shown.print(length);
        let mut refused = None;
        let generation = generating.generation(&self.model.config().eos);
        self.model.generate(&ids, &generation, |token| {
            match stream.push(token) {
                Ok(text) => open &= shown.push(&text),
                Err(error) => refused = Some(error),
            }
            open && refused.is_none()
        })?;
        if open {
            shown.push(&stream.finish());
            let length = shown.text.len();
            shown.print(length);
        }
        writeln!(shown.out).ok();
        shown.text.truncate(shown.printed);
        refused.map_or(Ok(shown.text), Err)
    }
}

/// Text that is written, as far as it cannot be the beginning of what ends it.
struct Shown<'a> {
    text: String,
    printed: usize,
    stops: &'a [String],
    out: &'a mut dyn Write,
}

impl Shown<'_> {
    /// Adds to the text and prints what is certain; false if the text has ended.
    fn push(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        let new = &self.text[self.printed..];
        let stops = || self.stops.iter().filter(|stop| !stop.is_empty());
        if let Some(at) = stops().filter_map(|stop| new.find(stop.as_str())).min() {
            self.print(self.printed + at);
            return false;
        }
        let begun = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).skip(1);
            ends.filter(|&at| new.ends_with(&stop[..at])).max().unwrap_or(0)
        };
        let held = stops().map(begun).max().unwrap_or(0);
        self.print(self.text.len() - held)
    }

    /// Prints up to byte `end`; false if nobody listens.
    fn print(&mut self, end: usize) -> bool {
        let new = &self.text.as_bytes()[self.printed..end];
        let written = self.out.write_all(new).and_then(|()| self.out.flush());
        self.printed = end;
        written.is_ok()
    }
}
