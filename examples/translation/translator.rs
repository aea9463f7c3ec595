//! Translating with a saved run.

use std::io::{IsTerminal, Write};
use std::path::Path;

use burn::prelude::*;
use burn_cht::Result;
use burn_cht::data::Input;
use burn_cht::data::translation::Vocabularies;
use burn_cht::eval::bleu::BleuTokenizer;
use burn_cht::eval::one_line;
use burn_cht::model::transformer::{DecodeConfig, Transformer, TransformerConfig};
use burn_cht::run::{CheckpointChoice, SavedRun};
use serde::Deserialize;

use crate::common::lines::tell;
use crate::common::saved;

/// The vocabularies of a run, beside its configuration.
pub const VOCABULARY: &str = "vocabulary.json";

/// Maximum number of bytes of a line to translate.
const LONGEST_LINE: usize = 1 << 20;

/// What of `config.json` is needed to translate, and to score.
#[derive(Deserialize)]
struct SavedConfig {
    vocabulary_checksum: String,
    model: TransformerConfig,
    #[serde(flatten)]
    scored: Scored,
}

/// How a run's translations are scored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Scored {
    pub source: String,
    pub target: String,
    pub lowercase: bool,
    #[serde(deserialize_with = "named")]
    pub tokenize: BleuTokenizer,
    /// Checksum of the sentences that the run was scored on.
    pub test_data: String,
}

fn named<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<BleuTokenizer, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// The best model of a run with its vocabularies.
pub struct Translator<B: Backend> {
    model: Transformer<B>,
    vocabularies: Vocabularies,
    positions: usize,
    decode: DecodeConfig,
    pub epoch: usize,
    pub scored: Scored,
}

impl<B: Backend> Translator<B> {
    /// That of the run in a folder.
    pub fn open(run: &Path, decode: DecodeConfig) -> Result<Self> {
        let saved = SavedRun::open(run)?;
        let config: SavedConfig = saved::config(&saved, "translation")?;
        let vocabularies = Vocabularies::load(run.join(VOCABULARY))?;
        vocabularies.verify(&config.vocabulary_checksum)?;
        let device = B::Device::default();
        let (model, epoch) =
            saved.load(config.model.try_init::<B>(&device)?, CheckpointChoice::Best, &device)?;
        let positions = config.model.max_length;
        let longest = decode.max_length.min(positions);
        let decode = decode.with_max_length(longest);
        Ok(Self { model, vocabularies, positions, decode, epoch, scored: config.scored })
    }

    /// Translations, each in one line, and how many sentences had to be cut to the positions. An empty sentence stays
    /// one.
    pub fn translate<S: AsRef<str> + Sync>(&self, sentences: &[S]) -> Result<(Vec<String>, usize)> {
        let mut sources = self.vocabularies.source().encode_all(sentences)?;
        let mut cut = 0;
        for (source, sentence) in sources.iter_mut().zip(sentences) {
            if sentence.as_ref().trim().is_empty() {
                source.clear();
            }
            if source.len() >= self.positions {
                source.truncate(self.positions - 1);
                cut += 1;
            }
        }
        let filled = sources.iter().filter(|source| !source.is_empty()).cloned().collect::<Vec<_>>();
        let mut found = self.model.translate(&filled, &self.decode)?.into_iter();
        let spell = |source: &Vec<u32>| match source.is_empty() {
            true => Ok(String::new()),
            false => self
                .vocabularies
                .target()
                .decode(&found.next().unwrap_or_default())
                .map(|text| one_line(&text)),
        };
        Ok((sources.iter().map(spell).collect::<Result<_>>()?, cut))
    }

    /// Translates the lines of a file, or of the standard input, to the standard output.
    pub fn lines(&self, file: &Path) -> Result<()> {
        let standard = file == Path::new("-");
        let input = if standard { Input::standard_input()? } else { Input::open(file)? };
        let mut input = input.lines(LONGEST_LINE);
        // Whoever types wants an answer to every line.
        let together = if standard && std::io::stdin().is_terminal() { 1 } else { 16 * self.decode.batch };
        let mut first = 1;
        loop {
            let mut lines = Vec::new();
            while lines.len() < together
                && let Some(line) = input.next_line()?
            {
                lines.push(line.trim().to_string());
            }
            if lines.is_empty() {
                return Ok(());
            }
            let (found, cut) = self.translate(&lines)?;
            if cut > 0 {
                let last = first + lines.len() - 1;
                let limit = self.positions - 1;
                tell!("lines {first} to {last}: {cut} cut to the {limit} tokens that the model can read");
            }
            first += lines.len();
            let mut out = std::io::stdout().lock();
            for line in found {
                if writeln!(out, "{line}").is_err() {
                    return Ok(());
                }
            }
        }
    }
}
