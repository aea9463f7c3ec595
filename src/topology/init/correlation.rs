//! CSTI: the inputs' correlations decide which positions are links.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use chacha20::ChaCha12Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::pearson;
use crate::error::{Error, Result};
use crate::topology::Links;

/// Samples looked at by [`FeatureCorrelation::from_samples`].
const MAX_SAMPLES: usize = 10_000;

/// |Pearson correlation| between input features: what correlated sparse topological initialisation (CSTI; CHT, ICLR 2024, appendix B)
/// chooses links by.
///
/// C\[i\]\[j\] = |cov(x_i, x_j)| / (σ_i σ_j), 0 on the diagonal and for features that are constant. A layer m × n with
/// F features takes the positions (i, a) where C\[i mod F\]\[a mod F\], the matrix tiled to the layer's shape, is
/// largest. The tiles are copies and C is symmetric, so values tie: all positions above the smallest value taken are
/// links, those that tie at it are drawn at random, so that no copy of a tile is preferred. More links than positions
/// with a positive correlation spread uniformly over the rest for the same reason.
///
/// The matrix (F² numbers) is shared by clones. Serialised are only the number of features and a checksum, enough
/// for a run's configuration to say which correlations it used; two correlations are equal if these are. One that
/// was read back has no matrix: compute it again, compare, and put it in its place, before links are drawn.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Fingerprint", into = "Fingerprint")]
pub struct FeatureCorrelation {
    features: usize,
    checksum: u64,
    matrix: Option<Arc<[f32]>>,
}

/// What is serialised. The checksum is text, as JSON readers round integers of 64 bits.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fingerprint {
    features: usize,
    checksum: String,
}

impl FeatureCorrelation {
    /// The correlations over at most 10 000 samples, evenly spaced if there are more.
    ///
    /// See [`FeatureCorrelation::from_at_most`].
    ///
    /// # Errors
    ///
    /// Those of [`FeatureCorrelation::from_at_most`].
    pub fn from_samples<S: AsRef<[f32]>>(
        features: usize,
        samples: impl IntoIterator<Item = S, IntoIter: ExactSizeIterator>,
    ) -> Result<Self> {
        Self::from_at_most(MAX_SAMPLES, features, samples)
    }

    /// The correlations over at most `max_samples` samples of `features` values each.
    ///
    /// Of more samples, numbers ⌊k · samples / max_samples⌋ are used. Flat data comes in by
    /// `values.chunks_exact(features)`. The result is the same on any number of threads.
    ///
    /// Cost: features² · samples / 2 multiplications in parallel, and 4 · features · samples bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for no features, fewer than two samples or a value that is NaN or infinite,
    /// [`Error::Shape`] for a sample of another length than `features`.
    pub fn from_at_most<S: AsRef<[f32]>>(
        max_samples: usize,
        features: usize,
        samples: impl IntoIterator<Item = S, IntoIter: ExactSizeIterator>,
    ) -> Result<Self> {
        let matrix = pearson::absolute_correlation(max_samples, features, samples.into_iter())?;
        Ok(Self::from_matrix(features, matrix))
    }

    fn from_matrix(features: usize, matrix: Vec<f32>) -> Self {
        // FNV-1a over whole numbers.
        let checksum = matrix.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, value| {
            (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self { features, checksum, matrix: Some(matrix.into()) }
    }

    /// Number of features F.
    #[must_use]
    pub fn features(&self) -> usize {
        self.features
    }

    /// The F × F correlations, row-major.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if this was read back from a configuration, which does not hold them.
    pub fn matrix(&self) -> Result<&[f32]> {
        self.matrix.as_deref().ok_or_else(|| {
            Error::argument(
                "correlation",
                format!("{self:?} without its matrix"),
                "correlations computed from samples; a configuration holds their size and checksum only",
            )
        })
    }

    /// The `nnz` > 0 positions of a layer whose features correlate most. O(rows · columns).
    pub(super) fn links(&self, shape: [usize; 2], nnz: usize, rng: &mut ChaCha12Rng) -> Result<Links> {
        let matrix = self.matrix()?;
        let [rows, columns] = shape;
        let tiled = || {
            (0..rows).flat_map(move |row| {
                let start = row % self.features * self.features;
                matrix[start..start + self.features].iter().copied().cycle().take(columns)
            })
        };
        let mut values: Vec<f32> = tiled().collect();
        let (_, &mut smallest, _) = values.select_nth_unstable_by(nnz - 1, |a, b| b.total_cmp(a));
        drop(values);

        let (mut positions, mut ties) = (Vec::with_capacity(nnz), Vec::new());
        for (position, value) in tiled().enumerate() {
            match value.total_cmp(&smallest) {
                Ordering::Greater => positions.push(position),
                Ordering::Equal => ties.push(position),
                Ordering::Less => {}
            }
        }
        let wanted = nnz - positions.len();
        positions.extend_from_slice(ties.partial_shuffle(rng, wanted).0);
        Links::try_from_positions(shape, positions)
    }
}

impl PartialEq for FeatureCorrelation {
    fn eq(&self, other: &Self) -> bool {
        (self.features, self.checksum) == (other.features, other.checksum)
    }
}

impl fmt::Debug for FeatureCorrelation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeatureCorrelation({} features, checksum {:016x})", self.features, self.checksum)
    }
}

