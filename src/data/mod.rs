//! Data sets, readers and batchers.
