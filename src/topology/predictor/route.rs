//! Which way of computing node-based scores costs less.

use super::affinity::STORED_COLUMNS;
use crate::topology::Links;

/// Nanoseconds per floating-point operation of a dense product, one thread.
const DENSE_NS: f64 = 0.011;

/// Nanoseconds per entry that a contiguous sparse addition touches, one thread.
const SPARSE_NS: f64 = 0.078;

/// Nanoseconds per shared-neighbour count turned into a weight, one thread.
const WEIGHT_NS: f64 = 0.5;

/// Nanoseconds per scattered increment, one thread.
const SCATTER_NS: f64 = 1.3;

/// A way of computing node-based scores. Both give the same values, up to rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// Dense matrix products on the layer's device: [`LinkPredictor::scores`](super::LinkPredictor::scores).
    Matrix,
    /// Sparse products on the host: [`LinkPredictor::score_rows`](super::LinkPredictor::score_rows).
    Sparse,
}

impl Route {
    /// The cheaper route for these links; `on_cpu` tells whether the layer's device is the CPU.
    ///
    /// Elsewhere the products are the cheaper ones. On a CPU the cost of both is estimated:
    ///
    /// * matrix: four products, `4 m n (m + n)` operations;
    /// * sparse: `2 nnz (m + n)` entries touched, `m² + n²` weights. Where a layer is too wide for its weights to be
    ///   stored, the side of the columns costs `nnz n` weights and an increment for every walk of three links instead:
    ///   `Σ d_b d_j` over the links `(j, b)`.
    ///
    /// With the constants, measured with the crate's `predictor` bench on one core of a server with AVX-512, the sparse
    /// route is the cheaper one below a density of about 0.28. Both routes use all threads, so that their ratio hardly
    /// depends on the number of cores. Costs O(nnz).
    #[must_use]
    pub fn cheapest(links: &Links, on_cpu: bool) -> Self {
        if on_cpu && sparse_ns(links) < matrix_ns(links) { Self::Sparse } else { Self::Matrix }
    }
}

fn matrix_ns(links: &Links) -> f64 {
    let [m, n] = links.shape().map(|size| size as f64);
    DENSE_NS * 4.0 * m * n * (m + n)
}

fn sparse_ns(links: &Links) -> f64 {
    let [m, n] = links.shape().map(|size| size as f64);
    let nnz = links.nnz() as f64;
    let row_side = SPARSE_NS * 2.0 * nnz * m + WEIGHT_NS * m * m;
    if links.num_columns() <= STORED_COLUMNS {
        return row_side + SPARSE_NS * 2.0 * nnz * n + WEIGHT_NS * n * n;
    }
    let degrees = links.column_degrees();
    let walks: f64 = (0..links.num_rows())
        .map(|row| {
            let reached = links.row(row);
            reached.len() as f64 * reached.iter().map(|&column| degrees[column as usize] as f64).sum::<f64>()
        })
        .sum();
    row_side + WEIGHT_NS * nnz * n + SCATTER_NS * walks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `per_row` links in each row, spread over the columns.
    fn regular(shape: [usize; 2], per_row: usize) -> Links {
        let stride = shape[1] / per_row;
        let columns =
            |row: usize| (0..per_row).map(move |link| row * shape[1] + link * stride + row % stride);
        Links::try_from_positions(shape, (0..shape[0]).flat_map(columns).collect()).unwrap()
    }

    #[test]
    fn sparse_layers_take_sparse_products_on_a_cpu_and_dense_ones_take_matrix_products() {
        for shape in [[256, 256], [512, 128], [128, 512]] {
            assert_eq!(Route::cheapest(&regular(shape, shape[1] / 64), true), Route::Sparse, "{shape:?}");
            assert_eq!(Route::cheapest(&regular(shape, shape[1] / 2), true), Route::Matrix, "{shape:?}");
        }
    }

    #[test]
    fn another_device_than_the_cpu_always_takes_matrix_products() {
        assert_eq!(Route::cheapest(&regular([256, 256], 1), false), Route::Matrix);
        assert_eq!(Route::cheapest(&Links::empty([4, 4]), false), Route::Matrix);
    }

    #[test]
    fn every_link_added_makes_sparse_products_dearer_and_leaves_matrix_products_alone() {
        for shape in [[64, 96], [8, STORED_COLUMNS + 16]] {
            let costs: Vec<f64> = [0, 1, 2, 4]
                .map(|links| if links == 0 { Links::empty(shape) } else { regular(shape, links) })
                .iter()
                .map(sparse_ns)
                .collect();
            assert!(costs.windows(2).all(|pair| pair[0] < pair[1]), "{shape:?}: {costs:?}");
            assert_eq!(matrix_ns(&Links::empty(shape)), matrix_ns(&Links::full(shape)));
        }
    }
}
