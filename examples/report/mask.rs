//! The first layer's links folded into the shape of an image.

use burn_cht::Result;
use burn_cht::data::{ImageShape, ImageSource};

use crate::links::linked;
use crate::pixels::{png, shade};
use crate::svg::{escape, file};

/// Links per input of the first layer at one time.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) name: String,
    pub(crate) degrees: Vec<usize>,
}

/// Width of a drawing, and the side of a folded layer in it.
const WIDTH: f64 = 720.0;
const SIDE: f64 = 290.0;
const TOP: f64 = 48.0;

/// Shape of the images of a data set.
pub(crate) fn image_shape(dataset: ImageSource) -> ImageShape {
    match dataset {
        ImageSource::Cifar10 => ImageShape::new(3, 32, 32),
        _ => ImageShape::new(1, 28, 28),
    }
}

/// Moments side by side, in a figure of the page. They share a scale if they have the same number of links: one that
/// shows half the positions would leave nothing to see of one per cent.
pub(crate) fn figure(title: &str, shape: ImageShape, moments: &[Moment]) -> Result<String> {
    Ok(format!(
        "<figure><figcaption>{0}</figcaption><svg role=\"img\" viewBox=\"0 0 {WIDTH} {1}\"><title>Links per pixel: {0}\
         </title>{2}</svg></figure>\n",
        escape(title),
        TOP + SIDE + 8.0,
        content(shape, moments)?
    ))
}

/// The same as a file of its own.
pub(crate) fn picture(title: &str, note: &str, shape: ImageShape, moments: &[Moment]) -> Result<String> {
    let content = format!("<g transform=\"translate(16 66)\">{}</g>", content(shape, moments)?);
    Ok(file(WIDTH + 16.0, 66.0 + TOP + SIDE + 16.0, title, note, &content))
}

fn content(shape: ImageShape, moments: &[Moment]) -> Result<String> {
    let folded: Vec<Vec<usize>> = moments.iter().map(|moment| fold(&moment.degrees, shape)).collect();
    let links = |pixels: &Vec<usize>| pixels.iter().sum::<usize>();
    let alike = folded.windows(2).all(|pair| links(&pair[0]) == links(&pair[1]));
    let most = |pixels: &Vec<usize>| pixels.iter().copied().max().unwrap_or(0).max(1);
    let shared = folded.iter().map(most).max().unwrap_or(1);
    let mut drawn = String::new();
    for (index, (moment, pixels)) in moments.iter().zip(&folded).enumerate() {
        let (x, scale) = (index as f64 * WIDTH / 2.0, if alike { shared } else { most(pixels) });
        let counts = format!("{} links at {} of {} pixels", links(pixels), linked(pixels), pixels.len());
        drawn += &format!(
            "<text x=\"{x}\" y=\"15\">{}</text><text class=\"tick\" x=\"{x}\" y=\"36\">{counts}</text>\
             <image class=\"pixels\" x=\"{x}\" y=\"{TOP}\" width=\"{SIDE}\" height=\"{SIDE}\" href=\"{}\"/>\
             <rect class=\"axis\" x=\"{x}\" y=\"{TOP}\" width=\"{SIDE}\" height=\"{SIDE}\"/>",
            escape(&moment.name),
            png(pixels, shape.width, scale)?,
        );
        drawn += &key(x + SIDE + 12.0, scale);
    }
    Ok(drawn)
}

/// The colours with the numbers of links that they stand for.
fn key(x: f64, scale: usize) -> String {
    const STRIPS: usize = 58;
    let fewest = 1.0 / scale as f64;
    let mut drawn = String::new();
    for strip in 0..STRIPS {
        let share = 1.0 - (1.0 - fewest) * strip as f64 / (STRIPS - 1) as f64;
        let [red, green, blue] = shade(share);
        let (y, height) = (TOP + SIDE * strip as f64 / STRIPS as f64, SIDE / STRIPS as f64 + 0.5);
        drawn += &format!(
            "<path fill=\"#{red:02x}{green:02x}{blue:02x}\" d=\"M{x} {y:.1}h12v{height:.1}h-12z\"/>"
        );
    }
    let (text, last) = (x + 17.0, TOP + SIDE);
    drawn
        + &format!(
            "<text class=\"tick\" x=\"{text}\" y=\"{}\">{scale}</text><text class=\"tick\" x=\"{text}\" y=\"{last}\">1</text>",
            TOP + 12.0
        )
}

/// Links per pixel: channels, which lie one after the other in an input, are added up.
fn fold(degrees: &[usize], shape: ImageShape) -> Vec<usize> {
    let mut pixels = vec![0; shape.plane()];
    for (input, degree) in degrees.iter().enumerate() {
        pixels[input % shape.plane()] += degree;
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_of_a_pixel_are_added_up() {
        let shape = ImageShape::new(3, 1, 2);
        assert_eq!(fold(&[1, 2, 10, 20, 100, 200], shape), [111, 222]);
        assert_eq!(fold(&[1, 2], ImageShape::new(1, 1, 2)), [1, 2]);
    }

    #[test]
    fn moments_of_as_many_links_share_a_scale() {
        let shape = ImageShape::new(1, 2, 2);
        let moment = |degrees: [usize; 4]| Moment { name: "m".into(), degrees: degrees.to_vec() };
        let image = |pixels: [usize; 4], most| png(&pixels, 2, most).unwrap();
        let alike = figure("t", shape, &[moment([4, 4, 0, 0]), moment([8, 0, 0, 0])]).unwrap();
        assert!(alike.contains(&image([4, 4, 0, 0], 8)) && alike.contains(&image([8, 0, 0, 0], 8)));
        let denser = figure("t", shape, &[moment([4, 4, 0, 0]), moment([2, 0, 0, 0])]).unwrap();
        assert!(denser.contains(&image([4, 4, 0, 0], 4)) && denser.contains(&image([2, 0, 0, 0], 2)));
    }
}
