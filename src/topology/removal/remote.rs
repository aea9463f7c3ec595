//! Removal of weights that lie on a device, decided there but for the links at the edge of the choice.

use std::fmt::Debug;

use rand::Rng;

use super::{Removal, RemovalScore, Selection};
use crate::error::Result;
use crate::topology::Links;
use crate::topology::sampling::Choice;

/// One weight per link of a layer, on a device.
pub(crate) trait RemoteWeights: Debug {
    /// Whether all are finite. `false` where that cannot be told without reading them.
    fn are_finite(&self) -> Result<bool>;

    /// All of them, in link order, read back at the first call.
    fn read(&self) -> Result<&[f32]>;

    /// What a device can say of a choice among them; `None` where it is decided by their values, read back.
    fn rank(&self, ranking: &Ranking<'_>) -> Result<Option<Ranked>>;
}

/// A choice of the `k` links that score best.
#[cfg_attr(
    not(any(feature = "wgpu", feature = "cuda")),
    allow(dead_code, reason = "read by the kernels of devices alone")
)]
#[derive(Debug)]
pub(crate) struct Ranking<'a> {
    /// The links that it is among; all of them if there are none here.
    pub(crate) among: Option<&'a Subset>,
    pub(crate) score: RemoteScore,
    pub(crate) k: usize,
    /// Of a draw with probabilities proportional to score^T: the word behind its noise, which belongs to the number that a
    /// link has among those it is chosen from, and T.
    pub(crate) draw: Option<(u64, f64)>,
}

/// A [`RemovalScore`] that depends on weights alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RemoteScore {
    /// `|W|`.
    Magnitude,
    /// `share·|W|/(α + (1−α)·Σ_row) + share·|W|/(α + (1−α)·Σ_column)`.
    Normalised { share: f64, alpha: f64 },
}

/// What is known of a choice without reading the weights.
#[derive(Debug)]
pub(crate) struct Ranked {
    /// A bit for every link, 32 in a word: whether it is certainly chosen.
    pub(crate) certain: Vec<u32>,
    /// The links whose keys are too close to the edge to tell, with their weights; all others are certainly left out.
    pub(crate) open: Vec<(usize, f32)>,
    /// The sums of `|W|` over rows and columns, of a normalised score.
    pub(crate) sums: [Vec<f64>; 2],
}

/// Some of a layer's links.
#[derive(Debug)]
pub(crate) struct Subset {
    /// The numbers that they have among all.
    numbers: Vec<u32>,
    /// Of every 32 links of the layer a bit each, and how many of the subset come before them.
    pub(crate) words: Vec<[u32; 2]>,
}

impl Subset {
    /// `links`, which are among `all`.
    fn of(links: &Links, all: &Links) -> Self {
        let mut words = vec![[0; 2]; all.nnz().div_ceil(32)];
        let mut numbers = Vec::with_capacity(links.nnz());
        let mut wanted = links.positions().peekable();
        for (number, position) in all.positions().enumerate() {
            if number % 32 == 0 {
                words[number / 32][1] = numbers.len() as u32;
            }
            if wanted.next_if_eq(&position).is_some() {
                words[number / 32][0] |= 1 << (number % 32);
                numbers.push(number as u32);
            }
        }
        Self { numbers, words }
    }

    /// The number among the subset of link `number` of all.
    fn rank(&self, number: usize) -> usize {
        let [bits, before] = self.words[number / 32];
        (before + (bits & ((1 << (number % 32)) - 1)).count_ones()) as usize
    }
}

impl Removal {
    /// The links that [`keep`](Self::keep) keeps of `among`, some of the links `all` that have `weights`. `None` where it
    /// has to see the weights themselves.
    ///
    /// # Errors
    ///
    /// [`Error::Device`](crate::error::Error::Device) if the device does not answer.
    pub(crate) fn keep_remote<R: Rng + ?Sized>(
        &self,
        (all, among): (&Links, &Links),
        weights: &dyn RemoteWeights,
        n_keep: usize,
        progress: f64,
        rng: &mut R,
    ) -> Result<Option<Links>> {
        self.validate()?;
        let score = match self.score {
            RemovalScore::Magnitude => RemoteScore::Magnitude,
            RemovalScore::RelativeImportance => RemoteScore::Normalised { share: 1.0, alpha: 0.0 },
            RemovalScore::Unified { alpha } => RemoteScore::Normalised { share: 0.5, alpha },
            RemovalScore::MagnitudeAndGradient { .. } | RemovalScore::Custom(_) => return Ok(None),
        };
        match n_keep {
            0 => return Ok(Some(Links::empty(among.shape()))),
            n_keep if n_keep == among.nnz() => return Ok(Some(among.clone())),
            n_keep if n_keep > among.nnz() => return Ok(None),
            _ => {}
        }
        let choice = match self.selection {
            Selection::Hard => Choice::hard(rng),
            Selection::Soft => Choice::soft(self.temperature.at(progress), rng),
        };
        let subset = (among.nnz() < all.nnz()).then(|| Subset::of(among, all));
        let ranking = Ranking { among: subset.as_ref(), score, k: n_keep, draw: choice.draw() };
        let Some(Ranked { certain, open, sums: [rows, columns] }) = weights.rank(&ranking)? else {
            return Ok(None);
        };
        let count: usize = certain.iter().map(|word| word.count_ones() as usize).sum();
        if count > n_keep || count + open.len() < n_keep {
            log::warn!(
                "a removal of {} × {} was ranked wrongly on the device",
                all.num_rows(),
                all.num_columns()
            );
            return Ok(None);
        }
        log::trace!("{n_keep} of {} links kept, {} of them by their weights", among.nnz(), n_keep - count);

        let weight = |&(link, weight): &(usize, f32)| {
            let magnitude = f64::from(weight).abs();
            let score = match score {
                RemoteScore::Magnitude => magnitude,
                RemoteScore::Normalised { share, alpha } => {
                    let row = all.offsets().partition_point(|&offset| offset <= link) - 1;
                    let sums = [rows[row], columns[all.columns()[link] as usize]];
                    super::score::normalised(magnitude, sums, share, alpha)
                }
            };
            let rank = subset.as_ref().map_or(link, |subset| subset.rank(link));
            (rank, if choice.draw().is_some() { score.ln() } else { score })
        };
        let mut chosen = choice.of_some(open.iter().map(weight), n_keep - count).into_iter().peekable();
        Ok(Some(among.retain(|rank| {
            let link = subset.as_ref().map_or(rank, |subset| subset.numbers[rank] as usize);
            let is_certain = certain[link / 32] >> (link % 32) & 1 == 1;
            chosen.next_if_eq(&rank).is_some() || is_certain
        })))
    }
}
