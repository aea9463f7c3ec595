//! Counts as an image: a PNG inside an address.

use std::io::Write;

use burn_cht::{Error, Result};
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

/// A `data:` address of a PNG of `width` pixels a row, from white for 0 and nearly white for 1 to dark blue for `most`.
pub(crate) fn png(counts: &[usize], width: usize, most: usize) -> Result<String> {
    Ok(format!("data:image/png;base64,{}", base64(&encode(counts, width, most)?)))
}

fn encode(counts: &[usize], width: usize, most: usize) -> Result<Vec<u8>> {
    let height = counts.len() / width.max(1);
    let mut header = Vec::new();
    header.extend((width as u32).to_be_bytes());
    header.extend((height as u32).to_be_bytes());
    // Eight bits a channel, red, green and blue, without interlacing.
    header.extend([8, 2, 0, 0, 0]);
    let mut rows = Vec::with_capacity(height * (1 + 3 * width));
    for row in counts.chunks(width.max(1)) {
        // No filter.
        rows.push(0);
        rows.extend(row.iter().flat_map(|&count| shade(count as f64 / most.max(1) as f64)));
    }
    let failed = |error| Error::io("image of links")(error);
    let mut compressed = ZlibEncoder::new(Vec::new(), Compression::best());
    compressed.write_all(&rows).map_err(failed)?;
    let data = compressed.finish().map_err(failed)?;
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, content) in [(b"IHDR", header), (b"IDAT", data), (b"IEND", Vec::new())] {
        png.extend((content.len() as u32).to_be_bytes());
        let mut crc = Crc::new();
        for part in [&kind[..], &content] {
            crc.update(part);
            png.extend(part);
        }
        png.extend(crc.sum().to_be_bytes());
    }
    Ok(png)
}

/// White for nothing, then from nearly white to dark blue.
pub(crate) fn shade(share: f64) -> [u8; 3] {
    const STOPS: [[f64; 3]; 5] = [
        [230.0, 240.0, 250.0],
        [158.0, 202.0, 225.0],
        [66.0, 146.0, 198.0],
        [8.0, 81.0, 156.0],
        [4.0, 30.0, 66.0],
    ];
    if share <= 0.0 {
        return [255; 3];
    }
    let place = share.min(1.0) * (STOPS.len() - 1) as f64;
    let below = (place as usize).min(STOPS.len() - 2);
    [0, 1, 2].map(|channel| {
        let (from, to) = (STOPS[below][channel], STOPS[below + 1][channel]);
        (from + (place - below as f64) * (to - from)).round() as u8
    })
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for index in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * index) & 63) as usize] as char;
            text.push(if index <= group.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_padded_to_groups_of_four_letters() {
        let texts = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }

    #[test]
    fn a_pixel_without_a_link_is_white_and_more_links_are_darker() {
        let brightness = |share| shade(share).iter().map(|&channel| u32::from(channel)).sum::<u32>();
        assert_eq!(shade(0.0), [255; 3]);
        let shades = [0.0, 0.01, 0.3, 0.6, 1.0].map(brightness);
        assert!(shades.windows(2).all(|pair| pair[0] > pair[1]), "{shades:?}");
    }

    #[test]
    fn an_image_has_its_size_and_an_end() {
        let png = encode(&[0, 1, 2, 3, 4, 5], 3, 5).unwrap();
        let size = b"\0\0\0\x03\0\0\0\x02";
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") && &png[16..24] == size, "{png:x?}");
        assert!(png.ends_with(b"\0\0\0\0IEND\xaeB`\x82"), "{png:x?}");
    }
}
