//! The loss of a classifier over an epoch, weighted by items.

use std::sync::Arc;

use burn::prelude::*;
use burn::train::ClassificationOutput;
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

/// The loss of a [`ClassificationOutput`], a mean over the items of a batch. Its value over an epoch is the mean over
/// the items of all batches, as it is of Burn's `AccuracyMetric`; Burn's `LossMetric` takes the mean of the batches'
/// means, in which the items of a short last batch weigh more than others.
#[derive(Clone)]
pub struct ItemLossMetric {
    name: MetricName,
    state: NumericMetricState,
}

/// The loss of one batch, and how many items it is the mean of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ItemLoss {
    /// Mean loss per item.
    pub loss: f64,
    /// Number of items.
    pub items: usize,
}

impl ItemLossMetric {
    /// The metric; its name is `Loss`.
    #[must_use]
    pub fn new() -> Self {
        Self { name: Arc::new("Loss".to_string()), state: NumericMetricState::new() }
    }
}

impl Default for ItemLossMetric {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Backend> Adaptor<ItemLoss> for ClassificationOutput<B> {
    fn adapt(&self) -> ItemLoss {
        let loss = self.loss.clone().mean().into_data().iter::<f64>().next().unwrap_or(f64::NAN);
        ItemLoss { loss, items: self.targets.dims()[0] }
    }
}

impl Metric for ItemLossMetric {
    type Input = ItemLoss;

    fn name(&self) -> MetricName {
        Arc::clone(&self.name)
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes { unit: None, higher_is_better: false }.into()
    }

    fn update(&mut self, batch: &ItemLoss, _metadata: &MetricMetadata) -> SerializedEntry {
        self.state.update(batch.loss, batch.items, FormatOptions::new(self.name()).precision(2))
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Numeric for ItemLossMetric {
    fn value(&self) -> NumericEntry {
        self.state.current_value()
    }

    fn running_value(&self) -> NumericEntry {
        self.state.running_value()
    }
}

#[cfg(test)]
mod tests {
    use burn::data::dataloader::Progress;

    use super::*;

    #[test]
    fn an_epoch_is_worth_its_items_together() {
        let metadata = MetricMetadata {
            progress: Progress::new(1, 1),
            global_progress: Progress::new(1, 1),
            iteration: Some(1),
            lr: None,
        };
        let mut metric = ItemLossMetric::new();
        metric.update(&ItemLoss { loss: 2.0, items: 3 }, &metadata);
        metric.update(&ItemLoss { loss: 6.0, items: 1 }, &metadata);
        // (3 · 2 + 1 · 6) / 4; the mean of the batches' means were 4.
        assert_eq!((metric.running_value().current(), metric.value().current()), (3.0, 6.0));
        metric.clear();
        metric.update(&ItemLoss { loss: 5.0, items: 2 }, &metadata);
        assert_eq!(metric.running_value().current(), 5.0);
    }

    #[cfg(feature = "flex")]
    #[test]
    fn a_batch_has_as_many_items_as_targets() {
        type B = burn::backend::Flex;
        let device = Default::default();
        let output = ClassificationOutput::<B>::new(
            Tensor::from_data([0.25], &device),
            Tensor::zeros([3, 2], &device),
            Tensor::from_data([0, 1, 1], &device),
        );
        assert_eq!(Adaptor::<ItemLoss>::adapt(&output), ItemLoss { loss: 0.25, items: 3 });
    }
}
