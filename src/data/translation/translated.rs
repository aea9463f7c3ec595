//! A translation beside the one it is compared with.

/// What a model has made of a sentence, beside its translation in the text, both in tokens without marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslatedSentence {
    /// The model's translation.
    pub found: Vec<u32>,
    /// The translation of the text.
    pub reference: Vec<u32>,
}
