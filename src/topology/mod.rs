//! Bipartite connectivity: masks in, masks out. Knows nothing of how layers execute or how they are trained.

pub mod density;
pub mod init;
mod links;
pub mod percolation;
pub mod predictor;
mod random;
pub mod regrowth;
pub mod removal;
pub mod sampling;

pub use links::Links;
pub use random::stream;
