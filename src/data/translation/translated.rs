//! A translation with its reference.

/// A model's translation (hypothesis) and the reference, both in tokens without special ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslatedSentence {
    /// The hypothesis.
    pub found: Vec<u32>,
    /// The reference.
    pub reference: Vec<u32>,
}
