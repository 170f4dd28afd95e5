//! Pictures as PNG files in memory, still and animated.

use std::io::Write;

use flate2::{Compression, Crc, write::ZlibEncoder};
use rayon::prelude::*;

/// A PNG with one byte a pixel, row-major: an index into a palette, of which one place may be
/// see-through, or a grey value without one.
pub(crate) fn png(
    width: usize,
    pixels: &[u8],
    palette: Option<(&[[u8; 3]], Option<u8>)>,
) -> Vec<u8> {
    let width = width.max(1);
    let mut header = Vec::with_capacity(13);
    header.extend((width as u32).to_be_bytes());
    header.extend(((pixels.len() / width) as u32).to_be_bytes());
    // 8 bits, palette or grey, deflate, no filter, not interlaced
    header.extend([8, if palette.is_some() { 3 } else { 0 }, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, b"IHDR", &header);
    if let Some((palette, clear)) = palette {
        chunk(&mut file, b"PLTE", palette.as_flattened());
        if let Some(clear) = clear {
            let mut opacity = vec![255; usize::from(clear)];
            opacity.push(0);
            chunk(&mut file, b"tRNS", &opacity);
        }
    }
    chunk(&mut file, b"IDAT", &deflate(pixels, width));
    chunk(&mut file, b"IEND", &[]);
    file
}

/// An animated PNG that plays for ever: frames of four bytes a pixel (red, green, blue, opacity),
/// row-major, each with the milliseconds it is shown. Viewers that know no animation show the first.
pub(crate) fn apng(width: usize, frames: &[(Vec<u8>, u16)]) -> Vec<u8> {
    let width = width.max(1);
    let height = frames.first().map_or(0, |(pixels, _)| pixels.len() / (4 * width));
    let size = [(width as u32).to_be_bytes(), (height as u32).to_be_bytes()].concat();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    // 8 bits, colours with opacity, deflate, no filter, not interlaced
    chunk(&mut file, b"IHDR", &[&size[..], &[8, 6, 0, 0, 0]].concat());
    // Frames; for ever is 0 times.
    chunk(&mut file, b"acTL", &[(frames.len() as u32).to_be_bytes(), [0; 4]].concat());
    let mut sequence = 0u32;
    let mut next = || {
        sequence += 1;
        (sequence - 1).to_be_bytes()
    };
    let packed: Vec<Vec<u8>> =
        frames.par_iter().map(|(pixels, _)| deflate(pixels, 4 * width)).collect();
    for (i, (rows, (_, pause))) in packed.iter().zip(frames).enumerate() {
        let mut control = next().to_vec();
        control.extend(&size);
        // The whole picture, from the corner.
        control.extend([0; 8]);
        control.extend(pause.to_be_bytes());
        control.extend(1_000u16.to_be_bytes());
        // Left as it is afterwards, and replacing what was there.
        control.extend([0, 0]);
        chunk(&mut file, b"fcTL", &control);
        match i {
            0 => chunk(&mut file, b"IDAT", rows),
            _ => chunk(&mut file, b"fdAT", &[&next()[..], rows].concat()),
        }
    }
    chunk(&mut file, b"IEND", &[]);
    file
}

/// Rows of so many bytes as PNG packs them.
fn deflate(pixels: &[u8], row: usize) -> Vec<u8> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in pixels.chunks(row) {
        // Each row begins with its filter: none. Writing to memory cannot fail.
        let _ = rows.write_all(&[0]).and_then(|()| rows.write_all(row));
    }
    rows.finish().unwrap_or_default()
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    let mut checksum = Crc::new();
    checksum.update(kind);
    checksum.update(data);
    file.extend((data.len() as u32).to_be_bytes());
    file.extend(kind);
    file.extend(data);
    file.extend(checksum.sum().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn an_animated_png_holds_its_frames_in_order() {
        let frames = [(vec![1u8, 2, 3, 4, 5, 6, 7, 8], 150), (vec![9; 8], 2_000)];
        let file = apng(1, &frames);
        let (mut at, mut sequence, mut shown) = (8, 0, Vec::new());
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
        let mut kinds = Vec::new();
        while at < file.len() {
            let length = number(&file[at..]) as usize;
            let (kind, data) = (&file[at + 4..at + 8], &file[at + 8..at + 8 + length]);
            kinds.push(String::from_utf8(kind.to_vec()).unwrap());
            let packed = match kind {
                b"IHDR" => {
                    assert_eq!(data[..10], [0, 0, 0, 1, 0, 0, 0, 2, 8, 6]);
                    None
                }
                b"acTL" => {
                    assert_eq!((number(data), number(&data[4..])), (2, 0));
                    None
                }
                b"fcTL" => {
                    assert_eq!(number(data), sequence);
                    sequence += 1;
                    let pause = u16::from_be_bytes(data[20..22].try_into().unwrap());
                    assert_eq!(pause, frames[shown.len()].1);
                    None
                }
                b"IDAT" => Some(data),
                b"fdAT" => {
                    assert_eq!(number(data), sequence);
                    sequence += 1;
                    Some(&data[4..])
                }
                _ => None,
            };
            if let Some(packed) = packed {
                let mut rows = Vec::new();
                flate2::read::ZlibDecoder::new(packed).read_to_end(&mut rows).unwrap();
                shown.push([&rows[1..5], &rows[6..10]].concat());
            }
            at += 12 + length;
        }
        assert_eq!(kinds, ["IHDR", "acTL", "fcTL", "IDAT", "fcTL", "fdAT", "IEND"]);
        assert_eq!(shown, frames.map(|(pixels, _)| pixels));
    }

    #[test]
    fn a_png_holds_its_pixels() {
        let palette = [[0, 0, 0], [255, 0, 0]];
        for palette in [None, Some((&palette[..], None)), Some((&palette[..], Some(1)))] {
            let file = png(3, &[1, 0, 1, 0, 1, 1], palette);
            assert_eq!(&file[..8], b"\x89PNG\r\n\x1a\n");
            assert_eq!(&file[16..24], [0, 0, 0, 3, 0, 0, 0, 2]);
            let clear = palette.is_some_and(|(_, clear)| clear.is_some());
            assert_eq!(file.windows(6).any(|w| w == b"tRNS\xff\x00"), clear);
            // The check sum of every PNG's last chunk.
            assert_eq!(&file[file.len() - 8..], b"IEND\xae\x42\x60\x82");
            let at = file.windows(4).position(|window| window == b"IDAT").unwrap();
            let length = u32::from_be_bytes(file[at - 4..at].try_into().unwrap()) as usize;
            let mut rows = Vec::new();
            flate2::read::ZlibDecoder::new(&file[at + 4..at + 4 + length])
                .read_to_end(&mut rows)
                .unwrap();
            assert_eq!(rows, [0, 1, 0, 1, 0, 0, 1, 1]);
        }
    }
}
