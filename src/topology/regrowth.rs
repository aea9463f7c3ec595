//! Regrowth: which empty positions become links.
