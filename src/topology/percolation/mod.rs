//! Percolation: links that lead nowhere are removed along chains of layers.
//!
//! Here live the chains ([`Chain`], by path; [`ResolvedChain`], by index), the removal itself ([`percolate`]) and
//! what is said of a topology's use of its units: [`active_units`] (ANP), [`EverActive`] (ITOP), [`regrown_overlap`]
//! (early stop).

mod activity;
mod chain;
mod pattern;

pub use activity::{ActiveUnits, EverActive, active_units, regrown_overlap};
pub use chain::{Chain, ChainKind};
#[doc(hidden)]
pub use chain::{ResolvedChain, resolve};
pub(crate) use pattern::matches;

use std::borrow::Borrow;

use super::Links;
use crate::error::Result;

/// A side of a layer: its inputs or its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Inputs,
    Outputs,
}

impl ResolvedChain {
    /// The two sides whose units meet, one to one.
    fn meeting(&self) -> [(usize, Side); 2] {
        let right = match self.kind {
            ChainKind::Feeds => Side::Inputs,
            ChainKind::Product => Side::Outputs,
        };
        [(self.left_index, Side::Outputs), (self.right_index, right)]
    }
}

/// Links per unit, both sides.
struct Degrees {
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

impl Degrees {
    fn of(links: &Links) -> Self {
        Self { inputs: links.row_degrees(), outputs: links.column_degrees() }
    }

    fn side(&self, side: Side) -> &[usize] {
        match side {
            Side::Inputs => &self.inputs,
            Side::Outputs => &self.outputs,
        }
    }
}

/// Removes the links of units that have none on the other side of a chain; returns how many went from each layer.
///
/// * Feeding chain: an output unit of the left layer without outgoing link in the right one loses its incoming links
///   (backward), an input unit of the right layer without incoming link in the left one its outgoing links (forward).
/// * Product chain: a unit without link in either layer loses its links in both.
///
/// Both say the same: where two layers meet, a unit without link in one has none in the other. Sweeps from the last
/// chain to the first and back are repeated until nothing changes. The result does not depend on their order: the
/// union of two sets of links that satisfy every chain satisfies them too, so there is one largest such set, and it is
/// what is left. Sides in no chain (a network's inputs, its dense output layer, the residual stream) are never swept.
/// (CHT, ICLR 2024, appendix G, arXiv 2501.19107, appendix F)
///
/// A layer may lose every link it has, and with it all others of its chain, if nothing leads through: that is
/// returned as it is and seen in the counts; regrowth up to the layer's target restores them.
///
/// Cost: O(links of all layers) a sweep, two or three sweeps if chains are listed in the order of the network.
///
/// # Errors
///
/// [`Error::Argument`](crate::Error::Argument) for a chain to a layer that does not exist,
/// [`Error::Shape`](crate::Error::Shape) for one between layers whose widths differ. No link is removed then.
pub fn percolate(layers: &mut [Links], chains: &[ResolvedChain]) -> Result<Vec<usize>> {
    check(layers, chains)?;
    let before: Vec<_> = layers.iter().map(Links::nnz).collect();
    let mut degrees: Vec<_> = layers.iter().map(Degrees::of).collect();
    let mut changed = true;
    while changed {
        changed = false;
        for chain in chains.iter().rev().chain(chains) {
            changed |= sweep(layers, &mut degrees, chain.meeting());
        }
    }
    Ok(before.iter().zip(layers.iter()).map(|(before, links)| before - links.nnz()).collect())
}

/// Clears, where two sides meet, every unit that has links in one but not in the other. Whether any link went.
fn sweep(layers: &mut [Links], degrees: &mut [Degrees], meeting: [(usize, Side); 2]) -> bool {
    let [left, right] = meeting.map(|(layer, side)| degrees[layer].side(side));
    let through: Vec<bool> = left.iter().zip(right).map(|(&left, &right)| left > 0 && right > 0).collect();
    let mut changed = false;
    for (layer, side) in meeting {
        let stranded =
            degrees[layer].side(side).iter().zip(&through).any(|(&degree, &open)| degree > 0 && !open);
        if stranded {
            layers[layer] = keep_units(&layers[layer], side, &through);
            degrees[layer] = Degrees::of(&layers[layer]);
            changed = true;
        }
    }
    changed
}

/// The links whose unit on `side` is kept.
fn keep_units(links: &Links, side: Side, kept: &[bool]) -> Links {
    let width = links.num_columns();
    let survives = |&(row, column): &(usize, usize)| match side {
        Side::Inputs => kept[row],
        Side::Outputs => kept[column],
    };
    let positions = links.iter().filter(survives).map(|(row, column)| row * width + column);
    Links::from_sorted_positions(links.shape(), positions)
}

fn check<L: Borrow<Links>>(layers: &[L], chains: &[ResolvedChain]) -> Result<()> {
    let shapes: Vec<_> = layers.iter().map(|links| links.borrow().shape()).collect();
    chains.iter().try_for_each(|chain| chain.check(&shapes, |layer| layer.to_string()))
}

#[cfg(test)]
mod tests;
