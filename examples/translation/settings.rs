//! The options of a translation run.

use std::path::PathBuf;

use burn_cht::eval::bleu::{Bleu, BleuTokenizer};
use burn_cht::model::transformer::{Positions, TransformerConfig, Tying};
use burn_cht::topology::{Method, TopologyConfig};
use burn_cht::{Error, Result};
use clap::ArgAction::Set;
use clap::ValueEnum;
use serde::Serialize;

use crate::common::optimizer::OptimizerOptions;
use crate::common::summary::Score;
use crate::common::topology::{Run, TopologyOptions};
use crate::tokens::StepOptions;

/// Everything that makes two runs of one method and seed the same.
#[derive(Debug, Clone, clap::Args, Serialize)]
#[command(next_help_heading = "Data and model")]
pub struct Settings {
    /// Folder of the parallel text, as datasets/README.md says [default: the embedded sentences]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub data: Option<PathBuf>,
    /// Source language, the extension of its files
    #[arg(long, default_value = "en")]
    pub source: String,
    /// Target language
    #[arg(long, default_value = "de")]
    pub target: String,
    /// Size of the vocabulary
    #[arg(long, default_value_t = 700)]
    pub vocabulary: usize,
    /// Separate vocabularies instead of a joint one
    #[arg(long, num_args = 0..=1, action = Set, default_value_t = false, default_missing_value = "true")]
    pub separate: bool,
    /// Lowercase all text; BLEU then ignores case
    #[arg(long, num_args = 0..=1, action = Set, default_value_t = false, default_missing_value = "true")]
    pub lowercase: bool,
    /// Leave out training pairs that are longer than the positions, in place of an error
    #[arg(long, num_args = 0..=1, action = Set, default_value_t = false, default_missing_value = "true")]
    pub drop_longer: bool,
    /// Encoder layers, and as many decoder layers
    #[arg(long, default_value_t = 2)]
    pub layers: usize,
    /// Width of the model (d_model)
    #[arg(long, default_value_t = 128)]
    pub d_model: usize,
    /// Width of the feed-forward layers (d_ff)
    #[arg(long, default_value_t = 256)]
    pub d_ff: usize,
    /// Attention heads
    #[arg(long, default_value_t = 4)]
    pub heads: usize,
    /// Positions: tokens of the longest sentence, its end included
    #[arg(long, default_value_t = 256)]
    pub positions: usize,
    /// Learned positional embeddings instead of sinusoidal ones
    #[arg(long, num_args = 0..=1, action = Set, default_value_t = false, default_missing_value = "true")]
    pub learned_positions: bool,
    /// Post-norm instead of pre-norm
    #[arg(long, num_args = 0..=1, action = Set, default_value_t = false, default_missing_value = "true")]
    pub post_norm: bool,
    /// Weight tying: the target embedding with the output projection (target), or the source embedding too (all)
    #[arg(long, value_enum, default_value_t = TyingKind::None)]
    pub tying: TyingKind,
    /// Dropout
    #[arg(long, default_value_t = 0.1)]
    pub dropout: f64,
    /// Label smoothing
    #[arg(long, default_value_t = 0.1)]
    pub label_smoothing: f64,
    /// Tokens of a batch at most: its pairs times the longest of them
    #[arg(long, default_value_t = 1024)]
    pub batch_tokens: usize,
    /// Factor of the noam schedule
    #[arg(long, default_value_t = 0.5)]
    pub factor: f64,
    /// Warm-up steps of the learning rate
    #[arg(long, default_value_t = 150)]
    pub warmup: usize,
    /// Metric that the best checkpoint is chosen by: validation loss, or BLEU of the validation sentences, which
    /// translates all of them at every evaluation
    #[arg(long, value_enum, default_value_t = BestBy::Loss)]
    pub best_by: BestBy,
    /// Tokenizer that BLEU counts words by, as sacreBLEU names them: 13a, intl, char (for text without spaces), none
    #[arg(long, default_value_t)]
    pub tokenize: BleuTokenizer,
    /// Queries, keys and values evolve head by head, each head keeping its number of links
    #[arg(long, num_args = 0..=1, action = Set, default_value_t = false, default_missing_value = "true")]
    pub per_head: bool,
    #[command(flatten)]
    #[serde(flatten)]
    pub steps: StepOptions,
    #[command(flatten)]
    #[serde(flatten)]
    pub optimizer: OptimizerOptions,
    #[command(flatten)]
    #[serde(flatten)]
    pub topology: TopologyOptions,
}

