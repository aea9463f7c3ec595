//! The first layer's links folded into the shape of an image, as SVG.

use burn_cht::data::{ImageShape, ImageSource};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::canvas::{Area, Drawn, FAINT, INK, WIDTH, font, heading, picture, px, write};
use super::links::linked;

const HEIGHT: i32 = 448;
const TOP: i32 = 114;
/// Side of a folded layer in pixels, about.
const SIDE: i32 = 310;

/// Links per input of the first layer at one time.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) name: String,
    pub(crate) degrees: Vec<usize>,
}

/// Shape of the images of a data set.
pub(crate) fn image_shape(dataset: ImageSource) -> ImageShape {
    match dataset {
        ImageSource::Cifar10 => ImageShape::new(3, 32, 32),
        _ => ImageShape::new(1, 28, 28),
    }
}

/// Both moments side by side. They share a scale if they have the same number of links: one that shows half the
/// positions would leave nothing to see of one per cent.
pub(crate) fn draw(title: &str, note: &str, shape: ImageShape, moments: &[Moment; 2]) -> Drawn<String> {
    let folded = moments.each_ref().map(|moment| fold(&moment.degrees, shape));
    let most = folded.each_ref().map(|pixels| pixels.iter().copied().max().unwrap_or(0).max(1));
    let links = moments.each_ref().map(|moment| moment.degrees.iter().sum::<usize>());
    let scale = if links[0] == links[1] { [most[0].max(most[1]); 2] } else { most };
    picture(HEIGHT, |area| {
        heading(area, title, note)?;
        for (index, moment) in moments.iter().enumerate() {
            let left = 16 + index as i32 * (WIDTH / 2);
            let pixels = &folded[index];
            let (used, all) = (linked(pixels), pixels.len());
            write(area, &moment.name, (left, TOP - 34), font(15, INK, HPos::Left))?;
            let counts = format!("{} links at {used} of {all} pixels", links[index]);
            write(area, &counts, (left, TOP - 14), font(13, FAINT, HPos::Left))?;
            let side = draw_pixels(area, pixels, shape, (left, TOP), scale[index])?;
            draw_scale(area, (left + side + 16, TOP), side, scale[index])?;
        }
        Ok(())
    })
}

/// Links per pixel: channels, which lie one after the other in an input, are added up.
fn fold(degrees: &[usize], shape: ImageShape) -> Vec<usize> {
    let mut pixels = vec![0; shape.plane()];
    for (input, degree) in degrees.iter().enumerate() {
        pixels[input % shape.plane()] += degree;
    }
    pixels
}

/// Draws the folded layer and returns its width in pixels.
fn draw_pixels(
    area: &Area<'_>,
    pixels: &[usize],
    shape: ImageShape,
    (left, top): (i32, i32),
    scale: usize,
) -> Drawn<i32> {
    // Whole pixels, for sharp edges.
    let cell = px(SIDE / shape.width as i32);
    let (width, height) = (cell * shape.width as i32, cell * shape.height as i32);
    let corner = (px(left), px(top));
    for (index, &degree) in pixels.iter().enumerate().filter(|(_, degree)| **degree > 0) {
        let x = corner.0 + cell * (index % shape.width) as i32;
        let y = corner.1 + cell * (index / shape.width) as i32;
        // A unit of overlap, against seams where pictures are scaled.
        let square = [(x, y), (x + cell + 1, y + cell + 1)];
        area.draw(&Rectangle::new(square, shade(degree as f64 / scale as f64).filled()))?;
    }
    frame(area, corner, (width, height))?;
    Ok(width / px(1))
}

fn draw_scale(area: &Area<'_>, (left, top): (i32, i32), height: i32, scale: usize) -> Drawn {
    const STRIP: i32 = 4;
    let fewest = 1.0 / scale as f64;
    for strip in 0..height / STRIP {
        let share = 1.0 - (1.0 - fewest) * f64::from(strip * STRIP) / f64::from(height - STRIP);
        let corner = (px(left), px(top + strip * STRIP));
        let strip = [corner, (corner.0 + px(12), corner.1 + px(STRIP))];
        area.draw(&Rectangle::new(strip, shade(share).filled()))?;
    }
    frame(area, (px(left), px(top)), (px(12), px(height)))?;
    write(area, &scale.to_string(), (left + 18, top + 6), font(13, FAINT, HPos::Left))?;
    write(area, "1", (left + 18, top + height - 6), font(13, FAINT, HPos::Left))
}

fn frame(area: &Area<'_>, (x, y): (i32, i32), (width, height): (i32, i32)) -> Drawn {
    let corners = vec![(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)];
    area.draw(&PathElement::new(corners, FAINT.stroke_width(px(1) as u32)))
}

/// From nearly white to dark blue; pixels without a link are left white.
fn shade(share: f64) -> RGBColor {
    const STOPS: [[f64; 3]; 5] = [
        [230.0, 240.0, 250.0],
        [158.0, 202.0, 225.0],
        [66.0, 146.0, 198.0],
        [8.0, 81.0, 156.0],
        [4.0, 30.0, 66.0],
    ];
    let place = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let below = (place as usize).min(STOPS.len() - 2);
    let mix = |channel: usize| {
        let (from, to) = (STOPS[below][channel], STOPS[below + 1][channel]);
        (from + (place - below as f64) * (to - from)).round() as u8
    };
    RGBColor(mix(0), mix(1), mix(2))
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
    fn a_pixel_is_drawn_if_it_has_a_link_and_moments_of_as_many_links_share_a_scale() {
        let moment = |degrees: [usize; 4]| Moment { name: "m".into(), degrees: degrees.to_vec() };
        let squares = |moments| {
            let svg = draw("t", "n", ImageShape::new(1, 2, 2), &moments).unwrap();
            let side = px(SIDE / 2) + 1;
            let square = format!("width=\"{side}\" height=\"{side}\" opacity=\"1\" fill=\"");
            let colours = svg.match_indices(&square).map(|(at, _)| svg[at + square.len()..][..7].to_string());
            colours.collect::<Vec<_>>()
        };
        let alike = squares([moment([4, 4, 0, 0]), moment([8, 0, 0, 0])]);
        assert_eq!(alike.len(), 3);
        assert!(alike[0] == alike[1] && alike[1] != alike[2]);
        let denser = squares([moment([4, 4, 0, 0]), moment([2, 0, 0, 0])]);
        assert_eq!(denser, vec![alike[2].clone(); 3]);
    }
}
