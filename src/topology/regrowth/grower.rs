//! Choosing new links as their scores arrive.

use burn::prelude::*;
use rand::Rng;

use super::check_room;
use crate::error::{Error, Result};
use crate::topology::Links;
use crate::topology::sampling::{KeyedTopK, Race, Selection};

/// Chooses new links from scores that arrive row by row, so that no rows × columns buffer is needed.
///
/// Rows may come in any order; every row must come exactly once. The links depend on the scores and the random
/// stream alone, and are those of [`grow_from_scores`](super::grow_from_scores) to the bit. Memory O(k), cost O(1) per
/// position.
#[derive(Debug)]
pub struct Grower<'a> {
    links: &'a Links,
    seen: Vec<bool>,
    /// Absent in a hard selection.
    race: Option<Race>,
    best: KeyedTopK,
}

/// A choice among positions as a device makes it.
#[cfg_attr(
    not(any(feature = "wgpu", feature = "cuda")),
    allow(dead_code, reason = "read by the kernels of devices alone")
)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    /// Positions to be chosen.
    pub(crate) k: usize,
    /// The word behind the noise of a soft selection, none of a hard one.
    pub(crate) noise: Option<u64>,
}

impl<'a> Grower<'a> {
    /// Prepares the choice of `k` positions that `links` leaves empty.
    ///
    /// # Errors
    ///
    /// [`Error::Capacity`] if fewer than `k` positions are empty.
    pub fn new<R: Rng + ?Sized>(
        links: &'a Links,
        k: usize,
        selection: Selection,
        rng: &mut R,
    ) -> Result<Self> {
        check_room(links, k)?;
        let best = KeyedTopK::new(k, rng);
        let race = match selection {
            Selection::Hard => None,
            Selection::Soft => Some(Race::new(rng)),
        };
        Ok(Self { links, seen: vec![false; links.num_rows()], race, best })
    }

    /// Takes the scores of all rows, row-major, and chooses.
    ///
    /// # Errors
    ///
    /// Those of [`add_row`](Self::add_row).
    pub(super) fn finish_with(mut self, scores: &[f32]) -> Result<Links> {
        let [rows, width] = self.links.shape();
        for row in 0..rows {
            self.add_row(row, &scores[row * width..(row + 1) * width])?;
        }
        self.finish()
    }

    /// As [`finish_with`](Self::finish_with), of scores that are read back for it.
    ///
    /// # Errors
    ///
    /// Those of [`add_row`](Self::add_row), and [`Error::Device`] if the device does not answer.
    pub(crate) fn finish_from_tensor<B: Backend>(self, scores: Tensor<B, 2>) -> Result<Links> {
        let scores = scores.try_into_data().map_err(|error| Error::device(format!("{error:?}")))?;
        self.finish_with(&scores.convert::<f32>().into_vec::<f32>().expect("data converted to f32 is f32"))
    }

    /// Takes the scores of row `row`, one per column; those of existing links are ignored.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there is not one score per column; [`Error::Argument`] for a row that does not exist or
    /// was already given, and for the score of an empty position that is negative or not finite.
    pub fn add_row(&mut self, row: usize, scores: &[f32]) -> Result<()> {
        let [rows, width] = self.links.shape();
        if scores.len() != width {
            return Err(Error::Shape {
                what: format!("scores of row {row}"),
                found: vec![scores.len()],
                expected: vec![width],
            });
        }
        match self.seen.get_mut(row) {
            None => return Err(Error::argument("row", row, format!("below {rows}"))),
            Some(true) => {
                return Err(Error::argument("row", row, "every row once; this one was given twice"));
            }
            Some(seen) => *seen = true,
        }
        let mut first = 0;
        for link in self.links.row(row).iter().map(|&column| column as usize).chain([width]) {
            for (column, &score) in (first..link).zip(&scores[first..link]) {
                self.consider([row, column], score)?;
            }
            first = link + 1;
        }
        Ok(())
    }

    /// The choice to be made, for whoever lists positions that it can fall on.
    pub(crate) fn draw(&self) -> Draw {
        Draw { k: self.best.k(), noise: self.race.as_ref().map(Race::word) }
    }

    /// The new links, all of them among empty positions that are `listed` with their scores, in any order.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a score that is negative or not finite.
    pub(crate) fn finish_from(mut self, listed: Vec<(usize, f32)>) -> Result<Links> {
        let width = self.links.num_columns();
        for (position, score) in listed {
            self.consider([position / width, position % width], score)?;
        }
        Ok(self.chosen())
    }

    /// A score of 0 gets the key 0 in both selections, below that of any positive one: such positions only fill up
    /// what is left, and as they are all tied, uniformly at random.
    #[inline]
    fn consider(&mut self, [row, column]: [usize; 2], score: f32) -> Result<()> {
        let (position, score) = (row * self.links.num_columns() + column, f64::from(score));
        if !(score >= 0.0 && score.is_finite()) {
            let whose = format!("position ({row}, {column})");
            return Err(Error::argument("score", score, "finite and not negative").of(whose));
        }
        let key = match &self.race {
            Some(race) if score > 0.0 => race.key(position, score, self.best.floor()),
            _ => Some(score),
        };
        if let Some(key) = key {
            self.best.offer(position, key);
        }
        Ok(())
    }

    /// The new links, exactly k, none of them an existing one.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if rows are missing.
    pub fn finish(self) -> Result<Links> {
        let given = self.seen.iter().filter(|&&seen| seen).count();
        if given != self.links.num_rows() {
            return Err(Error::Shape {
                what: "rows of scores".into(),
                found: vec![given],
                expected: vec![self.links.num_rows()],
            });
        }
        Ok(self.chosen())
    }

    fn chosen(self) -> Links {
        Links::from_sorted_positions(self.links.shape(), self.best.into_positions().into_iter())
    }
}
