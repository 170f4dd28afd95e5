//! Compact forms of numbers and pictures: base64, plotly's typed arrays, PNG.

use std::io::{self, Write};

use flate2::{Compression, Crc, write::ZlibEncoder};
use serde_json::{Value, json};

/// Arrays up to this length stay readable numbers.
const SHORT: usize = 32;

/// Standard base64 with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, &b| word << 8 | u32::from(b))
            << (8 * (3 - chunk.len()) as u32);
        for i in 0..4 {
            if i <= chunk.len() {
                text.push(ALPHABET[(word >> (18 - 6 * i) & 63) as usize] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// A matrix as plotly's typed array: base64 of little-endian f32, row-major.
pub(super) fn matrix(values: &[f32], rows: usize, columns: usize) -> Value {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    json!({"dtype": "f4", "bdata": base64(&bytes), "shape": format!("{rows}, {columns}")})
}

/// A vector: numbers where there are few, else a typed array of f64.
pub(super) fn vector(values: &[f64]) -> Value {
    if values.len() <= SHORT {
        return json!(values);
    }
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    json!({"dtype": "f8", "bdata": base64(&bytes)})
}

/// A PNG of `width` columns whose pixels are indices into a palette.
///
/// # Errors
/// None in practice: everything is written to memory.
pub(super) fn png(width: usize, pixels: &[u8], palette: &[[u8; 3]]) -> io::Result<Vec<u8>> {
    let height = pixels.len() / width.max(1);
    let mut header = Vec::with_capacity(13);
    header.extend((width as u32).to_be_bytes());
    header.extend((height as u32).to_be_bytes());
    header.extend([8, 3, 0, 0, 0]); // 8 bits, palette, deflate, no filter, not interlaced
    let mut data = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in pixels.chunks(width.max(1)) {
        data.write_all(&[0])?;
        data.write_all(row)?;
    }
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, b"IHDR", &header);
    chunk(&mut file, b"PLTE", palette.as_flattened());
    chunk(&mut file, b"IDAT", &data.finish()?);
    chunk(&mut file, b"IEND", &[]);
    Ok(file)
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(data);
    file.extend((data.len() as u32).to_be_bytes());
    file.extend(kind);
    file.extend(data);
    file.extend(crc.sum().to_be_bytes());
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The inverse of [`base64`], for tests.
    pub(in crate::plot) fn decode(text: &str) -> Vec<u8> {
        let digit = |c: u8| match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let bits: Vec<u8> = text.bytes().filter(|&c| c != b'=').map(digit).collect();
        bits.chunks(4)
            .flat_map(|four| {
                let word = four.iter().fold(0_u32, |w, &d| w << 6 | u32::from(d));
                let word = word << (6 * (4 - four.len()) as u32);
                word.to_be_bytes()[1..four.len()].to_vec()
            })
            .collect()
    }

    #[test]
    fn base64_has_the_published_values() {
        // RFC 4648, section 10
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(decode(coded), plain.as_bytes());
        }
    }

    #[test]
    fn typed_arrays_hold_the_numbers() {
        let array = matrix(&[1.5, -2.0], 1, 2);
        let bytes = decode(array["bdata"].as_str().unwrap());
        assert_eq!(bytes, [1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat());
        assert_eq!(array["shape"], "1, 2");
        assert_eq!(vector(&[1.0, 2.0]), json!([1.0, 2.0]));
        assert_eq!(vector(&[0.5; 40])["dtype"], "f8");
    }

    #[test]
    fn a_png_has_its_parts() {
        let file = png(2, &[0, 1, 1, 0], &[[0, 0, 0], [255, 0, 0]]).unwrap();
        assert_eq!(&file[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!(&file[16..24], [0, 0, 0, 2, 0, 0, 0, 2]);
        // The check sum of every PNG's last chunk.
        assert_eq!(&file[file.len() - 8..], b"IEND\xae\x42\x60\x82");
    }
}
