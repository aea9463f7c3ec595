//! Link predictors: how likely is a missing link, by the topology alone.

/// A Cannistraci-Hebb link predictor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum LinkPredictor {
    /// CH2 over the nodes of the local community.
    Ch2L3n,
    /// CH3 over the nodes of the local community.
    Ch3L3n,
    /// CH2 over paths of length 3.
    Ch2L3p,
    /// CH3 over paths of length 3.
    Ch3L3p,
}