impl From<FeatureCorrelation> for Fingerprint {
    fn from(correlation: FeatureCorrelation) -> Self {
        Self { features: correlation.features, checksum: format!("{:016x}", correlation.checksum) }
    }
}

impl TryFrom<Fingerprint> for FeatureCorrelation {
    type Error = Error;

    fn try_from(fingerprint: Fingerprint) -> Result<Self> {
        let Fingerprint { features, checksum } = fingerprint;
        match u64::from_str_radix(&checksum, 16) {
            Ok(checksum) => Ok(Self { features, checksum, matrix: None }),
            Err(_) => Err(Error::argument("checksum", checksum, "16 hexadecimal digits")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::init::TopologyInit;
    use crate::topology::stream;

    /// Three features: 0 and 1 correlate most, then 1 and 2, then 0 and 2.
    fn ranked() -> FeatureCorrelation {
        FeatureCorrelation::from_matrix(3, vec![0.0, 0.9, 0.1, 0.9, 0.0, 0.5, 0.1, 0.5, 0.0])
    }

    #[test]
    fn the_strongest_correlations_become_links() {
        let links = |nnz| ranked().links([3, 3], nnz, &mut stream(1, "csti", 0)).unwrap();
        assert_eq!(links(2).iter().collect::<Vec<_>>(), [(0, 1), (1, 0)]);
        assert_eq!(links(4).iter().collect::<Vec<_>>(), [(0, 1), (1, 0), (1, 2), (2, 1)]);
        // Symmetric positions tie: which of the two is the third link is drawn, that it is one of them is not.
        assert_eq!(links(3).overlap(&links(2)), 2);
        assert_eq!(links(3).overlap(&links(4)), 3);
    }

    #[test]
    fn the_matrix_is_tiled_to_the_layer() {
        let links = ranked().links([4, 7], 10, &mut stream(1, "csti", 0)).unwrap();
        // 0.9 stands where {i, a} mod 3 is {0, 1}: rows 0 and 3 at columns 1 4, row 1 at columns 0 3 6; 3 of the
        // positions with 0.5, row 1 at 2 5 and row 2 at 1 4, follow.
        let strongest = [(0, 1), (0, 4), (1, 0), (1, 3), (1, 6), (3, 1), (3, 4)];
        assert!(strongest.iter().all(|&(row, column)| links.contains(row, column)));
        let next = [(1, 2), (1, 5), (2, 1), (2, 4)];
        assert_eq!(next.iter().filter(|&&(row, column)| links.contains(row, column)).count(), 3);
        // A layer smaller than the matrix takes its corner.
        let corner = ranked().links([1, 2], 1, &mut stream(1, "csti", 0)).unwrap();
        assert_eq!(corner.iter().collect::<Vec<_>>(), [(0, 1)]);
    }

    #[test]
    fn ties_at_the_threshold_are_drawn_evenly_among_the_tiles() {
        let pair = FeatureCorrelation::from_matrix(2, vec![0.0, 1.0, 1.0, 0.0]);
        let mut rng = stream(2, "csti", 0);
        let mut counts = vec![0f64; 16];
        for _ in 0..4000 {
            let links = pair.links([4, 4], 2, &mut rng).unwrap();
            links.positions().for_each(|position| counts[position] += 1.0);
        }
        for (position, count) in counts.iter().enumerate() {
            if (position / 4 + position % 4) % 2 == 1 {
                assert!((900.0..1100.0).contains(count), "{counts:?}");
            } else {
                assert_eq!(*count, 0.0);
            }
        }
    }

    #[test]
    fn features_without_correlation_are_linked_last_and_uniformly() {
        let none = FeatureCorrelation::from_matrix(2, vec![0.0; 4]);
        let links = none.links([40, 40], 800, &mut stream(1, "csti", 0)).unwrap();
        assert_eq!(links.nnz(), 800);
        let left = links.iter().filter(|&(_, column)| column < 20).count();
        assert!((330..470).contains(&left), "{left}");
    }

    #[test]
    fn a_configuration_keeps_size_and_checksum_and_asks_for_the_matrix() {
        let init = TopologyInit::Correlation(ranked());
        let text = serde_json::to_string(&init).unwrap();
        assert!(
            text.starts_with(r#"{"Correlation":{"features":3,"checksum":""#) && text.len() < 80,
            "{text}"
        );
        let read: TopologyInit = serde_json::from_str(&text).unwrap();
        assert_eq!(read, init);
        let error = read.links([3, 3], 2, &mut stream(1, "csti", 0)).unwrap_err();
        assert!(matches!(&error, Error::Argument { name: "correlation", .. }), "{error}");
        assert_ne!(init, TopologyInit::Correlation(FeatureCorrelation::from_matrix(3, vec![0.0; 9])));
        let broken = r#"{"Correlation":{"features":3,"checksum":"no number"}}"#;
        assert!(serde_json::from_str::<TopologyInit>(broken).is_err());
    }
}
