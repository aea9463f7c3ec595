//! Metrics for Burn's learners: the topology beside the loss, a stop at a loss that is not finite, and loss,
//! perplexity and accuracy counted by tokens.

mod finite_loss;
mod item_loss;
mod tensorboard;
mod token;
mod token_output;
mod topology;

pub use finite_loss::FiniteLossMetric;
pub use item_loss::{ItemLoss, ItemLossMetric};
pub use tensorboard::TensorBoard;
pub use token::{TokenMetric, TokenQuantity};
pub use token_output::{TokenOutput, TokenStatistics};
pub use topology::{TopologyMetric, TopologyQuantity};
