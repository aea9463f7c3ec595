//! A topology as the kernels read it.

use std::fmt;

use crate::error::{Error, Result};
use crate::topology::Links;

/// The links of one layer as compact integer arrays, by output for the forward pass and by input for the gradients.
///
/// Built once per topology and shared behind an `Arc` by every pass that uses it. Memory: 8 bytes a link where both
/// dimensions are at most 65,536 (12 otherwise), 4 bytes an input, 12 an output, and a few percent more at densities
/// where lines are cut into blocks. Values, one per link, stay in link
/// order (row-major) everywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Index {
    shape: [usize; 2],
    pub(super) by_input: Orientation,
    pub(super) by_output: Orientation,
    /// For every entry of `by_output` the link it is, in link order: a permutation of `0..nnz`.
    pub(super) order: Vec<u32>,
    /// The lines of `by_output` by blocks of inputs.
    pub(super) cuts: Cuts,
    /// The arrays on devices that have used them.
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    pub(super) uploads: super::cube::Uploads,
}

/// Lines cut where their ids enter another block of the other side.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Cuts {
    lines: usize,
    blocks: usize,
    /// For every block the entry at which each line enters it, and behind the last block where each line ends.
    starts: Vec<u32>,
}

impl Cuts {
    /// Ids of a block. Its panel of 16 to 64 batch rows takes half of the first-level cache or all of it.
    const BLOCK: usize = 128;

    /// Links that a line should have in a block on average: fewer are not worth the sums' way to memory and back.
    const RUN: usize = 16;

    /// Cuts for lines of ids below `size`; one block for all where lines are short.
    fn new(offsets: &[u32], ids: &[u32], size: usize) -> Self {
        let lines = offsets.len() - 1;
        let blocks = size.div_ceil(Self::BLOCK).max(1);
        let blocks = if ids.len() < Self::RUN * blocks * lines { 1 } else { blocks };
        let mut starts = offsets[..lines].to_vec();
        for block in 1..blocks {
            let first = (block * Self::BLOCK) as u32;
            let cut = |line: usize| {
                let (start, end) = (starts[starts.len() - lines + line], offsets[line + 1]);
                let within = &ids[start as usize..end as usize];
                start + within.iter().take_while(|&&id| id < first).count() as u32
            };
            let next: Vec<u32> = (0..lines).map(cut).collect();
            starts.extend(next);
        }
        starts.extend(&offsets[1..]);
        Self { lines, blocks, starts }
    }

    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Where the lines' entries in a block start and end.
    pub(super) fn of(&self, block: usize) -> [&[u32]; 2] {
        let starts = &self.starts[block * self.lines..];
        [&starts[..self.lines], &starts[self.lines..2 * self.lines]]
    }
}

/// Links seen from one side: those of line `l` are the entries `offsets[l]..offsets[l + 1]`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Orientation {
    pub(super) offsets: Vec<u32>,
    pub(super) ids: Ids,
}

/// Indices into the other side, all below its size, increasing within a line; in the narrowest integers that hold them.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Ids {
    Short(Vec<u16>),
    Long(Vec<u32>),
}

/// An integer that indexes inputs or outputs.
pub(super) trait Id: Copy + Send + Sync + 'static {
    fn at(self) -> usize;
}

impl Id for u16 {
    #[inline(always)]
    fn at(self) -> usize {
        self as usize
    }
}

impl Id for u32 {
    #[inline(always)]
    fn at(self) -> usize {
        self as usize
    }
}

impl Ids {
    pub(super) fn new(ids: impl Iterator<Item = u32>, size: usize) -> Self {
        if size <= 1 << 16 {
            Self::Short(ids.map(|id| id as u16).collect())
        } else {
            Self::Long(ids.collect())
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Short(ids) => size_of_val(&ids[..]),
            Self::Long(ids) => size_of_val(&ids[..]),
        }
    }
}

