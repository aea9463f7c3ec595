//! What the examples share, so that each holds only arguments, a model and data of its own: backend choice, arguments,
//! the run from a model to a summary, several runs in comparison, and the table at the end.

pub mod arguments;
pub mod backend;
pub mod by_option;
pub mod comparison;
pub mod exit;
pub mod interrupt;
pub mod lines;
pub mod links;
pub mod memory;
pub mod optimizer;
pub mod output;
pub mod parallel;
pub mod plan;
pub mod saved;
pub mod summary;
pub mod table;
pub mod topology;
pub mod training;