/// The metric that the best checkpoint is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BestBy {
    Loss,
    Bleu,
}

impl BestBy {
    /// The metrics of a run; the best checkpoint is chosen by the first.
    pub fn scores(self) -> &'static [Score] {
        const LOSS: Score = Score { name: "loss", metric: "Loss", highest: false, digits: 3 };
        const BLEU: Score = Score { name: "valid_bleu", metric: "BLEU", highest: true, digits: 2 };
        match self {
            Self::Loss => &[LOSS],
            Self::Bleu => &[BLEU, LOSS],
        }
    }
}

/// What this example sets otherwise than the others.
pub const DEFAULTS: [(&str, &str); 10] = [
    ("methods", "chtss"),
    ("steps", "600"),
    ("evaluate_every", "50"),
    ("sparsity", "0.9"),
    ("update_interval", "20"),
    ("gain", "1"),
    ("optimizer", "adam"),
    ("beta2", "0.998"),
    ("epsilon", "1e-9"),
    ("weight_decay", "0"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TyingKind {
    None,
    Target,
    All,
}

impl Settings {
    /// The model that was asked for, over so many source and target tokens, and how its links evolve.
    pub fn model(
        &self,
        [source, target]: [usize; 2],
        method: Method,
        seed: u64,
    ) -> Result<(TransformerConfig, TopologyConfig)> {
        let model = TransformerConfig::new(source, target)
            .with_d_model(self.d_model)
            .with_d_ff(self.d_ff)
            .with_encoder_layers(self.layers)
            .with_decoder_layers(self.layers)
            .with_n_heads(self.heads)
            .with_dropout(self.dropout)
            .with_norm_first(!self.post_norm)
            .with_positions(match self.learned_positions {
                true => Positions::Learned,
                false => Positions::Sinusoidal,
            })
            .with_max_length(self.positions)
            .with_tying(match self.tying {
                TyingKind::None => Tying::None,
                TyingKind::Target => Tying::Target,
                TyingKind::All => Tying::All,
            })
            .with_label_smoothing(self.label_smoothing);
        let run = Run {
            method,
            total_steps: self.steps.steps,
            steps_per_epoch: self.steps.evaluate_every,
            seed,
            features: None,
        };
        let topology = self.topology.config(&run)?.with_chains(model.chains());
        let topology = match self.per_head {
            true => topology.with_layers(model.per_head()),
            false => topology,
        };
        Ok((model.with_sparse(self.topology.settings(&topology)?), topology))
    }

    /// Refuses what is out of its range before anything is read.
    pub fn validate(&self) -> Result<()> {
        self.topology.validate()?;
        self.optimizer.validate()?;
        self.steps.epochs()?;
        if self.tying == TyingKind::All && self.separate {
            return Err(Error::argument("tying", "all", "none or target with separate vocabularies"));
        }
        if self.data.is_none() && (self.source.as_str(), self.target.as_str()) != ("en", "de") {
            let value = format!("{} to {}", self.source, self.target);
            return Err(Error::argument("source and target", value, "en to de, without --data"));
        }
        Ok(())
    }

    /// The score of translations; of text in lower case it ignores case.
    pub fn bleu(&self) -> Bleu {
        Bleu::new().with_lowercase(self.lowercase).with_tokenizer(self.tokenize)
    }

    /// What the text is called: the name of its folder, and the languages.
    pub fn dataset(&self) -> String {
        let folder = self.data.as_ref().and_then(|folder| folder.canonicalize().ok());
        let name = folder.as_ref().and_then(|folder| folder.file_name());
        let name = name.map_or("everyday".into(), |name| name.to_string_lossy().into_owned());
        format!("{name} {}-{}", self.source, self.target)
    }
}
