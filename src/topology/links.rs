//! The one currency for connectivity: which of the `rows × columns` positions hold a link.

use std::sync::Arc;

use super::init::TopologyInit;
use crate::error::{Error, Result};

/// The links of a bipartite layer, host-side, in compressed-row form.
///
/// Rows are the layer's inputs, columns its outputs (Burn's `[d_input, d_output]`). Links are ordered by row, then
/// by column; that order is the order of values wherever one value per link is stored.
///
/// Invariants, checked by [`Links::try_from_csr`] and kept by every method: `offsets` has `rows + 1` entries, starts
/// at 0, never decreases and ends at the number of links; the columns of a row are strictly increasing and smaller
/// than the number of columns.
///
/// Equality is that of the links alone, wherever they come from.
#[derive(Debug, Clone)]
pub struct Links {
    shape: [usize; 2],
    offsets: Vec<usize>,
    columns: Vec<u32>,
    initialiser: Option<Arc<TopologyInit>>,
}

impl PartialEq for Links {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.offsets == other.offsets && self.columns == other.columns
    }
}

impl Eq for Links {}

/// Positions that a layer has at most: those of all links, and sums of them, fit the 32-bit integers in which kernels,
/// devices and files count.
pub(crate) const MAX_POSITIONS: usize = (1 << 31) - 1;

/// The number of positions of a layer; `None` for more than [`MAX_POSITIONS`], or a side of more.
pub(crate) fn positions_of(shape: [usize; 2]) -> Option<usize> {
    let fits = |&count: &usize| count <= MAX_POSITIONS;
    shape[0].checked_mul(shape[1]).filter(|positions| shape.iter().all(fits) && fits(positions))
}

/// The number of positions of a layer that links are given for.
fn check_shape(shape: [usize; 2]) -> Result<usize> {
    let [rows, columns] = shape;
    positions_of(shape).ok_or_else(|| Error::Links {
        reason: format!("a layer of {rows} × {columns}; allowed: at most {MAX_POSITIONS} positions"),
    })
}

impl Links {
    /// No links at all.
    #[must_use]
    pub fn empty(shape: [usize; 2]) -> Self {
        Self::from_checked(shape, vec![0; shape[0] + 1], Vec::new())
    }

    /// Every position a link.
    #[must_use]
    pub fn full(shape: [usize; 2]) -> Self {
        Self::from_checked(
            shape,
            (0..=shape[0]).map(|row| row * shape[1]).collect(),
            (0..shape[0]).flat_map(|_| 0..shape[1] as u32).collect(),
        )
    }

    fn from_checked(shape: [usize; 2], offsets: Vec<usize>, columns: Vec<u32>) -> Self {
        Self { shape, offsets, columns, initialiser: None }
    }

    /// The initialiser that chose these links; `None` once they have been pruned, rewired, saved or otherwise derived
    /// from others, and where there was nothing to choose.
    #[must_use]
    pub fn initialiser(&self) -> Option<&TopologyInit> {
        self.initialiser.as_deref()
    }

    /// The same links, known to have been chosen by `initialiser`.
    pub(super) fn chosen_by(self, initialiser: &TopologyInit) -> Self {
        Self { initialiser: Some(Arc::new(initialiser.clone())), ..self }
    }

    /// Links from compressed rows, every invariant checked.
    ///
    /// # Errors
    ///
    /// [`Error::Links`] that names the first position at which an invariant breaks, or for a layer of 2³¹ positions or
    /// more.
    pub fn try_from_csr(shape: [usize; 2], offsets: Vec<usize>, columns: Vec<u32>) -> Result<Self> {
        let broken = |reason: String| Err(Error::Links { reason });
        let [rows, width] = shape;
        check_shape(shape)?;
        if offsets.len() != rows + 1 {
            return broken(format!("{} row offsets for {rows} rows, expected {}", offsets.len(), rows + 1));
        }
        if offsets[0] != 0 {
            return broken(format!("row offsets start at {}, expected 0", offsets[0]));
        }
        if offsets[rows] != columns.len() {
            return broken(format!(
                "row offsets end at {} but there are {} links",
                offsets[rows],
                columns.len()
            ));
        }
        for row in 0..rows {
            let (start, end) = (offsets[row], offsets[row + 1]);
            if end < start || end > columns.len() {
                return broken(format!("row {row} spans links {start}..{end} of {}", columns.len()));
            }
            let mut previous = None;
            for &column in &columns[start..end] {
                if column as usize >= width {
                    return broken(format!("row {row} links to column {column}, there are {width}"));
                }
                if previous.is_some_and(|previous| previous >= column) {
                    return broken(format!("row {row}: column {column} is out of order or twice there"));
                }
                previous = Some(column);
            }
        }
        Ok(Self::from_checked(shape, offsets, columns))
    }

