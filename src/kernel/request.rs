//! Which part of a weight's gradient is wanted, and what backward passes have left of it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::prelude::*;

use super::backend::Shared;
use crate::topology::Links;

/// Positions in a word of a mask of bits.
pub(crate) const WORD: usize = u16::BITS as usize;

/// Whether the backward passes of one weight `[d_input, d_output]` compute its dense gradient `xᵀ · dy` or the gradient
/// at its links alone, and where they leave what does not fit into the gradient of the parameter.
///
/// Regrowth by gradient (RigL, GraNet) needs the gradient of links that are not there; every other step needs none of
/// it. What is wanted never changes: whoever wants something else gives the weight another request, so that copies of
/// the weight notice nothing. Operations read the request in the backward pass and leave in it
///
/// - a compressed weight, whose parameter has one number per link: the dense gradient if that is wanted. Several
///   backward passes (accumulation, a layer used twice) add up until it is [taken](Self::take_dense);
/// - a weight that is dense in memory: the very tensor that it has zeroed off the links, if these alone are wanted.
///   The gradient of the parameter may have had others added to it since, in place; one that *is* this tensor cannot,
///   for it is held here as well. See [`is_zeroed`](Self::is_zeroed).
///
/// Nothing is left by other backends than those with a kernel, nor by weights that are not f32.
pub struct GradientRequest {
    wanted: Extent,
    left: Mutex<Option<Left>>,
    forks: Mutex<Vec<Arc<Self>>>,
}

enum Extent {
    Dense,
    /// With the links of a weight that is dense in memory: a bit for every position, set where there is a link, each
    /// row from a word of its own on. A mask of bytes would take longer to read than the zeros to write.
    AtLinks(Option<Vec<u16>>),
}

enum Left {
    Dense(TensorData),
    Zeroed(Shared),
}

impl GradientRequest {
    fn new(wanted: Extent) -> Self {
        Self { wanted, left: Mutex::default(), forks: Mutex::default() }
    }

    /// For the gradient at every position.
    #[must_use]
    pub fn dense() -> Self {
        Self::new(Extent::Dense)
    }

    /// For the gradient at the links of a compressed weight, which has no other positions.
    #[must_use]
    pub fn at_links() -> Self {
        Self::new(Extent::AtLinks(None))
    }

    /// For the gradient at the links of a weight that is dense in memory, and zeros elsewhere.
    #[must_use]
    pub fn zeroed_off(links: &Links) -> Self {
        let [inputs, outputs] = links.shape();
        let words = outputs.div_ceil(WORD);
        let mut bits = vec![0; inputs * words];
        for position in links.positions() {
            let (row, column) = (position / outputs, position % outputs);
            bits[row * words + column / WORD] |= 1 << (column % WORD);
        }
        Self::new(Extent::AtLinks(Some(bits)))
    }

    /// Whether the gradient is wanted at every position.
    #[must_use]
    pub fn wants_dense(&self) -> bool {
        matches!(self.wanted, Extent::Dense)
    }

    /// The links off which a dense gradient has to be zeroed, `div_ceil(d_output, WORD)` words a row.
    pub(crate) fn link_bits(&self) -> Option<&[u16]> {
        match &self.wanted {
            Extent::AtLinks(bits) => bits.as_deref(),
            Extent::Dense => None,
        }
    }

    /// The request of a compressed weight's copy that computes beside it, on another device: as this one, and what is
    /// left there is taken with what is left here.
    pub(crate) fn fork(self: &Arc<Self>) -> Arc<Self> {
        if !self.wants_dense() {
            return Arc::clone(self);
        }
        let fork = Arc::new(Self::dense());
        lock(&self.forks).push(Arc::clone(&fork));
        fork
    }

    /// Adds to the dense gradient, f32 `[d_input, d_output]`, if that is wanted. Called by a backward pass, and by whoever
    /// puts back what was [taken](Self::take_dense).
    pub(crate) fn leave_dense(&self, gradient: TensorData) {
        if !self.wants_dense() {
            return;
        }
        let mut left = lock(&self.left);
        match left.as_mut() {
            Some(Left::Dense(sum)) => {
                let sum = sum.as_mut_slice::<f32>().into_iter().flatten();
                sum.zip(gradient.iter::<f32>()).for_each(|(sum, term)| *sum += term);
            }
            _ => *left = Some(Left::Dense(gradient)),
        }
    }

    /// Called by a backward pass that has zeroed a gradient off the links: keeps hold of it.
    pub(crate) fn leave_zeroed(&self, gradient: Shared) {
        if self.link_bits().is_some() {
            *lock(&self.left) = Some(Left::Zeroed(gradient));
        }
    }

    /// The dense gradient that the backward passes since the last call have left, f32 `[d_input, d_output]`. `None` if
    /// it is not wanted, or if none came by.
    #[must_use]
    pub fn take_dense(&self) -> Option<TensorData> {
        if !self.wants_dense() {
            return None;
        }
        for fork in lock(&self.forks).drain(..) {
            if let Some(gradient) = fork.take_dense() {
                self.leave_dense(gradient);
            }
        }
        match lock(&self.left).take() {
            Some(Left::Dense(gradient)) => Some(gradient),
            _ => None,
        }
    }

    /// Whether `gradient` is the one that the last backward pass has zeroed off the links, and nothing else. Lets go
    /// of what was kept to tell.
    #[must_use]
    pub fn is_zeroed<B: Backend>(&self, gradient: &Tensor<B, 2>) -> bool {
        if self.wants_dense() {
            return false;
        }
        match lock(&self.left).take() {
            Some(Left::Zeroed(left)) => left.is(gradient),
            _ => false,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for GradientRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("GradientRequest").field("dense", &self.wants_dense()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leave(request: &GradientRequest, value: f32) {
        request.leave_dense(TensorData::from([[value; 3]; 2]));
    }

    #[test]
    fn what_forks_leave_is_taken_with_what_the_weight_itself_leaves_and_once() {
        let request = Arc::new(GradientRequest::dense());
        let forks = [request.fork(), request.fork()];
        leave(&request, 1.0);
        leave(&forks[0], 2.0);
        leave(&forks[1], 4.0);
        leave(&forks[1].fork(), 8.0);
        let taken = request.take_dense().unwrap();
        assert_eq!(taken.to_vec::<f32>().unwrap(), [15.0; 6]);
        assert!(request.take_dense().is_none());
    }

    #[test]
    fn a_fork_is_asked_for_what_its_weight_is_asked_for() {
        for request in [GradientRequest::dense(), GradientRequest::at_links()].map(Arc::new) {
            assert_eq!(request.fork().wants_dense(), request.wants_dense());
        }
        let request = Arc::new(GradientRequest::at_links());
        leave(&request.fork(), 1.0);
        assert!(request.take_dense().is_none());
    }
}
