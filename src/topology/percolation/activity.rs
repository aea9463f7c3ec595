//! How much of a network a topology uses, and how much of it is still exploring.

use std::borrow::Borrow;

use serde::{Deserialize, Serialize};

use super::{Degrees, ResolvedChain, Side, check};
use crate::error::{Error, Result};
use crate::topology::Links;

/// Units with links among all units of the sparse layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveUnits {
    /// Units with at least one link on each side they have.
    pub active: usize,
    /// All units.
    pub total: usize,
}

impl ActiveUnits {
    /// ANP, the active neuron post-percolation rate: active units after training / units there were before, which
    /// are all of them: `active / total`. 0 if there are none.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.active as f64 / self.total as f64 }
    }
}

/// Counts the units of `layers` and those of them that are active (CHT, ICLR 2024, appendix G, arXiv 2501.19107,
/// appendix F).
///
/// Every input and every output of a layer is a unit; units that meet in a chain are one, whose sides are those of all
/// layers that meet there. A unit is active if it has at least one link on each of its sides: a hidden unit of an MLP
/// needs one incoming and one outgoing link, an input of the network or an output towards a dense layer just one.
///
/// # Errors
///
/// As [`percolate`](super::percolate).
pub fn active_units<L: Borrow<Links>>(layers: &[L], chains: &[ResolvedChain]) -> Result<ActiveUnits> {
    check(layers, chains)?;
    let degrees: Vec<_> = layers.iter().map(|links| Degrees::of(links.borrow())).collect();
    let slot = |(layer, side): (usize, Side)| 2 * layer + usize::from(side == Side::Outputs);
    // The group of every side is the smallest slot it meets, directly or through others.
    let mut groups: Vec<usize> = (0..2 * layers.len()).collect();
    for chain in chains {
        let [left, right] = chain.meeting().map(|meets| groups[slot(meets)]);
        let (group, joined) = (left.min(right), left.max(right));
        groups.iter_mut().filter(|member| **member == joined).for_each(|member| *member = group);
    }
    let mut units = ActiveUnits { active: 0, total: 0 };
    let side = |slot: usize| {
        degrees[slot / 2].side(if slot.is_multiple_of(2) { Side::Inputs } else { Side::Outputs })
    };
    for group in (0..groups.len()).filter(|&slot| groups[slot] == slot) {
        let members: Vec<_> =
            (group..groups.len()).filter(|&member| groups[member] == group).map(side).collect();
        let width = members[0].len();
        units.total += width;
        units.active += (0..width).filter(|&unit| members.iter().all(|degrees| degrees[unit] > 0)).count();
    }
    Ok(units)
}

/// The positions of a layer that have ever held a link; their share is the ITOP rate (in-time
/// over-parameterisation). One bit per position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EverActive {
    shape: [usize; 2],
    words: Vec<u64>,
}

impl EverActive {
    /// No position yet.
    #[must_use]
    pub fn new(shape: [usize; 2]) -> Self {
        Self { shape, words: vec![0; (shape[0] * shape[1]).div_ceil(64)] }
    }

    /// Whether this is the memory of a layer of `shape`; a saved one need not be.
    #[must_use]
    pub fn fits(&self, shape: [usize; 2]) -> bool {
        self.shape == shape && self.words.len() == (shape[0] * shape[1]).div_ceil(64)
    }

    /// Adds the positions of `links`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the links are of another shape.
    pub fn observe(&mut self, links: &Links) -> Result<()> {
        same_shape("links of the layer", links.shape(), self.shape)?;
        links.positions().for_each(|position| self.words[position / 64] |= 1 << (position % 64));
        Ok(())
    }

    /// Number of positions that ever held a link.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The ITOP rate, in [0, 1]; 0 for a layer without positions.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let capacity = self.shape[0] * self.shape[1];
        if capacity == 0 { 0.0 } else { self.count() as f64 / capacity as f64 }
    }
}

/// |removed ∩ regrown| / |regrown|: how much of what an update grew it had just removed.
///
/// CHT stops evolving a layer once this exceeds 0.9 (I). 0 if nothing was regrown, which says nothing about the layer.
///
/// # Errors
///
/// [`Error::Shape`] if the two are of different shapes.
pub fn regrown_overlap(removed: &Links, regrown: &Links) -> Result<f64> {
    same_shape("regrown links", regrown.shape(), removed.shape())?;
    if regrown.nnz() == 0 {
        return Ok(0.0);
    }
    Ok(regrown.overlap(removed) as f64 / regrown.nnz() as f64)
}

