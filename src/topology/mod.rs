//! Bipartite connectivity: masks in, masks out. Knows nothing of how layers execute or how they are trained.
//!
//! [`Links`] is the one currency. Initialisers ([`init`]) make it; [`removal`], [`percolation`] and [`regrowth`] turn
//! one into another; [`predictor`]s and [`scores`] of a user's own score its links and positions. A [`Composition`] of
//! these is a method, the published ones are [`Method`]s; a [`TopologyConfig`] is a method with a run's settings, and a
//! [`TopologyManager`] carries it out.

mod apportion;
mod composition;
mod config;
pub mod density;
pub mod init;
mod links;
mod manager;
mod method;
mod parts;
pub mod percolation;
pub mod predictor;
mod random;
pub mod regrowth;
pub mod removal;
mod report;
pub mod sampling;
pub mod scores;
mod start;
mod state;
mod training;
mod update;

pub use composition::{Composition, DensityDecay, FirstLinks};
pub use config::{LayerSettings, TopologyConfig};
pub use density::DensitySchedule;
pub use init::TopologyInit;
pub use links::Links;
pub use manager::TopologyManager;
pub use method::Method;
pub use percolation::Chain;
pub use predictor::LinkPredictor;
pub use random::stream;
pub use report::{LayerReport, TopologyMonitor, UpdateReport};
pub use state::TopologyState;
pub use update::{LayerView, Rewiring};
