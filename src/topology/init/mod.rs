//! Initial connectivity and initial weights.
