//! The images of an experiment: links per pixel of the first layer, and attention heads.

use burn_cht::prelude::Method;
use burn_cht::topology::Links;
use burn_cht::{Error, Result};

use crate::curves::{file_name, setting};
use crate::group::Experiment;
use crate::heads;
use crate::lines::tell;
use crate::links::{self, FirstLinks};
use crate::mask::{self, Moment};
use crate::run::{ImageRun, Run};
use crate::svg::escape;

/// Groups of an experiment whose checkpoints are read, the first ones.
pub(crate) const GROUPS: usize = 24;

/// The section of an experiment: of the first seed of every group but dense ones, the first layer of a model of images
/// and the heads of one with attention. Pictures go to `pictures` as files too, with their names. `first` is the number
/// of the first group on the page.
pub(crate) fn section(
    experiment: &Experiment,
    first: usize,
    first_links: &mut FirstLinks,
    pictures: &mut Vec<(String, String)>,
) -> Result<String> {
    let (mut masks, mut attention) = (String::new(), String::new());
    let sparse = experiment.groups.iter().enumerate().filter(|(_, group)| group.method != Method::Dense);
    for (index, group) in sparse.take(GROUPS) {
        let (run, number, label) = (&group.runs[0], first + index, escape(&group.label));
        if let Some(images) = &run.images
            && let Some(moments) = moments(run, images, first_links)?
        {
            let shape = mask::image_shape(images.dataset);
            let figure =
                mask::figure(&format!("{}, seed {}", group.label, run.config.seed), shape, &moments)?;
            masks += &format!("<div data-group=\"{number}\">{figure}</div>");
            let title = format!("Links per pixel of the first layer: {}", group.label);
            let note = format!("{}; seed {}; white: no link", setting(experiment), run.config.seed);
            let name = format!("input-mask-{}", file_name(&group.label));
            pictures.push((name, mask::picture(&title, &note, shape, &moments)?));
        }
        // A run that goes on may exchange its checkpoint while it is read.
        let layers = links::attention(run).unwrap_or_else(|error| {
            tell!("warning: {}: no attention heads: {}", run.folder.display(), error.report());
            None
        });
        if let Some(layers) = layers {
            let figures = heads::figures(&layers.links, layers.head)?;
            if !figures.is_empty() {
                attention += &format!(
                    "<details data-group=\"{number}\"><summary>{label}, seed {}, after evaluation {}</summary>{figures}\
                     </details>\n",
                    run.config.seed, layers.epoch,
                );
            }
        }
    }
    let titled = |title: &str, note: &str, content: String| match content.is_empty() {
        true => content,
        false => format!("<h3>{title}</h3><p>{note}</p>{content}"),
    };
    let of_pixels = "White: no link. First seed of each method.";
    let of_heads = "A row of pixels for each output of the head, a column for each input, or for several of them. First \
                    seed of each method.";
    let masks = titled(
        "Links of the first layer",
        of_pixels,
        if masks.is_empty() { masks } else { format!("<div class=\"figures\">{masks}</div>") },
    );
    Ok(masks + &titled("Attention heads", of_heads, attention))
}

/// The first layer's links at the start, where they can be made anew, and in the newest checkpoint, if there is one.
fn moments(run: &Run, images: &ImageRun, first_links: &mut FirstLinks) -> Result<Option<Vec<Moment>>> {
    let shape = mask::image_shape(images.dataset);
    if shape.features() != images.model.inputs {
        let inputs = images.model.inputs;
        let reason = format!("a model of {inputs} inputs for images of {} values", shape.features());
        return Err(Error::data(&run.folder, reason));
    }
    let warn = |what: &str, error: &Error| {
        tell!("warning: {}: no picture of {what}: {}", run.folder.display(), error.report());
    };
    let last = links::last_links(run, &images.model).unwrap_or_else(|error| {
        warn("its newest links", &error);
        None
    });
    let degrees = |links: &Links| links::upright_degrees(links, images.dataset, shape);
    let Some((epoch, last)) = last else { return Ok(None) };
    let mut moments = Vec::new();
    match first_links.of(run, images) {
        Ok(links) => moments.push(Moment { name: "at the start".into(), degrees: degrees(&links) }),
        Err(error) => warn("its first links", &error),
    }
    moments.push(Moment { name: format!("after epoch {epoch}"), degrees: degrees(&last) });
    Ok(Some(moments))
}