    /// Links from the row-major positions `row * columns + column`, in any order.
    ///
    /// # Errors
    ///
    /// [`Error::Links`] for a position out of range or given twice, and for a layer of 2³¹ positions or more.
    pub fn try_from_positions(shape: [usize; 2], mut positions: Vec<usize>) -> Result<Self> {
        let capacity = check_shape(shape)?;
        positions.sort_unstable();
        if let Some(&last) = positions.last()
            && last >= capacity
        {
            return Err(Error::Links {
                reason: format!("position {last} in a layer of {} × {}", shape[0], shape[1]),
            });
        }
        if let Some(pair) = positions.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Links { reason: format!("position {} is twice there", pair[0]) });
        }
        Ok(Self::from_sorted_positions(shape, positions.into_iter()))
    }

    /// Links from strictly increasing row-major positions, all in range. The caller guarantees both.
    pub(crate) fn from_sorted_positions(shape: [usize; 2], positions: impl Iterator<Item = usize>) -> Self {
        let mut offsets = vec![0; shape[0] + 1];
        let mut columns = Vec::with_capacity(positions.size_hint().0);
        for position in positions {
            offsets[position / shape[1] + 1] += 1;
            columns.push((position % shape[1]) as u32);
        }
        for row in 0..shape[0] {
            offsets[row + 1] += offsets[row];
        }
        Self::from_checked(shape, offsets, columns)
    }

    /// Links where a row-major mask is true.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the mask does not have `shape[0] * shape[1]` entries, [`Error::Links`] for a layer of 2³¹
    /// positions or more.
    pub fn try_from_mask(shape: [usize; 2], mask: &[bool]) -> Result<Self> {
        if mask.len() != check_shape(shape)? {
            return Err(Error::Shape {
                what: "mask".into(),
                found: vec![mask.len()],
                expected: shape.to_vec(),
            });
        }
        Ok(Self::from_sorted_positions(
            shape,
            mask.iter().enumerate().filter_map(|(position, &live)| live.then_some(position)),
        ))
    }

    /// The row-major mask, `rows * columns` entries.
    #[must_use]
    pub fn to_mask(&self) -> Vec<bool> {
        let mut mask = vec![false; self.capacity()];
        self.positions().for_each(|position| mask[position] = true);
        mask
    }

    /// `[rows, columns]`, that is `[d_input, d_output]`.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Number of rows (inputs).
    #[must_use]
    pub fn num_rows(&self) -> usize {
        self.shape[0]
    }

    /// Number of columns (outputs).
    #[must_use]
    pub fn num_columns(&self) -> usize {
        self.shape[1]
    }

    /// Number of positions, `rows * columns`.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// Number of links.
    #[must_use]
    pub fn nnz(&self) -> usize {
        self.columns.len()
    }

    /// Links per position, 0 for a layer without positions.
    #[must_use]
    pub fn density(&self) -> f64 {
        if self.capacity() == 0 { 0.0 } else { self.nnz() as f64 / self.capacity() as f64 }
    }

    /// Where each row starts among the links; one entry more than there are rows.
    #[must_use]
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The column of every link, in link order.
    #[must_use]
    pub fn columns(&self) -> &[u32] {
        &self.columns
    }

    /// The columns row `row` links to, increasing. Panics if there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[u32] {
        &self.columns[self.offsets[row]..self.offsets[row + 1]]
    }

    /// Whether there is a link at (`row`, `column`). Panics if there is no such row. O(log degree).
    #[must_use]
    pub fn contains(&self, row: usize, column: usize) -> bool {
        self.row(row).binary_search(&(column as u32)).is_ok()
    }

    /// All links as `(row, column)`, in link order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.num_rows())
            .flat_map(move |row| self.row(row).iter().map(move |&column| (row, column as usize)))
    }

    /// All links as row-major positions `row * columns + column`, increasing.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        let width = self.num_columns();
        self.iter().map(move |(row, column)| row * width + column)
    }

    /// Number of links of every row.
    #[must_use]
    pub fn row_degrees(&self) -> Vec<usize> {
        self.offsets.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// Number of links of every column.
    #[must_use]
    pub fn column_degrees(&self) -> Vec<usize> {
        let mut degrees = vec![0; self.num_columns()];
        self.columns.iter().for_each(|&column| degrees[column as usize] += 1);
        degrees
    }

    /// The links seen from the other side: rows and columns exchanged.
    #[must_use]
    pub fn transpose(&self) -> Self {
        self.transpose_with_order().0
    }

    /// The transposed links and, for every link of the transpose, its index in the link order of `self`.
    #[must_use]
    pub fn transpose_with_order(&self) -> (Self, Vec<u32>) {
        let mut offsets = vec![0; self.num_columns() + 1];
        for &column in &self.columns {
            offsets[column as usize + 1] += 1;
        }
        for column in 0..self.num_columns() {
            offsets[column + 1] += offsets[column];
        }
        let mut next = offsets.clone();
        let mut columns = vec![0; self.nnz()];
        let mut order = vec![0; self.nnz()];
        for (link, (row, column)) in self.iter().enumerate() {
            let slot = &mut next[column];
            columns[*slot] = row as u32;
            order[*slot] = link as u32;
            *slot += 1;
        }
        let transposed = Self::from_checked([self.shape[1], self.shape[0]], offsets, columns);
        (transposed, order)
    }

    /// A number that tells links apart: the CRC-32 of shape, row degrees and columns, as 64- and 32-bit little-endian
    /// integers. The same on every machine. O(rows + nnz).
    #[must_use]
    pub fn checksum(&self) -> u32 {
        let mut crc = flate2::Crc::new();
        self.shape.iter().for_each(|&side| crc.update(&(side as u64).to_le_bytes()));
        self.row_degrees().iter().for_each(|&degree| crc.update(&(degree as u64).to_le_bytes()));
        self.columns.iter().for_each(|column| crc.update(&column.to_le_bytes()));
        crc.sum()
    }

    /// The links for which `keep` holds; `keep` gets the link's index in link order.
    #[must_use]
    pub fn retain(&self, mut keep: impl FnMut(usize) -> bool) -> Self {
        Self::from_sorted_positions(
            self.shape,
            self.positions().enumerate().filter_map(|(link, position)| keep(link).then_some(position)),
        )
    }

    /// The links of `self`, `other` or both.
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        assert_eq!(self.shape, other.shape, "links of two shapes");
        let (mut left, mut right) = (self.positions().peekable(), other.positions().peekable());
        Self::from_sorted_positions(
            self.shape,
            std::iter::from_fn(move || match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if a == b => {
                    right.next();
                    left.next()
                }
                (Some(a), Some(b)) if a > b => right.next(),
                (Some(_), _) => left.next(),
                (None, _) => right.next(),
            }),
        )
    }

    /// The links of `self` that `other` does not have.
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        assert_eq!(self.shape, other.shape, "links of two shapes");
        let mut others = other.positions().peekable();
        Self::from_sorted_positions(
            self.shape,
            self.positions().filter(move |position| {
                while others.next_if(|other| other < position).is_some() {}
                others.peek() != Some(position)
            }),
        )
    }

    /// How many links `self` and `other` share.
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> usize {
        self.nnz() - self.difference(other).nnz()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masks() -> impl Strategy<Value = ([usize; 2], Vec<bool>)> {
        (1usize..12, 1usize..12).prop_flat_map(|(rows, columns)| {
            (Just([rows, columns]), proptest::collection::vec(any::<bool>(), rows * columns))
        })
    }

    proptest! {
        #[test]
        fn a_mask_survives_the_way_to_links_and_back((shape, mask) in masks()) {
            let links = Links::try_from_mask(shape, &mask).unwrap();
            prop_assert_eq!(links.nnz(), mask.iter().filter(|&&live| live).count());
            prop_assert_eq!(links.to_mask(), mask);
            let again = Links::try_from_csr(shape, links.offsets().to_vec(), links.columns().to_vec()).unwrap();
            prop_assert_eq!(again, links);
        }

        #[test]
        fn transposing_twice_is_the_identity((shape, mask) in masks()) {
            let links = Links::try_from_mask(shape, &mask).unwrap();
            let (transposed, order) = links.transpose_with_order();
            prop_assert!(links.iter().all(|(row, column)| transposed.contains(column, row)));
            let all: Vec<_> = links.iter().collect();
            for (link, (column, row)) in transposed.iter().enumerate() {
                prop_assert_eq!(all[order[link] as usize], (row, column));
            }
            prop_assert_eq!(transposed.transpose(), links);
        }

        #[test]
        fn set_operations_agree_with_masks((shape, mask) in masks(), seed in any::<u64>()) {
            let other: Vec<bool> = (0..mask.len()).map(|i| (seed >> (i % 64)) & 1 == 1).collect();
            let a = Links::try_from_mask(shape, &mask).unwrap();
            let b = Links::try_from_mask(shape, &other).unwrap();
            let zip = |f: fn(bool, bool) -> bool| mask.iter().zip(&other).map(|(&a, &b)| f(a, b)).collect::<Vec<_>>();
            prop_assert_eq!(a.union(&b).to_mask(), zip(|a, b| a || b));
            prop_assert_eq!(a.difference(&b).to_mask(), zip(|a, b| a && !b));
            prop_assert_eq!(a.overlap(&b), zip(|a, b| a && b).iter().filter(|&&x| x).count());
        }
    }

    #[test]
    fn broken_links_are_refused_with_the_broken_position() {
        let message = |offsets: Vec<usize>, columns: Vec<u32>| {
            Links::try_from_csr([2, 3], offsets, columns).unwrap_err().to_string()
        };
        assert!(message(vec![0, 1], vec![0]).contains("2 row offsets for 2 rows"));
        assert!(message(vec![1, 1, 1], vec![0]).contains("start at 1"));
        assert!(message(vec![0, 1, 3], vec![0]).contains("end at 3"));
        assert!(message(vec![0, 2, 1], vec![0]).contains("row 0 spans links 0..2"));
        assert!(message(vec![0, 1, 1], vec![3]).contains("column 3"));
        assert!(message(vec![0, 2, 2], vec![1, 1]).contains("twice"));
        assert!(Links::try_from_positions([2, 3], vec![6]).is_err());
        assert!(Links::try_from_positions([2, 3], vec![5, 5]).is_err());
    }
}
