//! What a training run takes in memory, traffic and operations, from the model's configuration alone.

use crate::nn::Layout;

const FLOAT: usize = size_of::<f32>();

/// What of a model its training costs depend on. An *item* is an image or a token. Made by
/// [`MlpConfig::footprint`](super::mlp::MlpConfig::footprint) and those of the other models, without any weight in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    /// `[d_input, d_output]` of every sparse layer.
    pub sparse: Vec<[usize; 2]>,
    /// Number of all other parameters.
    pub dense: usize,
    /// Multiplications of the forward pass outside of sparse layers, an item.
    pub products: usize,
    /// Numbers that the forward pass keeps for the backward pass, an item, where there are kernels on the host.
    pub activations: usize,
    /// Numbers beside them while the backward pass is at the widest part of the model, an item.
    pub gradients: usize,
    /// Logits and their gradient while the loss is computed, an item, and at most at a time.
    pub logits: [usize; 2],
}

/// Bytes on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Weights, those of dense parameters included.
    pub weights: usize,
    /// Their gradients.
    pub gradients: usize,
    /// Moments of the optimizer.
    pub moments: usize,
    /// What is kept when the backward pass begins, with the logits or the gradients that there are for a time.
    pub activations: usize,
    /// Where the links are: index arrays of a compressed layer, masks of a masked one, and which positions were ever a link.
    pub indices: usize,
    /// The buffers that gradients are summed in; none on one rank.
    pub exchange: usize,
    /// What a step makes of the largest layer in passing: its gradient before and after it is zeroed or scaled.
    pub temporaries: usize,
    /// What rank 0 copies for a checkpoint that is written beside the training: links, their values and the moments. On the
    /// host, wherever the model is.
    pub checkpoint: usize,
}

impl Memory {
    /// All parts together: what a process on the CPU takes beside what it takes with a tiny model. Temporaries and a
    /// checkpoint's copies are there at different times.
    #[must_use]
    pub fn total(&self) -> usize {
        self.weights
            + self.gradients
            + self.moments
            + self.activations
            + self.indices
            + self.exchange
            + self.temporaries.max(self.checkpoint)
    }
}

impl Footprint {
    /// Links at `density`: each layer has the share of its positions, rounded.
    #[must_use]
    pub fn links(&self, density: f64) -> usize {
        self.sparse.iter().map(|&shape| links(shape, density)).sum()
    }

    /// Positions of the sparse layers, which are the links of the dense network.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.sparse.iter().map(|[inputs, outputs]| inputs * outputs).sum()
    }

    /// Bytes that a rank brings to the sum of a step: a number for every link and dense parameter, and one for the items.
    /// `at_all` is of a step whose dense gradient an update wants, which a compressed layer sends beside its own. Exactly
    /// [`SparseOptimizer::bytes_exchanged`](crate::optim::SparseOptimizer::bytes_exchanged). A ring of N ranks sends
    /// 2 (N − 1) / N times as many over each connection.
    #[must_use]
    pub fn step_bytes(&self, layout: Layout, density: f64, at_all: bool) -> usize {
        let links = self.links(density);
        let sparse = match (at_all, layout) {
            (false, _) => links,
            (true, Layout::Compressed) => links + self.positions(),
            (true, _) => self.positions(),
        };
        FLOAT * (sparse + self.dense + 1)
    }

    /// Floating-point operations of a training step on `items`: a multiplication and an addition for every link or
    /// product forward, and twice that backward. A masked layer computes all positions.
    #[must_use]
    pub fn operations(&self, layout: Layout, density: f64, items: usize) -> f64 {
        let sparse = if layout == Layout::Compressed { self.links(density) } else { self.positions() };
        6.0 * items as f64 * (sparse + self.products) as f64
    }

    /// What training takes of a device's memory, with so many moments a parameter and `items` of a batch there.
    #[must_use]
    pub fn memory(&self, layout: Layout, density: f64, moments: usize, items: usize, ranks: usize) -> Memory {
        let compressed = layout == Layout::Compressed;
        let stored = if compressed { self.links(density) } else { self.positions() };
        let parameters = FLOAT * (stored + self.dense);
        let indices = |&shape: &[usize; 2]| {
            let own = match compressed {
                true => index_bytes(shape, links(shape, density)),
                false => mask_bytes(shape, links(shape, density)),
            };
            own + shape[0] * shape[1] / 8
        };
        let stored_of = |&shape: &[usize; 2]| {
            if compressed { links(shape, density) } else { shape[0] * shape[1] }
        };
        let largest = self.sparse.iter().map(stored_of).max().unwrap_or(0);
        let [logits, most] = self.logits;
        let in_passing = (items * self.gradients).max((items * logits).min(most));
        Memory {
            weights: parameters,
            gradients: parameters,
            moments: moments * parameters,
            activations: FLOAT * (items * self.activations + in_passing),
            indices: self.sparse.iter().map(indices).sum(),
            exchange: if ranks > 1 { 2 * self.step_bytes(layout, density, false) } else { 0 },
            temporaries: 2 * FLOAT * largest,
            checkpoint: FLOAT * (2 * self.links(density) + self.dense) + moments * parameters,
        }
    }

    /// Paths of length three that a link predictor visits in one update: links, times the mean degree of either side.
    #[must_use]
    pub fn paths(&self, density: f64) -> f64 {
        let of = |&[inputs, outputs]: &[usize; 2]| {
            links([inputs, outputs], density) as f64 * (density * inputs as f64) * (density * outputs as f64)
        };
        self.sparse.iter().map(of).sum()
    }
}

