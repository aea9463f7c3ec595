//! The messages of an event file, as far as they are written here: `event.proto`, `summary.proto` and `tensor.proto` of
//! TensorBoard.

/// One record of an event file; one of its last three fields is set.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Event {
    #[prost(double, tag = "1")]
    pub(super) wall_time: f64,
    #[prost(int64, tag = "2")]
    pub(super) step: i64,
    #[prost(string, optional, tag = "3")]
    pub(super) file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    pub(super) summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    pub(super) session_log: Option<SessionLog>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct SessionLog {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

/// `status` of a session that starts: what files before hold of this step and later ones is void.
pub(super) const START: i32 = 1;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub(super) value: Vec<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Value {
    #[prost(string, tag = "1")]
    pub(super) tag: String,
    #[prost(float, optional, tag = "2")]
    pub(super) simple_value: Option<f32>,
    #[prost(message, optional, tag = "5")]
    pub(super) histogram: Option<Histogram>,
    #[prost(message, optional, tag = "8")]
    pub(super) tensor: Option<StringTensor>,
    #[prost(message, optional, tag = "9")]
    pub(super) metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metadata {
    #[prost(message, optional, tag = "1")]
    pub(super) plugin: Option<Plugin>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Plugin {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

/// A scalar tensor of strings.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StringTensor {
    #[prost(int32, tag = "1")]
    pub(super) dtype: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) shape: Option<Shape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub(super) values: Vec<Vec<u8>>,
}

/// `dtype` of strings.
pub(super) const STRING: i32 = 7;

/// The shape of a scalar.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Shape {}

/// Counts between limits: `counts[i]` values are at most `limits[i]` and above the limit before.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Histogram {
    #[prost(double, tag = "1")]
    pub(super) min: f64,
    #[prost(double, tag = "2")]
    pub(super) max: f64,
    #[prost(double, tag = "3")]
    pub(super) num: f64,
    #[prost(double, tag = "4")]
    pub(super) sum: f64,
    #[prost(double, tag = "5")]
    pub(super) sum_squares: f64,
    #[prost(double, repeated, tag = "6")]
    pub(super) limits: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    pub(super) counts: Vec<f64>,
}

/// Buckets of a histogram.
const BUCKETS: usize = 30;

impl Histogram {
    /// That of the finite ones of `values`, in at most about [`BUCKETS`] buckets of one width; `None` if there are none.
    pub(super) fn of(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let values = values.filter(|value| value.is_finite());
        let (min, max) = values.clone().fold(None, |range: Option<(f64, f64)>, value| {
            Some(range.map_or((value, value), |(min, max)| (min.min(value), max.max(value))))
        })?;
        let integers = values.clone().all(|value| value.fract() == 0.0);
        let (buckets, width, shift) = if integers {
            // Limits between integers: no bucket is empty because no integer falls into it.
            let width = ((max - min) / BUCKETS as f64).ceil().max(1.0);
            (((max - min) / width) as usize + 1, width, 0.5)
        } else {
            let buckets = if min < max { BUCKETS } else { 1 };
            (buckets, (max - min) / buckets as f64, 0.0)
        };
        let limit = |index| min + width * index as f64 - shift;
        let mut limits: Vec<f64> = (1..=buckets).map(limit).collect();
        limits[buckets - 1] = max;
        let (mut counts, mut sum, mut sum_squares) = (vec![0.0; buckets], 0.0, 0.0);
        for value in values {
            counts[limits.partition_point(|&limit| limit < value).min(buckets - 1)] += 1.0;
            sum += value;
            sum_squares += value * value;
        }
        let num = counts.iter().sum();
        Some(Self { min, max, num, sum, sum_squares, limits, counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_every_finite_value_once() {
        let values = [0.0, 0.5, 2.0, 3.0, f64::NAN, f64::INFINITY, 3.0];
        let histogram = Histogram::of(values.into_iter()).unwrap();
        assert_eq!((histogram.min, histogram.max, histogram.num), (0.0, 3.0, 5.0));
        assert_eq!((histogram.sum, histogram.sum_squares), (8.5, 22.25));
        assert_eq!((histogram.counts[0], histogram.counts[29]), (1.0, 2.0));
        assert_eq!(histogram.counts.iter().sum::<f64>(), 5.0);
        assert!(histogram.limits.is_sorted() && histogram.limits.len() == 30);
    }

    #[test]
    fn integers_have_buckets_of_integers() {
        let histogram = Histogram::of([0.0, 1.0, 1.0, 4.0].into_iter()).unwrap();
        assert_eq!(histogram.limits, [0.5, 1.5, 2.5, 3.5, 4.0]);
        assert_eq!(histogram.counts, [1.0, 2.0, 0.0, 0.0, 1.0]);
        let wide = Histogram::of((0..=100).map(f64::from)).unwrap();
        assert_eq!((wide.limits.len(), wide.counts[0], wide.counts[25]), (26, 4.0, 1.0));
    }

    #[test]
    fn equal_values_have_one_bucket_and_no_values_no_histogram() {
        let histogram = Histogram::of([2.0, 2.0].into_iter()).unwrap();
        assert_eq!((histogram.limits, histogram.counts), (vec![2.0], vec![2.0]));
        assert_eq!(Histogram::of([f64::NAN].into_iter()), None);
    }
}
