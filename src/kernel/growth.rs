//! New links chosen where their scores lie.

use burn::prelude::*;
use rand::Rng;

use super::backend::shortlist;
use crate::error::{Error, Result};
use crate::topology::Links;
use crate::topology::regrowth::{Grower, Selection};

/// `k` new links at empty positions, chosen by `scores` `[d_input, d_output]` on their device: those of
/// [`grow_from_scores`](crate::topology::regrowth::grow_from_scores) for the same scores and draws.
///
/// Where there are kernels on a device, it lists the positions that can be among the chosen ones, and these come back, 8
/// bytes each: a tenth more than `k` or so where scores differ. Where that is no gain (fewer than `k` scores above zero, or
/// many equal ones at the edge) and on every other backend, the scores are read back.
///
/// Scores of existing links must be 0, as those of [`LinkPredictor::scores`](crate::topology::LinkPredictor::scores) are.
///
/// # Errors
///
/// [`Error::Capacity`] if fewer than `k` positions are empty; [`Error::Shape`] if there is not one score per position;
/// [`Error::Argument`] for a chosen score that is not finite; [`Error::Device`] if the device does not answer.
pub fn grow_from_scores<B: Backend, R: Rng + ?Sized>(
    links: &Links,
    scores: Tensor<B, 2>,
    k: usize,
    selection: Selection,
    rng: &mut R,
) -> Result<Links> {
    if scores.dims() != links.shape() {
        return Err(Error::Shape {
            what: "scores, one per position".into(),
            found: scores.dims().to_vec(),
            expected: links.shape().to_vec(),
        });
    }
    let grower = Grower::new(links, k, selection, rng)?;
    match shortlist(scores.clone(), grower.draw())? {
        Some(listed) => {
            log::trace!("{k} of {} positions chosen among {} listed", links.capacity(), listed.len());
            grower.finish_from(listed)
        }
        None => grower.finish_from_tensor(scores),
    }
}
