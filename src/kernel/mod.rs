//! CPU kernels for compressed weights and their autodiff operation.
