//! Percolation: links that lead nowhere are removed along chains of layers.