fn links([inputs, outputs]: [usize; 2], density: f64) -> usize {
    ((inputs * outputs) as f64 * density).round() as usize
}

/// Links in row-major order on the host: a column each, and where rows start.
fn list_bytes([inputs, _]: [usize; 2], links: usize) -> usize {
    4 * links + 8 * (inputs + 1)
}

/// That list and the kernels' index arrays: links by input and by output, and a permutation between the two.
fn index_bytes([inputs, outputs]: [usize; 2], links: usize) -> usize {
    let id = if inputs.max(outputs) <= 1 << 16 { 2 } else { 4 };
    list_bytes([inputs, outputs], links) + (2 * id + 4) * links + 4 * inputs + 12 * outputs
}

/// That list, a byte a position for the mask and a bit for the backward pass.
fn mask_bytes([inputs, outputs]: [usize; 2], links: usize) -> usize {
    list_bytes([inputs, outputs], links) + inputs * outputs + inputs * outputs.div_ceil(16) * 2
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Flex;
    use burn::module::Module;

    use super::*;
    use crate::model::mlp::MlpConfig;

    #[test]
    fn the_mlps_parameters_are_counted() {
        let config = MlpConfig::new(50, vec![40, 30], 7);
        let footprint = config.footprint();
        let model = config.with_density(0.1).init::<Flex>(&Default::default());
        assert_eq!(footprint.sparse, [[50, 40], [40, 30]]);
        let matrices = 50 * 40 + 40 * 30;
        let stored = crate::nn::hook::collect::<Flex, _>(&model);
        let own: usize = stored.iter().map(|(_, weight)| weight.links().nnz()).sum();
        assert_eq!(footprint.links(0.1), own);
        assert_eq!(footprint.positions(), matrices);
        let full = MlpConfig::new(50, vec![40, 30], 7).with_density(1.0).init::<Flex>(&Default::default());
        assert_eq!(footprint.dense + matrices, full.num_params());
    }

    #[cfg(feature = "text")]
    #[test]
    fn the_parameters_of_language_and_translation_models_are_counted() {
        use crate::model::llama::LlamaConfig;
        use crate::model::transformer::{Positions, TransformerConfig, Tying};

        for tied in [false, true] {
            let config = LlamaConfig::new(50, 16, 24, 2, 4).with_kv_heads(Some(2)).with_tied_head(tied);
            let footprint = config.footprint(8);
            assert_eq!(footprint.dense + footprint.positions(), config.num_parameters());
        }
        for tying in [Tying::None, Tying::Target, Tying::All] {
            for norm_first in [false, true] {
                for positions in [Positions::Sinusoidal, Positions::Learned] {
                    let config = TransformerConfig::new(40, 40)
                        .with_d_model(16)
                        .with_d_ff(24)
                        .with_n_heads(4)
                        .with_encoder_layers(2)
                        .with_decoder_layers(1)
                        .with_max_length(9)
                        .with_norm_first(norm_first)
                        .with_positions(positions)
                        .with_tying(tying)
                        .with_density(1.0);
                    let footprint = config.footprint(8);
                    let model = config.init::<Flex>(&Default::default());
                    let counted = footprint.dense + footprint.positions();
                    assert_eq!(counted, model.num_params(), "{tying:?} {norm_first} {positions:?}");
                }
            }
        }
    }

    #[test]
    fn parts_of_the_memory_are_those_of_the_layout() {
        let footprint = Footprint {
            sparse: vec![[100, 50]],
            dense: 10,
            products: 0,
            activations: 3,
            gradients: 2,
            logits: [4, 20],
        };
        let compressed = footprint.memory(Layout::Compressed, 0.1, 2, 8, 1);
        assert_eq!((compressed.weights, compressed.moments), (4 * 510, 8 * 510));
        assert_eq!(compressed.activations, 4 * (8 * 3 + 20));
        assert_eq!(
            (compressed.indices, compressed.exchange),
            (12 * 500 + 8 * 101 + 4 * 100 + 12 * 50 + 625, 0)
        );
        assert_eq!((compressed.temporaries, compressed.checkpoint), (8 * 500, 4 * 1010 + 8 * 510));
        let masked = footprint.memory(Layout::Masked, 0.1, 1, 8, 4);
        assert_eq!((masked.weights, masked.gradients, masked.moments), (4 * 5010, 4 * 5010, 4 * 5010));
        assert_eq!(masked.exchange, 2 * 4 * 511);
        assert_eq!(footprint.operations(Layout::Masked, 0.1, 8), 6.0 * 8.0 * 5000.0);
    }

    const MIB: f64 = (1 << 20) as f64;

    /// `peak` is `peak_memory_bytes` of a run's summary in MiB, `tiny` that of the same program with a tiny model
    /// (docs/scaling.md, Plans, has the commands).
    fn assert_close(memory: Memory, tiny: f64, peak: f64, what: &str) {
        let planned = tiny + memory.total() as f64 / MIB;
        assert!((planned / peak - 1.0).abs() < 0.16, "{what}: planned {planned:.1} MiB, measured {peak}");
    }

    #[test]
    fn the_memory_of_an_mlp_is_near_measured_peaks() {
        use Layout::{Compressed, Masked};
        for (width, batch, density, layout, peak) in [
            (1000, 32, 0.01, Compressed, 23.4),
            (1000, 512, 0.01, Compressed, 33.8),
            (1000, 512, 0.1, Compressed, 44.9),
            (1000, 512, 0.01, Masked, 91.0),
            (1000, 2500, 0.01, Compressed, 76.3),
            (2000, 512, 0.01, Compressed, 48.2),
            (2000, 512, 0.1, Compressed, 84.1),
            (2000, 512, 0.01, Masked, 189.8),
        ] {
            let footprint = MlpConfig::new(784, vec![width; 3], 10).footprint();
            let memory = footprint.memory(layout, density, 1, batch, 1);
            assert_close(memory, 19.2, peak, &format!("width {width}, batch {batch}, {density} {layout:?}"));
        }
    }

    #[cfg(feature = "text")]
    #[test]
    fn the_memory_of_language_and_translation_models_is_near_measured_peaks() {
        use crate::model::llama::LlamaSize;
        use crate::model::transformer::TransformerConfig;

        for (size, vocabulary, length, batch, density, peak) in [
            (LlamaSize::M1, 512, 128, 4, 0.2, 93.7),
            (LlamaSize::M1, 512, 128, 64, 0.2, 384.4),
            (LlamaSize::M1, 512, 32, 64, 0.05, 143.5),
            (LlamaSize::M1, 512, 256, 32, 0.05, 381.0),
            (LlamaSize::M1, 2048, 128, 16, 0.2, 187.6),
            (LlamaSize::M3, 512, 128, 16, 0.2, 249.8),
        ] {
            let footprint = size.config(vocabulary).footprint(length);
            let memory = footprint.memory(Layout::Compressed, density, 2, batch * length, 1);
            assert_close(memory, 63.8, peak, &format!("{size}, {batch} of {length} tokens"));
        }
        for ([width, inner, layers], vocabulary, tokens, dropout, peak) in [
            ([128, 256, 2], 700, 512, 0.1, 58.2),
            ([128, 256, 2], 700, 8192, 0.1, 351.1),
            ([128, 256, 2], 700, 8192, 0.0, 312.1),
            ([128, 256, 2], 1400, 8192, 0.1, 354.9),
            ([256, 512, 3], 700, 4096, 0.1, 474.5),
        ] {
            let config = TransformerConfig::new(vocabulary, vocabulary)
                .with_d_model(width)
                .with_d_ff(inner)
                .with_n_heads(4)
                .with_encoder_layers(layers)
                .with_decoder_layers(layers)
                .with_dropout(dropout);
            let memory = config.footprint(12).memory(Layout::Compressed, 0.1, 2, tokens, 1);
            assert_close(memory, 27.4, peak, &format!("width {width}, {tokens} tokens, dropout {dropout}"));
        }
    }
}