fn same_shape(what: &str, found: [usize; 2], expected: [usize; 2]) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Shape { what: what.into(), found: found.to_vec(), expected: expected.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::super::ChainKind;
    use super::*;

    fn links(rows: &[&str]) -> Links {
        let mask: Vec<bool> = rows.iter().flat_map(|row| row.bytes().map(|cell| cell == b'1')).collect();
        Links::try_from_mask([rows.len(), rows[0].len()], &mask).unwrap()
    }

    fn chain(kind: ChainKind, left_index: usize, right_index: usize) -> ResolvedChain {
        ResolvedChain { kind, left_index, right_index }
    }

    #[test]
    fn a_hidden_unit_counts_once_and_needs_both_sides() {
        // Hidden unit 0 has both sides, 1 only an incoming link, 2 only an outgoing one.
        let layers = [links(&["110", "000"]), links(&["10", "00", "10"])];
        let unchained = active_units(&layers, &[]).unwrap();
        assert_eq!(unchained, ActiveUnits { active: 1 + 2 + 2 + 1, total: 2 + 3 + 3 + 2 });
        let chained = active_units(&layers, &[chain(ChainKind::Feeds, 0, 1)]).unwrap();
        assert_eq!(chained, ActiveUnits { active: 1 + 1 + 1, total: 2 + 3 + 2 });
        assert_eq!(chained.rate(), 3.0 / 7.0);
    }

    #[test]
    fn a_gated_hidden_unit_has_three_sides() {
        let layers = [links(&["1110"]), links(&["1101"]), links(&["1", "0", "1", "1"])];
        let chains =
            [chain(ChainKind::Feeds, 0, 2), chain(ChainKind::Product, 0, 1), chain(ChainKind::Feeds, 1, 2)];
        let units = active_units(&layers, &chains).unwrap();
        assert_eq!(units, ActiveUnits { active: 1 + 1 + 1 + 1, total: 1 + 1 + 4 + 1 });
    }

    #[test]
    fn no_layers_have_no_units() {
        assert_eq!(active_units::<Links>(&[], &[]).unwrap().rate(), 0.0);
    }

    #[test]
    fn a_position_counts_once_however_often_it_holds_a_link() {
        let mut ever = EverActive::new([10, 13]);
        assert_eq!(ever.rate(), 0.0);
        let first = Links::try_from_positions([10, 13], vec![0, 63, 64, 129]).unwrap();
        let second = Links::try_from_positions([10, 13], vec![63, 65]).unwrap();
        ever.observe(&first).unwrap();
        ever.observe(&first).unwrap();
        assert_eq!(ever.count(), 4);
        ever.observe(&second).unwrap();
        assert_eq!((ever.count(), ever.rate()), (5, 5.0 / 130.0));
        ever.observe(&Links::full([10, 13])).unwrap();
        assert_eq!(ever.rate(), 1.0);
        assert!(matches!(ever.observe(&Links::empty([13, 10])), Err(Error::Shape { .. })));
    }

    #[test]
    fn what_was_ever_active_survives_a_record() {
        let mut ever = EverActive::new([9, 9]);
        ever.observe(&Links::try_from_positions([9, 9], vec![0, 40, 80]).unwrap()).unwrap();
        let json = serde_json::to_string(&ever).unwrap();
        assert_eq!(serde_json::from_str::<EverActive>(&json).unwrap(), ever);
    }

    #[test]
    fn overlap_is_the_share_of_the_regrown_links_that_were_just_removed() {
        let removed = links(&["1110", "1000"]);
        let regrown = links(&["0110", "0110"]);
        assert_eq!(regrown_overlap(&removed, &regrown).unwrap(), 0.5);
        assert_eq!(regrown_overlap(&removed, &removed).unwrap(), 1.0);
        assert_eq!(regrown_overlap(&removed, &Links::empty([2, 4])).unwrap(), 0.0);
        assert!(regrown_overlap(&removed, &Links::empty([4, 2])).is_err());
    }
}
