//! Small inline pictures of images for HTML: a grey-scale PNG in a `data:` address.

use std::fmt::Write as _;
use std::io::Write;

use candle_core::{DType, Device, Tensor};
use flate2::{Compression, Crc, write::ZlibEncoder};

use super::images::Images;
use crate::Result;
use crate::notebook::escape;

const PER_CLASS: usize = 14;
const MOST_CLASSES: usize = 20;

/// An HTML table with a row for each class: its name, how many images of it each of `parts` holds,
/// and the first few of them in the first part. `parts` share their classes and have headings.
pub(super) fn table(caption: &str, parts: &[(&str, &Images)]) -> Result<String> {
    let counts: Vec<Vec<usize>> =
        parts.iter().map(|(_, images)| images.class_counts()).collect::<Result<_>>()?;
    let Some((_, shown)) = parts.first() else { return Ok(String::new()) };
    let cell = "style=\"text-align:right;padding:1px .8em\"";
    let mut html = format!("<div>{}</div><table><tr><th>class</th>", escape(caption));
    for (heading, _) in parts {
        let _ = write!(html, "<th {cell}>{}</th>", escape(heading));
    }
    html.push_str("<th></th></tr>");
    for (class, name) in shown.classes().iter().enumerate().take(MOST_CLASSES) {
        let _ = write!(html, "<tr><td style=\"text-align:left\">{}</td>", escape(name));
        for counts in &counts {
            let _ = write!(html, "<td {cell}>{}</td>", thousands(counts[class]));
        }
        let _ = write!(html, "<td style=\"padding:1px\">{}</td></tr>", strip(shown, class)?);
    }
    html.push_str("</table>");
    if let Some(more @ 1..) = shown.classes().len().checked_sub(MOST_CLASSES) {
        let _ = write!(html, "<div>… and {more} more classes</div>");
    }
    Ok(html)
}

/// The first images of a class side by side, as an `<img>`; nothing where there are none.
fn strip(images: &Images, class: usize) -> Result<String> {
    let labels = images.labels().to_device(&Device::Cpu)?.to_vec1::<u32>()?;
    let of_class = (0u32..).zip(&labels).filter(|(_, label)| **label as usize == class);
    let first: Vec<u32> = of_class.map(|(index, _)| index).take(PER_CLASS).collect();
    if first.is_empty() {
        return Ok(String::new());
    }
    let device = images.pixels().device();
    let chosen = Tensor::from_slice(&first, first.len(), device)?;
    let pixels = images.pixels().index_select(&chosen, 0)?.to_dtype(DType::F32)?;
    let (count, _, rows, columns) = pixels.dims4()?;
    // [count, 1, rows, columns] → [rows, count·columns]: side by side.
    let row_of_images = pixels.squeeze(1)?.transpose(0, 1)?.flatten_all()?.to_vec1::<f32>()?;
    let grey: Vec<u8> = row_of_images.iter().map(|v| (v * 255.0).round() as u8).collect();
    let width = count * columns;
    Ok(format!(
        "<img alt=\"{count} images\" width=\"{width}\" height=\"{rows}\" \
         src=\"data:image/png;base64,{}\">",
        base64(&png(&grey, width, rows))
    ))
}

/// An 8-bit grey-scale PNG of `width·height` bytes, row-major.
fn png(grey: &[u8], width: usize, height: usize) -> Vec<u8> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in grey.chunks(width) {
        // Each row begins with its filter: none. Writing to a vector cannot fail.
        let _ = rows.write_all(&[0]).and_then(|()| rows.write_all(row));
    }
    let mut header = Vec::with_capacity(13);
    header.extend_from_slice(&(width as u32).to_be_bytes());
    header.extend_from_slice(&(height as u32).to_be_bytes());
    header.extend_from_slice(&[8, 0, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in
        [(b"IHDR", header), (b"IDAT", rows.finish().unwrap_or_default()), (b"IEND", Vec::new())]
    {
        let mut checksum = Crc::new();
        checksum.update(kind);
        checksum.update(&data);
        file.extend_from_slice(&(data.len() as u32).to_be_bytes());
        file.extend_from_slice(kind);
        file.extend_from_slice(&data);
        file.extend_from_slice(&checksum.sum().to_be_bytes());
    }
    file
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for digit in 0..4 {
            text.push(if digit <= group.len() {
                char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63])
            } else {
                '='
            });
        }
    }
    text
}

/// `12345` as `12,345`.
pub(super) fn thousands(number: usize) -> String {
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
    fn base64_agrees_with_rfc_4648() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn a_png_holds_its_pixels() {
        let file = png(&[1, 2, 3, 4, 5, 6], 3, 2);
        assert_eq!(&file[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!(&file[12..24], b"IHDR\x00\x00\x00\x03\x00\x00\x00\x02");
        let length = u32::from_be_bytes(file[33..37].try_into().unwrap()) as usize;
        let mut rows = Vec::new();
        flate2::read::ZlibDecoder::new(&file[41..41 + length]).read_to_end(&mut rows).unwrap();
        assert_eq!(rows, [0, 1, 2, 3, 0, 4, 5, 6]);
        // The checksum of the empty last chunk is known.
        assert_eq!(&file[file.len() - 8..], b"IEND\xae\x42\x60\x82");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
