//! What goes wrong between ranks.

/// An error of one rank that all ranks see.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RankError {
    /// Ranks have not come to where all others wait: they hang, have died, or are slower than the time-out allows.
    #[error("rank{} {} did not come to {what} within {seconds} s: hanging, dead, or too slow", if missing.len() == 1 { "" } else { "s" }, list(missing))]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The ranks that did not come; empty if none could be told.
        missing: Vec<usize>,
        /// The time-out.
        seconds: f64,
    },

    /// Another rank has ended with an error.
    #[error("rank {rank} has ended: {reason}")]
    Failed {
        /// That rank.
        rank: usize,
        /// Its error.
        reason: String,
    },

    /// A rank does not have what rank 0 has.
    #[error("{what} of rank {rank}: {found}, but {expected} on rank 0")]
    Differs {
        /// What was compared, with the layer and the update where there are such.
        what: String,
        /// The first rank that differs.
        rank: usize,
        /// What it has.
        found: String,
        /// What rank 0 has.
        expected: String,
    },

    /// The engine could not be started.
    #[error("ranks cannot be started: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

fn list(ranks: &[usize]) -> String {
    match ranks {
        [] => "?".into(),
        ranks => ranks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}
