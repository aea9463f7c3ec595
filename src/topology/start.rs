//! Whether a model starts as its method does.

use super::Links;
use super::manager::{LayerState, TopologyManager};
use crate::error::{Error, Result};

impl TopologyManager {
    /// Refuses layers whose links, all layers together, are not as many as the method starts with.
    pub(super) fn check_densities(&self, states: &[LayerState]) -> Result<()> {
        let Some(expected) = self.config.initial_density()? else { return Ok(()) };
        let capacity = |layer: &LayerState| (layer.shape[0] * layer.shape[1]) as f64;
        let density = |layer: &LayerState| layer.initial_nnz as f64 / capacity(layer);
        let evolving: Vec<_> = states.iter().filter(|layer| !layer.settings.frozen).collect();
        let total: f64 = evolving.iter().map(|layer| capacity(layer)).sum();
        let links: usize = evolving.iter().map(|layer| layer.initial_nnz).sum();
        let distance = |layer: &LayerState| (density(layer) - expected).abs();
        let furthest = evolving.iter().max_by(|one, other| distance(one).total_cmp(&distance(other)));
        match furthest {
            // Rounding moves each layer by less than a link.
            Some(layer) if (links as f64 - expected * total).abs() > evolving.len() as f64 => {
                Err(Error::Mismatch {
                    what: "density of the model's sparse layers".into(),
                    found: format!(
                        "{:.6}, `{}` with {:.6} furthest off",
                        links as f64 / total,
                        layer.path,
                        density(layer)
                    ),
                    expected: format!(
                        "{expected:.6}, where `{}` starts: make layers with `TopologyConfig::layer` or \
                         `with_density({expected:.6})`",
                        self.config.composition().name
                    ),
                })
            }
            _ => Ok(()),
        }
    }

    /// Warns of evolving layers whose links are known to have been chosen in another way than the method's.
    pub(super) fn check_first_links(&mut self, layers: &[(&str, &Links)], states: &[LayerState]) {
        let method = self.config.composition();
        self.warnings = layers
            .iter()
            .zip(states)
            .filter(|(_, state)| !state.settings.frozen)
            .filter_map(|((path, links), _)| {
                let init = links.initialiser().filter(|init| !method.first_links.admits(init))?;
                Some(format!(
                    "the first links of `{path}` are {init}, those of `{}` are {}: make the layer with \
                     `TopologyConfig::layer`, or tell the configuration by `with_first_links`",
                    method.name,
                    self.config.first_links()
                ))
            })
            .collect();
        self.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    }
}
