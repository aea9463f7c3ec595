//! Which fused operations take part, for measurements of what each saves.

use std::sync::atomic::{AtomicU32, Ordering};

/// A fused operation, by what it replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fused {
    /// A dense layer of few outputs.
    Linear,
    /// The mean cross-entropy of classes.
    Loss,
    /// The cross-entropy of a vocabulary with its gradient.
    CrossEntropy,
    /// A step of SGD.
    Sgd,
    /// A step of Adam.
    Adam,
    /// Layer norm.
    LayerNorm,
    /// Root-mean-square norm.
    RmsNorm,
    /// Attention with a mask and dropout.
    MaskedAttention,
    /// Causal attention with grouped queries.
    CausalAttention,
    /// Dropout.
    Dropout,
    /// The rotation of rotary position embeddings.
    Rotation,
    /// The gate of SwiGLU.
    Gate,
    /// One row times a matrix.
    RowProduct,
}

impl Fused {
    /// Every operation.
    pub const ALL: [Self; 13] = [
        Self::Linear,
        Self::Loss,
        Self::CrossEntropy,
        Self::Sgd,
        Self::Adam,
        Self::LayerNorm,
        Self::RmsNorm,
        Self::MaskedAttention,
        Self::CausalAttention,
        Self::Dropout,
        Self::Rotation,
        Self::Gate,
        Self::RowProduct,
    ];
}

/// A bit for each operation that is off.
static OFF: AtomicU32 = AtomicU32::new(0);

/// From now on, Burn's own operations in place of these, and fused ones for all others.
pub fn without(operations: &[Fused]) {
    let bits = operations.iter().fold(0, |bits, operation| bits | 1 << *operation as u32);
    OFF.store(bits, Ordering::Relaxed);
}

pub(crate) fn is_off(operation: Fused) -> bool {
    OFF.load(Ordering::Relaxed) & (1 << operation as u32) != 0
}
