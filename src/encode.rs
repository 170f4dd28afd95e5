//! What outputs are made of: PNG and base64 for pictures inside HTML, numbers for people.

use std::io::Write;

use base64::Engine as _;
use flate2::{Compression, Crc, write::ZlibEncoder};

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A PNG with one byte a pixel, row-major: an index into `palette`, or a grey value without one.
pub(crate) fn png(width: usize, pixels: &[u8], palette: Option<&[[u8; 3]]>) -> Vec<u8> {
    let width = width.max(1);
    let mut header = Vec::with_capacity(13);
    header.extend((width as u32).to_be_bytes());
    header.extend(((pixels.len() / width) as u32).to_be_bytes());
    // 8 bits, palette or grey, deflate, no filter, not interlaced
    header.extend([8, if palette.is_some() { 3 } else { 0 }, 0, 0, 0]);
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in pixels.chunks(width) {
        // Each row begins with its filter: none. Writing to memory cannot fail.
        let _ = rows.write_all(&[0]).and_then(|()| rows.write_all(row));
    }
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, b"IHDR", &header);
    if let Some(palette) = palette {
        chunk(&mut file, b"PLTE", palette.as_flattened());
    }
    chunk(&mut file, b"IDAT", &rows.finish().unwrap_or_default());
    chunk(&mut file, b"IEND", &[]);
    file
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

/// A text as HTML and SVG show it.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `12345` as `12,345`.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn a_png_holds_its_pixels() {
        let palette = [[0, 0, 0], [255, 0, 0]];
        for palette in [None, Some(&palette[..])] {
            let file = png(3, &[1, 0, 1, 0, 1, 1], palette);
            assert_eq!(&file[..8], b"\x89PNG\r\n\x1a\n");
            assert_eq!(&file[16..24], [0, 0, 0, 3, 0, 0, 0, 2]);
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