impl Index {
    /// The index of `links`. O(nnz + inputs + outputs).
    ///
    /// # Errors
    ///
    /// [`Error::Capacity`] for more than 2³² − 1 links or inputs: they would not fit the index's integers.
    pub fn try_new(links: &Links) -> Result<Self> {
        let shape = links.shape();
        let [inputs, outputs] = shape;
        if links.nnz().max(inputs) > u32::MAX as usize {
            return Err(Error::Capacity {
                layer: format!("{inputs} × {outputs}"),
                requested: links.nnz(),
                allowed: format!("at most {} links and inputs are addressable", u32::MAX),
            });
        }
        let mut offsets = vec![0u32; outputs + 1];
        for &output in links.columns() {
            offsets[output as usize + 1] += 1;
        }
        for output in 0..outputs {
            offsets[output + 1] += offsets[output];
        }
        let mut next = offsets.clone();
        let mut order = vec![0u32; links.nnz()];
        let mut sources = vec![0u32; links.nnz()];
        for input in 0..inputs {
            for link in links.offsets()[input]..links.offsets()[input + 1] {
                let slot = &mut next[links.columns()[link] as usize];
                order[*slot as usize] = link as u32;
                sources[*slot as usize] = input as u32;
                *slot += 1;
            }
        }
        Ok(Self {
            shape,
            by_input: Orientation {
                offsets: links.offsets().iter().map(|&offset| offset as u32).collect(),
                ids: Ids::new(links.columns().iter().copied(), outputs),
            },
            cuts: Cuts::new(&offsets, &sources, inputs),
            by_output: Orientation { offsets, ids: Ids::new(sources.into_iter(), inputs) },
            order,
            #[cfg(any(feature = "wgpu", feature = "cuda"))]
            uploads: Default::default(),
        })
    }

    /// `[d_input, d_output]`.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Number of links.
    #[must_use]
    pub fn nnz(&self) -> usize {
        self.order.len()
    }

    /// Bytes that the arrays take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let offsets = self.by_input.offsets.len() + self.by_output.offsets.len();
        4 * (offsets + self.order.len() + self.cuts.starts.len())
            + self.by_input.ids.bytes()
            + self.by_output.ids.bytes()
    }

    /// All links as row-major positions `input * d_output + output`, in link order.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        let offsets = &self.by_input.offsets;
        (0..self.shape[0]).flat_map(move |input| {
            (offsets[input] as usize..offsets[input + 1] as usize).map(move |link| {
                let output = match &self.by_input.ids {
                    Ids::Short(ids) => ids[link].at(),
                    Ids::Long(ids) => ids[link].at(),
                };
                input * self.shape[1] + output
            })
        })
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Index").field("shape", &self.shape).field("nnz", &self.nnz()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_the_links() {
        let links = Links::try_from_positions([3, 5], vec![0, 4, 7, 10, 14]).unwrap();
        let index = Index::try_new(&links).unwrap();
        assert_eq!(index.positions().collect::<Vec<_>>(), links.positions().collect::<Vec<_>>());
        assert_eq!(index.nnz(), 5);
    }

    #[test]
    fn cuts_are_where_ids_enter_a_block_and_short_lines_have_none() {
        for (inputs, outputs, every) in [(300, 7, 2), (128, 3, 1), (129, 3, 1), (1000, 5, 3), (40, 2, 1)] {
            let positions = (0..inputs * outputs).step_by(every).collect();
            let links = Links::try_from_positions([inputs, outputs], positions).unwrap();
            let index = Index::try_new(&links).unwrap();
            assert_eq!(index.cuts.blocks(), inputs.div_ceil(Cuts::BLOCK), "{inputs} × {outputs}");
            let Ids::Short(ids) = &index.by_output.ids else { panic!("few inputs") };
            let mut seen = vec![Vec::new(); outputs];
            for block in 0..index.cuts.blocks() {
                let [starts, ends] = index.cuts.of(block);
                for (output, seen) in seen.iter_mut().enumerate() {
                    let entries = starts[output] as usize..ends[output] as usize;
                    assert!(ids[entries.clone()].iter().all(|id| id.at() / Cuts::BLOCK == block));
                    seen.extend(entries);
                }
            }
            for (output, seen) in seen.iter().enumerate() {
                let offsets = &index.by_output.offsets;
                assert!(seen.iter().copied().eq(offsets[output] as usize..offsets[output + 1] as usize));
            }
        }
        let sparse = Links::try_from_positions([300, 7], (0..2100).step_by(50).collect()).unwrap();
        let cuts = Index::try_new(&sparse).unwrap().cuts;
        let offsets = Index::try_new(&sparse).unwrap().by_output.offsets;
        assert_eq!((cuts.blocks(), cuts.of(0)), (1, [&offsets[..7], &offsets[1..]]));
        assert_eq!(Index::try_new(&Links::empty([4, 0])).unwrap().cuts.of(0), [&[0u32; 0][..]; 2]);
    }

    #[test]
    fn the_output_side_is_the_transpose() {
        let links = Links::try_from_positions([70_000, 3], vec![0, 2, 3, 150_001, 209_999]).unwrap();
        let index = Index::try_new(&links).unwrap();
        let (transposed, order) = links.transpose_with_order();
        assert_eq!(index.order, order);
        assert!(index.by_output.ids == Ids::Long(transposed.columns().to_vec()));
        assert!(index.by_input.ids == Ids::Short(links.columns().iter().map(|&id| id as u16).collect()));
        assert!(index.by_output.offsets.iter().zip(transposed.offsets()).all(|(&a, &b)| a as usize == b));
    }
}
