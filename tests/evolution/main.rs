//! What sparse layers, the topology and the optimizer promise together, shown on small models that really train.
#![cfg(feature = "flex")]
#![recursion_limit = "256"]

mod ages;
mod bad_input;
mod custom;
mod frozen;
mod invariants;
mod layer;
mod layouts;
mod learner;
mod net;
mod numbers;
mod own_optimizer;
mod parts;
mod rates;
mod records;
mod reports;
mod resume;
mod spy;
mod start;
mod stepping;
mod threads;
mod walking;
