//! A layer as several networks side by side: the heads of an attention projection.

use super::Links;
use super::apportion::apportion;

/// Equal parts of a layer's columns (outputs), each a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    count: usize,
    /// Columns of a part.
    width: usize,
}

impl Parts {
    /// `count` parts of `columns` columns, which it must divide.
    pub(super) fn new(columns: usize, count: usize) -> Self {
        Self { count, width: columns / count }
    }

    /// Whether the layer is not divided at all.
    pub(super) fn is_whole(self) -> bool {
        self.count == 1
    }

    pub(super) fn count(self) -> usize {
        self.count
    }

    /// The links of every part, in its own columns.
    pub(super) fn cut(self, links: &Links) -> Vec<Links> {
        let mut positions = vec![Vec::new(); self.count];
        for (row, column) in links.iter() {
            positions[column / self.width].push(row * self.width + column % self.width);
        }
        let shape = [links.num_rows(), self.width];
        positions
            .into_iter()
            .map(|positions| Links::from_sorted_positions(shape, positions.into_iter()))
            .collect()
    }

    /// A value per link, by part.
    pub(super) fn cut_values(self, links: &Links, values: &[f32]) -> Vec<Vec<f32>> {
        let mut parts = vec![Vec::new(); self.count];
        for ((_, column), &value) in links.iter().zip(values) {
            parts[column / self.width].push(value);
        }
        parts
    }

    /// A value per position, row-major, by part.
    pub(super) fn cut_dense(self, values: &[f32]) -> Vec<Vec<f32>> {
        let rows = values.chunks_exact(self.count * self.width);
        let part = |part: usize| {
            rows.clone().flat_map(move |row| &row[part * self.width..][..self.width]).copied().collect()
        };
        (0..self.count).map(part).collect()
    }

    /// The links of all parts in one layer.
    pub(super) fn join(self, parts: &[Links]) -> Links {
        let rows = parts.first().map_or(0, Links::num_rows);
        let columns = self.count * self.width;
        let positions = (0..rows).flat_map(|row| {
            parts.iter().enumerate().flat_map(move |(part, links)| {
                let first = row * columns + part * self.width;
                links.row(row).iter().map(move |&column| first + column as usize)
            })
        });
        Links::from_sorted_positions([rows, columns], positions)
    }

    /// How many links every part is to have if the layer is to have `target`: a share of the target as large as its
    /// share of `links`, rounded so that the sum is the target, and no more than it has room for.
    pub(super) fn targets(self, links: &Links, target: usize) -> Vec<usize> {
        if self.is_whole() {
            return vec![target];
        }
        let mut counts = vec![0_u64; self.count];
        links.columns().iter().for_each(|&column| counts[column as usize / self.width] += 1);
        apportion(target, &counts, &vec![links.num_rows() * self.width; self.count])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_joined_are_the_layer_and_their_values_follow_the_links(
            mask in prop::collection::vec(any::<bool>(), 5 * 12),
            count in prop::sample::select(vec![1, 2, 3, 4, 6, 12]),
        ) {
            let links = Links::try_from_mask([5, 12], &mask).unwrap();
            let parts = Parts::new(12, count);
            let cut = parts.cut(&links);
            prop_assert_eq!(parts.join(&cut), links.clone());
            let dense: Vec<f32> = (0..60).map(|position| position as f32).collect();
            let values: Vec<f32> = links.positions().map(|position| position as f32).collect();
            let (values, dense) = (parts.cut_values(&links, &values), parts.cut_dense(&dense));
            for ((links, values), dense) in cut.iter().zip(&values).zip(&dense) {
                let expected: Vec<f32> = links.positions().map(|position| dense[position]).collect();
                prop_assert_eq!(values, &expected);
            }
        }

        #[test]
        fn targets_add_up_and_keep_the_shares(
            mask in prop::collection::vec(any::<bool>(), 5 * 12),
            count in prop::sample::select(vec![1, 2, 3, 4, 6]),
            target in 0_usize..=60,
        ) {
            let links = Links::try_from_mask([5, 12], &mask).unwrap();
            let parts = Parts::new(12, count);
            let targets = parts.targets(&links, target);
            prop_assert_eq!(targets.iter().sum::<usize>(), target);
            let counts: Vec<usize> = parts.cut(&links).iter().map(Links::nnz).collect();
            prop_assert_eq!(parts.targets(&links, links.nnz()), counts.clone());
            if target <= links.nnz() {
                // Nobody has to grow for another to be pruned.
                prop_assert!(targets.iter().zip(&counts).all(|(target, count)| target <= count));
            }
        }
    }
}
