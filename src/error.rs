//! The one error type. Every variant carries the offending value and where it stood.

use std::error::Error as _;
use std::path::{Path, PathBuf};

use crate::nearest::did_you_mean;
use crate::ranks::RankError;

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong with what a user hands to this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting outside of its range.
    #[error("`{name}`{} is {value}; allowed: {allowed}", place.as_ref().map(|place| format!(" of {place}")).unwrap_or_default())]
    Argument {
        /// Name of the argument or setting.
        name: &'static str,
        /// Whose it is, where there are several: a layer, an item of a list.
        place: Option<String>,
        /// The value that was given.
        value: String,
        /// What would have been accepted.
        allowed: String,
    },

    /// More (or fewer) links asked for than a layer can hold.
    #[error("layer `{layer}`: {requested} links asked for, {allowed}")]
    Capacity {
        /// Path (or shape) of the layer.
        layer: String,
        /// Number of links asked for.
        requested: usize,
        /// What would have been accepted.
        allowed: String,
    },

    /// A connectivity that breaks an invariant: unsorted, duplicate or out-of-range links, counts that disagree.
    #[error("inconsistent links: {reason}")]
    Links {
        /// Which invariant broke, with the offending position.
        reason: String,
    },

    /// Two things that must have the same shape do not.
    #[error("{what}: shape {found:?}, expected {expected:?}")]
    Shape {
        /// What was looked at.
        what: String,
        /// The shape found.
        found: Vec<usize>,
        /// The shape expected.
        expected: Vec<usize>,
    },

    /// The model holds nothing that could be evolved.
    #[error("the model has no sparse layer: nothing would be evolved")]
    NoSparseLayers,

    /// A path pattern that matches none of the model's sparse layers.
    #[error("pattern `{pattern}` matches no sparse layer; the model has: {layers}{}", did_you_mean(pattern, layers.split(", ")))]
    Pattern {
        /// The pattern as given.
        pattern: String,
        /// The layers there are, comma separated.
        layers: String,
    },

    /// Resumed state that belongs to another run.
    #[error("{what} does not belong to this run: found {found}, expected {expected}")]
    Mismatch {
        /// What disagrees (method, seed, layer, ...).
        what: String,
        /// The value in the saved state.
        found: String,
        /// The value of this run.
        expected: String,
    },

    /// A loss, learning rate, gradient, weight or logit that is NaN or infinite.
    #[error("{what} is {value}{}", if *step == 0 { String::new() } else { format!(" at step {step}: the run is stopped") })]
    NotFinite {
        /// What was not finite.
        what: String,
        /// The optimizer step, counted from 1; 0 where nothing is trained.
        step: usize,
        /// The value found.
        value: f64,
    },

    /// A file whose content is not what it must be.
    #[error("{}: {reason}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what was expected.
        reason: String,
    },

    /// Safetensors that are not what a module can be loaded from, or a model that its file format cannot hold.
    #[error("{place}: {reason}")]
    Interchange {
        /// The tensor, or the file or format as a whole.
        place: String,
        /// What is wrong with it, and what was expected.
        reason: String,
    },

    /// Another rank of data parallel training has failed, differs or does not answer.
    #[error(transparent)]
    Rank(#[from] RankError),

    /// A device that does not answer: lost, out of memory, or with a failing driver.
    #[error("the device cannot be read, it may be lost or out of memory: {reason}")]
    Device {
        /// What Burn says.
        reason: String,
    },

    /// The operating system refused to read or write a file.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl Error {
    /// A device that does not answer.
    pub(crate) fn device(reason: impl ToString) -> Self {
        Self::Device { reason: reason.to_string() }
    }

    /// A setting outside of its range.
    pub fn argument(name: &'static str, value: impl ToString, allowed: impl Into<String>) -> Self {
        Self::Argument { name, place: None, value: value.to_string(), allowed: allowed.into() }
    }

    /// A name that is none of `names`, with the one that was probably meant.
    pub(crate) fn unknown(what: &'static str, name: &str, names: &[&str]) -> Self {
        let allowed = format!("{}{}", names.join(", "), did_you_mean(name, names.iter().copied()));
        Self::argument(what, name, allowed)
    }

    /// The same error of a setting, which says whose it is.
    #[must_use]
    pub fn of(mut self, whose: impl Into<String>) -> Self {
        if let Self::Argument { place, .. } = &mut self {
            *place = Some(whose.into());
        }
        self
    }

    /// The error and what caused it, from one to the next, in one line.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            report += &format!(": {error}");
            cause = error.source();
        }
        report
    }

    /// A file whose content is not what it must be.
    pub fn data(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Data { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }

    /// The operating system's refusal, with the path it concerns. Meant for `map_err`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_and_by_its_owner() {
        let cause = std::io::Error::other("no such thing");
        let error = Error::io("some/file")(cause);
        assert_eq!(error.to_string(), "cannot read or write some/file");
        assert_eq!(error.report(), "cannot read or write some/file: no such thing");
        let error = Error::argument("limit", 0, "at least 1");
        assert_eq!(error.report(), "`limit` is 0; allowed: at least 1");
    }

    #[test]
    fn an_argument_is_told_by_its_name_whosever_it_is() {
        let error = Error::argument("parts", 7, "a divisor of its 10 outputs").of("`encoder.query`");
        assert_eq!(
            error.to_string(),
            "`parts` of `encoder.query` is 7; allowed: a divisor of its 10 outputs"
        );
        assert!(
            matches!(error, Error::Argument { name: "parts", place: Some(place), .. } if place == "`encoder.query`")
        );
    }
}
