//! A blank picture and the type on it.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Drawing fails only as the backend's writing does, and this one writes to memory.
pub(crate) type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Width of every picture, that of a README.
pub(crate) const WIDTH: i32 = 860;
pub(crate) const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
pub(crate) const FAINT: RGBColor = RGBColor(0x59, 0x63, 0x6e);
pub(crate) const GRID: RGBColor = RGBColor(0xe4, 0xe7, 0xeb);

/// Plotters places everything on whole units, so a pixel of the picture is some of them.
const UNITS: i32 = 4;

/// Lengths of the picture in the units it is drawn in.
pub(crate) const fn px(pixels: i32) -> i32 {
    pixels * UNITS
}

/// An SVG of `WIDTH` × `height` pixels. Its background is filled: pages may be dark.
pub(crate) fn picture(height: i32, draw: impl FnOnce(&Area<'_>) -> Drawn) -> Drawn<String> {
    let mut svg = String::new();
    let size = (px(WIDTH) as u32, px(height) as u32);
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
    }
    let units = format!("width=\"{}\" height=\"{}\"", size.0, size.1);
    Ok(svg.replacen(&units, &format!("width=\"{WIDTH}\" height=\"{height}\""), 1))
}

/// Type of `size` pixels, anchored at its left end, centre or right end and at half its height.
pub(crate) fn font(size: i32, colour: RGBColor, anchor: HPos) -> TextStyle<'static> {
    // The backend divides by 1.24.
    let size = f64::from(px(size)) * 1.24;
    let font = FontDesc::new(FontFamily::SansSerif, size, FontStyle::Normal);
    let color = colour.to_backend_color();
    TextStyle { font, color, pos: Pos::new(anchor, VPos::Center) }
}

/// Writes `text` at a point given in pixels.
pub(crate) fn write(area: &Area<'_>, text: &str, (x, y): (i32, i32), style: TextStyle<'_>) -> Drawn {
    area.draw(&Text::new(text, (px(x), px(y)), style))
}

/// The title and a line below it.
pub(crate) fn heading(area: &Area<'_>, title: &str, note: &str) -> Drawn {
    write(area, title, (16, 24), font(18, INK, HPos::Left))?;
    write(area, note, (16, 46), font(13, FAINT, HPos::Left))
}
