//! The links of attention heads, as small images.

use burn_cht::Result;
use burn_cht::topology::Links;

use crate::pixels::png;
use crate::svg::escape;

/// Most pixels of an image in either direction; a pixel of a larger matrix is the links of several positions.
const MOST: usize = 64;

/// The heads of every projection to queries, keys or values among `layers`, a row of images each; nothing if there is
/// none. `head` is the width of a head.
pub(crate) fn figures(layers: &[(String, impl AsRef<Links>)], head: usize) -> Result<String> {
    let mut rows = String::new();
    for (path, links) in layers {
        let links = links.as_ref();
        let is_projection = ["query", "key", "value"].iter().any(|name| path.ends_with(&format!(".{name}")));
        if !is_projection || head == 0 || !links.num_columns().is_multiple_of(head) {
            continue;
        }
        let images: Vec<Image> =
            (0..links.num_columns() / head).map(|index| Image::of(links, index * head, head)).collect();
        let most = images.iter().flat_map(|image| &image.counts).copied().max().unwrap_or(0);
        rows += &format!("<h4>{}</h4><div class=\"heads\">", escape(path));
        for (index, image) in images.iter().enumerate() {
            let (all, inputs) = (image.links, image.inputs);
            rows += &format!(
                "<figure><img class=\"pixels\" alt=\"links of head {index} of {}\" src=\"{}\"><figcaption>head {index}: \
                 {all} links, {inputs} inputs</figcaption></figure>",
                escape(path),
                png(&image.counts, image.width, most)?,
            );
        }
        rows += "</div>";
    }
    Ok(rows)
}

/// The links of some outputs: a row of pixels for outputs, a column for inputs.
struct Image {
    counts: Vec<usize>,
    width: usize,
    links: usize,
    /// Inputs with at least one link.
    inputs: usize,
}

impl Image {
    /// That of `count` outputs from `first` on.
    fn of(links: &Links, first: usize, count: usize) -> Self {
        let across = links.num_rows().div_ceil(MOST).max(1);
        let down = count.div_ceil(MOST).max(1);
        let (width, height) = (links.num_rows().div_ceil(across), count.div_ceil(down));
        let (mut counts, mut all, mut inputs) = (vec![0; width * height], 0, 0);
        for input in 0..links.num_rows() {
            let own = links.row(input).iter().map(|&output| output as usize);
            let mut here = 0;
            for output in own.filter(|output| (first..first + count).contains(output)) {
                counts[(output - first) / down * width + input / across] += 1;
                here += 1;
            }
            all += here;
            inputs += usize::from(here > 0);
        }
        Self { counts, width, links: all, inputs }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_head_has_its_own_outputs_and_a_row_of_pixels_for_each() {
        // Three inputs, four outputs, two of them a head.
        let links = Links::try_from_positions([3, 4], vec![0, 3, 6, 11]).unwrap();
        let head = |first| Image::of(&links, first, 2);
        assert_eq!((head(0).counts, head(0).width), (vec![1, 0, 0, 0, 0, 0], 3));
        assert_eq!((head(2).counts, head(2).links, head(2).inputs), (vec![0, 1, 0, 1, 0, 1], 3, 3));
    }

    #[test]
    fn a_large_head_is_summed_up_in_blocks() {
        let links = Links::full([100, 130]);
        let image = Image::of(&links, 0, 130);
        assert_eq!((image.width, image.counts.len()), (50, 50 * 44));
        assert_eq!((image.counts[0], image.counts.iter().sum::<usize>()), (2 * 3, 13_000));
    }

    #[test]
    fn layers_that_are_no_projections_of_attention_have_no_heads() {
        let layer = |path: &str| (path.to_string(), Arc::new(Links::full([4, 4])));
        assert_eq!(figures(&[layer("encoder.layers.0.feed_forward.inner")], 2).unwrap(), "");
        let drawn = figures(&[layer("encoder.layers.0.attention.key")], 2).unwrap();
        assert_eq!(drawn.matches("<img").count(), 2);
    }
}
