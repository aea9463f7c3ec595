//! Which way of computing node-based scores costs less.

use crate::topology::Links;

/// A way of computing node-based scores. Both give the same values, up to rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// Dense matrix products on the layer's device: [`LinkPredictor::scores`](super::LinkPredictor::scores).
    Matrix,
    /// Sparse products on the host: [`LinkPredictor::score_rows`](super::LinkPredictor::score_rows).
    Sparse,
}

impl Route {
    /// placeholder
    #[must_use]
    pub fn cheapest(links: &Links, on_cpu: bool) -> Self {
        if on_cpu && links.density() < 0.2 { Self::Sparse } else { Self::Matrix }
    }
}
