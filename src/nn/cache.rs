//! Keys and values of positions already read, so that decoding does not compute them again.

use burn::prelude::*;

/// The keys and values that one attention layer has computed so far.
///
/// Self-attention of a decoder lets it grow by a position a step ([`append`](Self::append)); attention to an encoder's
/// output fills it once. Rows are whatever the batch holds: sentences, or the hypotheses of a beam search, which
/// [`select`](Self::select) reorders, repeats and drops.
#[derive(Debug, Clone)]
pub struct KeyValueCache<B: Backend> {
    entries: Option<[Tensor<B, 4>; 2]>,
}

impl<B: Backend> Default for KeyValueCache<B> {
    fn default() -> Self {
        Self { entries: None }
    }
}

impl<B: Backend> KeyValueCache<B> {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of positions held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.as_ref().map_or(0, |[keys, _]| keys.dims()[2])
    }

    /// Whether no position is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds positions and returns the keys and values of all. Copies what it holds: O(positions).
    ///
    /// # Shapes
    ///
    /// `[batch, heads, positions, width of a head]`
    pub fn append(&mut self, keys: Tensor<B, 4>, values: Tensor<B, 4>) -> [Tensor<B, 4>; 2] {
        let entries = match self.entries.take() {
            None => [keys, values],
            Some([old_keys, old_values]) => {
                [Tensor::cat(vec![old_keys, keys], 2), Tensor::cat(vec![old_values, values], 2)]
            }
        };
        self.entries.insert(entries).clone()
    }

    /// The keys and values held, `None` before the first.
    #[must_use]
    pub fn entries(&self) -> Option<[Tensor<B, 4>; 2]> {
        self.entries.clone()
    }

    /// Makes row `i` a copy of what row `rows[i]` was, for every `i`.
    pub fn select(&mut self, rows: Tensor<B, 1, Int>) {
        self.entries = self.entries.take().map(|entries| entries.map(|entry| entry.select(0, rows.clone())));
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Flex;

    use super::*;

    fn entry(rows: &[f32]) -> Tensor<Flex, 4> {
        Tensor::<Flex, 1>::from_floats(rows, &Default::default()).reshape([rows.len(), 1, 1, 1])
    }

    #[test]
    fn positions_come_in_order_and_rows_follow_their_hypotheses() {
        let mut cache = KeyValueCache::new();
        assert!(cache.is_empty());
        cache.append(entry(&[1.0, 2.0]), entry(&[3.0, 4.0]));
        let [keys, _] = cache.append(entry(&[5.0, 6.0]), entry(&[7.0, 8.0]));
        assert_eq!(keys.into_data().to_vec::<f32>().unwrap(), [1.0, 5.0, 2.0, 6.0]);
        cache.select(Tensor::from_ints([1, 1, 0], &Default::default()));
        assert_eq!(cache.len(), 2);
        let [keys, values] = cache.entries().unwrap();
        assert_eq!(keys.into_data().to_vec::<f32>().unwrap(), [2.0, 6.0, 2.0, 6.0, 1.0, 5.0]);
        assert_eq!(values.into_data().to_vec::<f32>().unwrap(), [4.0, 8.0, 4.0, 8.0, 3.0, 7.0]);
    }
}
