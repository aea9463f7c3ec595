//! Bipartite connectivity: masks in, masks out. Knows nothing of how layers execute or how they are trained.
//!
//! [`Links`] is the one currency. Initialisers ([`init`]) make it; [`removal`], [`percolation`] and [`regrowth`] turn
//! one into another; [`predictor`]s score its missing links. A [`Method`] is a composition of these, a
//! [`TopologyConfig`] a method with a run's settings, and a [`TopologyManager`] carries it out.

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
mod training;
mod update;

pub use config::{LayerSettings, TopologyConfig};
pub use density::DensitySchedule;
pub use init::TopologyInit;
pub use links::Links;
pub use manager::{LayerView, Rewiring, TopologyManager, TopologyState};
pub use method::{Composition, DensityDecay, Method};
pub use percolation::Chain;
pub use predictor::LinkPredictor;
pub use random::stream;
pub use report::{LayerReport, TopologyMonitor, UpdateReport};
