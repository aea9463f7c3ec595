//! The published sizes, and smaller ones of the same proportions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::LlamaConfig;
use crate::error::{Error, Result};

/// A size by its name, which counts parameters at a vocabulary of 32,000 for the published ones and at a few thousand
/// for the small ones.
///
/// | name | d_model | hidden | layers | heads |
/// |---|---|---|---|---|
/// | `1m` | 128 | 344 | 4 | 4 |
/// | `3m` | 192 | 512 | 6 | 6 |
/// | `10m` | 256 | 688 | 8 | 8 |
/// | `60m` | 512 | 1376 | 8 | 8 |
/// | `130m` | 768 | 2048 | 12 | 12 |
/// | `1b` | 2048 | 5461 | 24 | 32 |
///
/// The last three are those of arXiv 2501.19107; the small ones share their hidden width of about
/// 8/3 of the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LlamaSize {
    /// About a million parameters.
    #[serde(rename = "1m")]
    M1,
    /// About three million parameters.
    #[serde(rename = "3m")]
    M3,
    /// About ten million parameters with an untied output projection over 8,000 tokens.
    #[serde(rename = "10m")]
    M10,
    /// LLaMA-60M.
    #[serde(rename = "60m")]
    M60,
    /// LLaMA-130M.
    #[serde(rename = "130m")]
    M130,
    /// LLaMA-1B.
    #[serde(rename = "1b")]
    B1,
}

impl LlamaSize {
    /// All sizes, smallest first.
    pub const ALL: [Self; 6] = [Self::M1, Self::M3, Self::M10, Self::M60, Self::M130, Self::B1];

    /// The size's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::M1 => "1m",
            Self::M3 => "3m",
            Self::M10 => "10m",
            Self::M60 => "60m",
            Self::M130 => "130m",
            Self::B1 => "1b",
        }
    }

    /// A dense model of this size over `vocabulary` tokens.
    #[must_use]
    pub fn config(self, vocabulary: usize) -> LlamaConfig {
        let [d_model, hidden, layers, heads] = match self {
            Self::M1 => [128, 344, 4, 4],
            Self::M3 => [192, 512, 6, 6],
            Self::M10 => [256, 688, 8, 8],
            Self::M60 => [512, 1376, 8, 8],
            Self::M130 => [768, 2048, 12, 12],
            Self::B1 => [2048, 5461, 24, 32],
        };
        LlamaConfig::new(vocabulary, d_model, hidden, layers, heads)
    }
}

impl fmt::Display for LlamaSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for LlamaSize {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let named = |size: &Self| size.name().eq_ignore_ascii_case(name);
        Self::ALL
            .into_iter()
            .find(named)
            .ok_or_else(|| Error::unknown("size", name, &Self::ALL.map(Self::name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published: 58.07, 134.11 and 1339.08 million with 32,000 tokens and an untied head.
    #[test]
    fn the_published_sizes_have_the_published_number_of_parameters() {
        let counts = [LlamaSize::M60, LlamaSize::M130, LlamaSize::B1].map(|size| {
            let config = size.config(32_000);
            config.validate().unwrap();
            config.num_parameters()
        });
        assert_eq!(counts, [58_073_600, 134_105_856, 1_339_082_752]);
    }

    #[test]
    fn a_small_size_is_what_its_name_says() {
        for (size, vocabulary, millions) in
            [(LlamaSize::M1, 512, 0.9), (LlamaSize::M3, 2048, 3.4), (LlamaSize::M10, 8192, 10.5)]
        {
            let config = size.config(vocabulary);
            config.validate().unwrap();
            let counted = config.num_parameters() as f64 / 1e6;
            assert!((counted - millions).abs() < 0.06, "{size}: {counted}");
        }
    }

    #[test]
    fn a_size_is_read_by_the_name_it_prints() {
        for size in LlamaSize::ALL {
            assert_eq!(size.to_string().parse::<LlamaSize>().unwrap(), size);
            assert_eq!(serde_json::to_value(size).unwrap(), size.name());
        }
        let Err(Error::Argument { allowed, .. }) = "2m".parse::<LlamaSize>() else { panic!("no such size") };
        assert_eq!(allowed, "1m, 3m, 10m, 60m, 130m, 1b; did you mean `1m`?");
    }
}
