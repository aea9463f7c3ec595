//! Which links a removal certainly keeps, found where their weights lie.
//!
//! As with a `shortlist`, the host decides by keys in f64, for the same links on every backend. Here it decides on few: those
//! whose keys in f32 are so close to the last one of the choice that rounding may tell them apart wrongly ([`SLACK`]).
//! What comes back is two histograms, a bit for every link, the links in doubt with their weights, and the sums of rows and
//! columns if the score has any.

use std::sync::Arc;

use burn::prelude::Shape;
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::prelude::{ArrayArg, CubeElement};
use burn_cubecl::cubecl::server::Handle;
use burn_cubecl::tensor::CubeTensor;

use super::arrays::{Arrays, Lines};
use super::edge::{Keys, halves};
use super::kernels::removal;
use super::launch::one_each;
use crate::error::Result;
use crate::kernel::Index;
use crate::topology::regrowth::Draw;
use crate::topology::removal::remote::{Ranked, Ranking, RemoteScore};

/// Twice the relative error of a key in f32, and ten times that again: 1e-5 of an exponential number, and in the worst case
/// as much of its power.
const SLACK: f32 = 4e-4;

/// Colder draws have powers too large for the slack.
const COLDEST: f64 = 0.25;

/// Smaller keys are not told from zero on every device.
const SMALLEST: f32 = 1e-30;

/// What there is to say; `None` where temperatures or keys are out of range, or where so many links are in doubt that all
/// weights are as short.
pub(super) fn find<R: CubeRuntime>(
    values: CubeTensor<R>,
    index: &Index,
    ranking: &Ranking<'_>,
) -> Result<Option<Ranked>> {
    let values = burn_cubecl::kernel::into_contiguous(values);
    if values.dtype() != DType::F32 || ranking.draw.is_some_and(|(_, temperature)| temperature < COLDEST) {
        return Ok(None);
    }
    let layer = Layer::of(&values, index, ranking);
    let keys = Keys {
        scores: layer.keys(ranking),
        positions: index.nnz(),
        draw: Draw { k: ranking.k, noise: None },
    };
    let Some(edge) = keys.edge()?.filter(|edge| edge.bound() >= SMALLEST) else { return Ok(None) };
    let least = (edge.bound() * (1.0 - SLACK)).to_bits();
    let certain = (edge.beyond() * (1.0 + SLACK)).to_bits();
    let room = edge.count(least, certain);
    if 4 * room >= index.nnz() {
        return Ok(None);
    }
    let words = layer.classified(&keys, [least, certain], room);
    let certain = keys.read(words[0].clone())?;
    let listed = keys.read(words[1].clone())?;
    let open = listed[1..].chunks_exact(2).take(listed[0] as usize);
    let open = open.map(|pair| (pair[0] as usize, f32::from_bits(pair[1]))).collect();
    let mut sums = match layer.sums {
        Some(sums) => {
            let pairs = keys.read(sums)?;
            let sum = |pair: &[u32]| pair.iter().map(|&bits| f64::from(f32::from_bits(bits))).sum();
            pairs.chunks_exact(2).map(sum).collect()
        }
        None => Vec::new(),
    };
    let columns = sums.split_off(sums.len().min(index.shape()[0]));
    Ok(Some(Ranked { certain, open, sums: [sums, columns] }))
}

/// The links of a layer with what their keys depend on.
struct Layer<'a, R: CubeRuntime> {
    values: &'a CubeTensor<R>,
    nnz: usize,
    shape: [usize; 2],
    arrays: Arc<Arrays<R>>,
    /// Two words for every 32 links, of a subset.
    subset: Option<(Handle, usize)>,
    /// Two f32 for every row and every column.
    sums: Option<Handle>,
}

impl<'a, R: CubeRuntime> Layer<'a, R> {
    fn of(values: &'a CubeTensor<R>, index: &Index, ranking: &Ranking<'_>) -> Self {
        let upload = |words: &[[u32; 2]]| {
            let words = words.as_flattened();
            (values.client.create_from_slice(u32::as_bytes(words)), words.len())
        };
        let layer = Self {
            values,
            nnz: index.nnz(),
            shape: index.shape(),
            arrays: Arrays::<R>::of(index, &values.device),
            subset: ranking.among.map(|subset| upload(&subset.words)),
            sums: None,
        };
        let sums = (ranking.score != RemoteScore::Magnitude).then(|| layer.summed());
        Self { sums, ..layer }
    }

