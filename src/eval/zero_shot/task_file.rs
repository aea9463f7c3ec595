//! The fields of a task file, as TOML has them.

use std::path::Path;

use serde::Deserialize;

use super::filter::Maps;
use super::task::Metric;
use crate::error::{Error, Result};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskFile {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) data: DataFile,
    pub(super) prompt: Option<String>,
    pub(super) prompts: Option<Vec<String>>,
    #[serde(default)]
    pub(super) prompt_filters: Vec<String>,
    pub(super) choices: Option<Vec<String>>,
    pub(super) choices_from: Option<String>,
    #[serde(default)]
    pub(super) choice_filters: Vec<String>,
    pub(super) continuation: Option<String>,
    #[serde(default = "space")]
    pub(super) delimiter: String,
    pub(super) target: Option<Target>,
    pub(super) metrics: Vec<Metric>,
    #[serde(default)]
    pub(super) maps: Maps,
}

/// Where the records stand, and their labels if those stand in a file of their own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DataFile {
    pub(super) file: Names,
    pub(super) labels: Option<Names>,
    #[serde(default)]
    pub(super) unroll: Vec<String>,
}

/// Names that a file may have, of which the first that is there is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a name of a file or a list of such names")]
pub(super) enum Names {
    One(String),
    Several(Vec<String>),
}

impl Names {
    pub(super) fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

/// Which choice is right: always the same, or the one that a field names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    pub(super) always: Option<usize>,
    pub(super) field: Option<String>,
    pub(super) values: Option<Vec<Vec<Spelling>>>,
    pub(super) among: Option<String>,
}

/// One way in which a data file may write a label.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Spelling {
    Truth(bool),
    Number(i64),
    Text(String),
}

fn space() -> String {
    " ".to_owned()
}

impl TaskFile {
    /// Reads a task file's text; `path` is what errors call it.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| Error::data(path, error.to_string().trim_end()))
    }
}

impl std::fmt::Display for Spelling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truth(truth) => write!(f, "{truth}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl Spelling {
    pub(super) fn spells(&self, value: &serde_json::Value) -> bool {
        match self {
            Self::Truth(truth) => value.as_bool() == Some(*truth),
            Self::Number(number) => value.as_i64() == Some(*number),
            Self::Text(text) => value.as_str() == Some(text),
        }
    }
}
