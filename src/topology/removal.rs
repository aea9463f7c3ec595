//! Removal: which links are kept.
