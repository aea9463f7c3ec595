//! A score of a user's own as a value: compared, saved and shown by its name.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{LayerScore, LinkScore, PositionScore};
use crate::error::{Error, Result};

/// A score that is not of this crate, shared by clones. Equal if the names are; saved as the name.
///
/// One that was read back is a name that can be compared and shown. To use it hand in the score itself.
#[derive(Serialize, Deserialize)]
#[serde(from = "String", into = "String", bound = "")]
pub struct CustomScore<S: ?Sized> {
    name: Arc<str>,
    score: Option<Arc<S>>,
}

impl<S: ?Sized> CustomScore<S> {
    /// The score's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Refuses a name that stands for nothing but itself.
    pub(in crate::topology) fn validate(&self) -> Result<()> {
        self.get().map(|_| ())
    }

    pub(super) fn get(&self) -> Result<&S> {
        self.score.as_deref().ok_or_else(|| {
            let allowed = "the score itself, handed in anew: a saved configuration holds its name alone";
            Error::argument("score", &self.name, allowed)
        })
    }
}

impl CustomScore<dyn LinkScore> {
    pub(in crate::topology) fn from_links(score: impl LinkScore + 'static) -> Self {
        Self { name: score.name().into(), score: Some(Arc::new(score)) }
    }
}

impl CustomScore<dyn PositionScore> {
    pub(in crate::topology) fn from_positions(score: impl PositionScore + 'static) -> Self {
        Self { name: score.name().into(), score: Some(Arc::new(score)) }
    }
}

impl CustomScore<dyn LayerScore> {
    pub(super) fn from_layers(score: impl LayerScore + 'static) -> Self {
        Self { name: score.name().into(), score: Some(Arc::new(score)) }
    }
}

impl<S: ?Sized> Clone for CustomScore<S> {
    fn clone(&self) -> Self {
        Self { name: Arc::clone(&self.name), score: self.score.clone() }
    }
}

impl<S: ?Sized> PartialEq for CustomScore<S> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl<S: ?Sized> fmt::Debug for CustomScore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<S: ?Sized> From<CustomScore<S>> for String {
    fn from(score: CustomScore<S>) -> Self {
        score.name.as_ref().into()
    }
}

impl<S: ?Sized> From<String> for CustomScore<S> {
    fn from(name: String) -> Self {
        Self { name: name.into(), score: None }
    }
}
