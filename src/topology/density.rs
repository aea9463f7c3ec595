//! Density schedules.
