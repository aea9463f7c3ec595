//! A layer as scores see it.

use crate::error::{Error, Result};
use crate::topology::Links;

/// One layer, or one part of a layer in parts, at an update: its links with what was wanted of them, all borrowed.
#[derive(Debug, Clone, Copy)]
pub struct LayerSnapshot<'a> {
    path: &'a str,
    step: usize,
    update: u64,
    links: &'a Links,
    weights: &'a [f32],
    link_gradients: Option<&'a [f32]>,
    first_moments: Option<&'a [f32]>,
    dense_gradient: Option<&'a [f32]>,
}

impl<'a> LayerSnapshot<'a> {
    /// Links with one weight each, in link order, and nothing else.
    #[must_use]
    pub fn new(links: &'a Links, weights: &'a [f32]) -> Self {
        Self {
            path: "",
            step: 0,
            update: 0,
            links,
            weights,
            link_gradients: None,
            first_moments: None,
            dense_gradient: None,
        }
    }

    /// The path of the layer, and when: the optimizer steps done and the number of the update, from 1.
    #[must_use]
    pub fn at(self, path: &'a str, step: usize, update: u64) -> Self {
        Self { path, step, update, ..self }
    }

    /// One gradient per link, in link order.
    #[must_use]
    pub fn with_link_gradients(self, gradients: Option<&'a [f32]>) -> Self {
        Self { link_gradients: gradients, ..self }
    }

    /// One first moment per link, in link order.
    #[must_use]
    pub fn with_first_moments(self, moments: Option<&'a [f32]>) -> Self {
        Self { first_moments: moments, ..self }
    }

    /// One gradient per position, row-major.
    #[must_use]
    pub fn with_dense_gradient(self, gradient: Option<&'a [f32]>) -> Self {
        Self { dense_gradient: gradient, ..self }
    }

    /// The path of the layer.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// Optimizer steps done.
    #[must_use]
    pub fn step(&self) -> usize {
        self.step
    }

    /// The number of the update, from 1.
    #[must_use]
    pub fn update(&self) -> u64 {
        self.update
    }

    /// The links there are at this stage of the update.
    #[must_use]
    pub fn links(&self) -> &'a Links {
        self.links
    }

    /// One weight per link, in link order.
    #[must_use]
    pub fn weights(&self) -> &'a [f32] {
        self.weights
    }

    /// The last step's gradient, one value per link, in link order.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless [`Wants::with_link_gradients`](super::Wants::with_link_gradients) asked for it.
    pub fn link_gradients(&self) -> Result<&'a [f32]> {
        self.wanted("gradients at the links", self.link_gradients)
    }

    /// The optimizer's first moments (momentum), one per link, in link order. `None` unless
    /// [`Wants::with_first_moments`](super::Wants::with_first_moments) asked for them, and of an optimizer without any.
    #[must_use]
    pub fn first_moments(&self) -> Option<&'a [f32]> {
        self.first_moments
    }

    /// The dense gradient, one value per position, row-major.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless [`Wants::with_dense_gradient`](super::Wants::with_dense_gradient) asked for it.
    pub fn dense_gradient(&self) -> Result<&'a [f32]> {
        self.wanted("dense gradient", self.dense_gradient)
    }

    fn wanted(&self, what: &'static str, values: Option<&'a [f32]>) -> Result<&'a [f32]> {
        values.ok_or_else(|| {
            Error::argument(what, "not given", "given, to a score that looks at it and says so")
                .of(format!("layer `{}`", self.path))
        })
    }
}
