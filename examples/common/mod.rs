//! What the examples share: backend choice, arguments, and the table at the end.

pub mod arguments;
pub mod backend;
pub mod table;
pub mod topology;