    /// The values, and in place of an array that is not there: a stage binds one buffer an argument, needed or not.
    fn values(&self) -> ArrayArg<R> {
        // SAFETY: the tensor is contiguous and has a number for every link.
        unsafe { ArrayArg::from_raw_parts(self.values.handle.clone(), self.nnz) }
    }

    fn subset(&self) -> ArrayArg<R> {
        let (handle, length) = self.subset.clone().unwrap_or_else(|| (self.values.handle.clone(), self.nnz));
        // SAFETY: the buffer holds so many words.
        unsafe { ArrayArg::from_raw_parts(handle, length) }
    }

    /// Words in the sums of all rows and columns.
    fn sides(&self) -> usize {
        2 * (self.shape[0] + self.shape[1])
    }

    fn empty(&self, words: usize) -> Handle {
        self.values.client.empty(words * size_of::<u32>())
    }

    /// The sums of magnitudes over the rows, and behind them those over the columns.
    fn summed(&self) -> Handle {
        let sums = self.empty(self.sides());
        let side = |lines: &Lines, links: Option<usize>, first: usize| {
            let client = &self.values.client;
            let (grid, units) = one_each(client, lines.lines);
            // SAFETY: units beyond the lines neither read nor write; there is room for every line of both sides, and the
            // sections are those of the arrays.
            unsafe {
                removal::sums::launch_unchecked::<R>(
                    client,
                    grid,
                    units,
                    self.values(),
                    lines.arg(),
                    self.subset(),
                    ArrayArg::from_raw_parts(sums.clone(), self.sides()),
                    lines.lines,
                    links.unwrap_or_default(),
                    first,
                    links.is_some(),
                    self.subset.is_some(),
                );
            }
        };
        side(&self.arrays.by_input, None, 0);
        side(&self.arrays.by_output, Some(self.arrays.by_output.last), self.shape[0]);
        sums
    }

    /// One key a link.
    fn keys(&self, ranking: &Ranking<'_>) -> CubeTensor<R> {
        let (client, keys) = (&self.values.client, self.empty(self.nnz));
        let lines = &self.arrays.by_input;
        let (share, alpha) = match ranking.score {
            RemoteScore::Magnitude => (0.0, 0.0),
            RemoteScore::Normalised { share, alpha } => (share, alpha),
        };
        let (word, temperature) = ranking.draw.unwrap_or((0, 1.0));
        let [high, low] = halves(word);
        let (grid, units) = one_each(client, self.nnz);
        // SAFETY: units beyond the links neither read nor write; the sections are those of the arrays, and rows and columns
        // those of the sums where these are read.
        unsafe {
            let sums = match &self.sums {
                Some(sums) => ArrayArg::from_raw_parts(sums.clone(), self.sides()),
                None => self.values(),
            };
            removal::keys::launch_unchecked::<R>(
                client,
                grid,
                units,
                self.values(),
                lines.arg(),
                self.subset(),
                sums,
                ArrayArg::from_raw_parts(keys.clone(), self.nnz),
                self.nnz,
                lines.ids,
                lines.last,
                self.shape[0],
                share as f32,
                alpha as f32,
                high,
                low,
                (-1.0 / temperature) as f32,
                lines.short_ids,
                lines.short_last,
                self.sums.is_some(),
                ranking.draw.is_some(),
                self.subset.is_some(),
            );
        }
        let (client, device) = (client.clone(), self.values.device.clone());
        CubeTensor::new_contiguous(client, device, Shape::new([self.nnz]), keys, DType::F32)
    }

    /// A bit for every link with a key from `certain` on, and the list of those from `least` up to there.
    fn classified(&self, keys: &Keys<R>, [least, certain]: [u32; 2], room: usize) -> [Handle; 2] {
        let client = &self.values.client;
        let (words, length) = (self.nnz.div_ceil(32), 1 + 2 * room);
        let (bits, listed) = (self.empty(words), keys.zeros(length));
        let (grid, units) = one_each(client, words);
        // SAFETY: units beyond the links neither read nor write, and there is room for what is written.
        unsafe {
            removal::classify::launch_unchecked::<R>(
                client,
                grid,
                units,
                keys.scores(),
                self.values(),
                ArrayArg::from_raw_parts(bits.clone(), words),
                ArrayArg::from_raw_parts(listed.clone(), length),
                self.nnz,
                least,
                certain,
                room as u32,
            );
        }
        [bits, listed]
    }
}
