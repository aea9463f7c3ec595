//! The model without the feed-forward units that do nothing.

use burn::prelude::*;

use super::{Block, FeedForward, Llama};
use crate::error::Result;
use crate::interchange::inactive::{Affine, padded};

impl<B: Backend> Llama<B> {
    /// The model without the feed-forward units that have no link in the gate, the up or the down projection: what such
    /// a unit adds is 0, so that logits are equal up to rounding.
    ///
    /// One configuration describes the result: its [`hidden`](super::LlamaConfig::hidden) is the number of active units
    /// of the block that has most, at least one; other blocks keep units without links up to that width. Heads keep their
    /// width, which the rotation of queries and keys fixes. Moments of an optimizer do not fit the result.
    ///
    /// Cost: O(links), weights read back from the device.
    ///
    /// # Errors
    ///
    /// [`Error::Capacity`](crate::Error::Capacity) for more links than the compressed layout can index.
    pub fn without_inactive_units(mut self) -> Result<Self> {
        let blocks = std::mem::take(&mut self.layers);
        let parts: Vec<_> = blocks.iter().map(|block| Gated::new(&block.feed_forward)).collect();
        let hidden = parts.iter().map(|part| part.active.len()).max().unwrap_or(0).max(1);
        let blocks = blocks.into_iter().zip(parts).map(|(block, part)| {
            Ok(Block { feed_forward: part.replace(block.feed_forward, hidden)?, ..block })
        });
        let blocks = blocks.collect::<Result<_>>()?;
        Ok(self.with_blocks(blocks, hidden))
    }
}

/// The layers of a feed-forward part, and the units of it that are active.
struct Gated {
    gate: Affine,
    up: Affine,
    down: Affine,
    active: Vec<usize>,
}

impl Gated {
    fn new<B: Backend>(part: &FeedForward<B>) -> Self {
        let [gate, up, down] = [&part.gate, &part.up, &part.down].map(Affine::sparse);
        // silu(0) is 0: a bias, which a model of one's own may have, is what keeps a unit without links going.
        let entered = |layer: &Affine| -> Vec<bool> {
            let degrees = layer.links().column_degrees().into_iter().enumerate();
            degrees.map(|(unit, degree)| degree > 0 || layer.bias_of(unit) != 0.0).collect()
        };
        let (gated, raised, read) = (entered(&gate), entered(&up), down.links().row_degrees());
        let active = (0..read.len()).filter(|&unit| gated[unit] && raised[unit] && read[unit] > 0).collect();
        Self { gate, up, down, active }
    }

    /// `part` with `width` units. Those that are not active have no links any more.
    fn replace<B: Backend>(self, part: FeedForward<B>, width: usize) -> Result<FeedForward<B>> {
        let Self { mut gate, mut up, mut down, active } = self;
        let is_active = |unit: usize| active.binary_search(&unit).is_ok();
        [&mut gate, &mut up].into_iter().for_each(|layer| layer.retain(|_, unit| is_active(unit)));
        down.retain(|unit, _| is_active(unit));
        let [d_model, total] = gate.links().shape();
        let (stream, units) = ((0..d_model).collect::<Vec<_>>(), padded(&active, total, width));
        Ok(FeedForward {
            gate: gate.select(&stream, &units).replace(part.gate)?,
            up: up.select(&stream, &units).replace(part.up)?,
            down: down.select(&units, &stream).replace(part.down)?,
        })
    }
}
