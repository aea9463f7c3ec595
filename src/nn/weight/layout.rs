//! Which of the layouts a weight is stored in.

use burn::prelude::Backend;
use serde::{Deserialize, Serialize};

use crate::topology::Links;

/// How a sparse weight is stored. The results are the same; time and memory differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Whatever is fastest on the backend at the layer's density.
    #[default]
    Auto,
    /// A dense weight and a mask: matrix products at full size, on every backend.
    Masked,
}

/// The layout after `Auto` has been decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Masked,
}

impl Layout {
    /// The layout taken for `links` on backend `B`, and why.
    pub(super) fn resolve<B: Backend>(self, _links: &Links) -> (Stored, &'static str) {
        match self {
            Self::Masked => (Stored::Masked, "asked for"),
            Self::Auto => (Stored::Masked, "the only layout there is"),
        }
    }
}
