//! A still picture as a PDF document of one page, for LaTeX.
//!
//! Text is in the fonts that every viewer has, Helvetica and Symbol: Latin and Greek letters and
//! the signs of mathematics. A character of another script is a small box.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::{Compression, write::ZlibEncoder};

use super::raster::colour;
use super::vector::{Anchor, Path, PathStep, Raster, Shape, Still, Text};

/// Text on paper, which is white.
const INK: &str = "#333333";
/// A page is this many points per pixel: 900 pixels are 9.4 inches.
const POINTS: f64 = 0.75;
/// Size and height of raised characters, as shares of the text's size.
const RAISED: (f64, f64) = (0.65, 0.35);

/// Widths of the characters from space to `~` in Helvetica, in thousandths of its size.
const WIDTHS: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667,
    611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500,
    222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];
/// Greek letters at the places of Symbol's Latin ones.
const GREEK: (&str, &[u8]) = (
    "αβγδεζηθικλμνξοπρςστυφχψωΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ",
    b"abgdezhqiklmnxoprVstufcywABGDEZHQIKLMNXOPRSTUFCYW",
);
/// Other characters of Symbol.
const SIGNS: [(char, u8); 24] = [
    ('−', 0x2d),
    ('∀', 0x22),
    ('∃', 0x24),
    ('≅', 0x40),
    ('∼', 0x7e),
    ('≤', 0xa3),
    ('∞', 0xa5),
    ('←', 0xac),
    ('↑', 0xad),
    ('→', 0xae),
    ('↓', 0xaf),
    ('≥', 0xb3),
    ('∝', 0xb5),
    ('∂', 0xb6),
    ('≠', 0xb9),
    ('≡', 0xba),
    ('≈', 0xbb),
    ('⊗', 0xc4),
    ('⊕', 0xc5),
    ('∈', 0xce),
    ('∇', 0xd1),
    ('√', 0xd6),
    ('⋅', 0xd7),
    ('∑', 0xe5),
];
/// What Windows' code page has beyond Latin-1.
const WINDOWS: [(char, u8); 12] = [
    ('€', 0x80),
    ('…', 0x85),
    ('‰', 0x89),
    ('‘', 0x91),
    ('’', 0x92),
    ('“', 0x93),
    ('”', 0x94),
    ('•', 0x95),
    ('–', 0x96),
    ('—', 0x97),
    ('™', 0x99),
    ('Ÿ', 0x9f),
];
const RAISED_DIGITS: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/// The picture as a file.
pub(super) fn document(still: &Still) -> Vec<u8> {
    let (w, h) = (still.width * POINTS, still.height * POINTS);
    // Pixels run downwards, PDF's points upwards.
    let mut content = format!("{POINTS} 0 0 -{POINTS} 0 {h:.2} cm\n");
    let mut images = Vec::new();
    for shape in &still.shapes {
        match shape {
            Shape::Path(shape) => path(&mut content, shape),
            Shape::Text(shape) => text(&mut content, shape),
            Shape::Image(shape) => {
                let r = shape.rect;
                let _ = writeln!(
                    content,
                    "q {:.2} 0 0 -{:.2} {:.2} {:.2} cm /I{} Do Q",
                    r.w,
                    r.h,
                    r.x,
                    r.y + r.h,
                    images.len()
                );
                images.push(shape);
            }
            Shape::Clip(r) => {
                let _ = writeln!(content, "q {:.2} {:.2} {:.2} {:.2} re W n", r.x, r.y, r.w, r.h);
            }
            Shape::Unclip => content.push_str("Q\n"),
        }
    }
    let first_image = 7;
    let names: String =
        (0..images.len()).map(|i| format!("/I{i} {} 0 R ", first_image + i)).collect();
    let mut file = PdfFile::default();
    file.object("<< /Type /Catalog /Pages 2 0 R >>");
    file.object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>");
    file.object(&format!(
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {w:.2} {h:.2}] /Contents 4 0 R \
         /Resources << /Font << /F 5 0 R /S 6 0 R >> /XObject << {names}>> >> >>"
    ));
    file.stream("", content.as_bytes());
    file.object(
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    );
    file.object("<< /Type /Font /Subtype /Type1 /BaseFont /Symbol >>");
    for image in images {
        file.image(image);
    }
    file.finish()
}

fn path(out: &mut String, path: &Path) {
    for (value, operator) in [(&path.fill, "rg"), (&path.stroke, "RG")] {
        if let Some(value) = value {
            let _ = writeln!(out, "{} {operator}", on_white(value));
        }
    }
    if path.stroke.is_some() {
        let dash: Vec<String> = path.dash.iter().map(|length| format!("{length:.1}")).collect();
        let (cap, dash) = (u8::from(path.round), dash.join(" "));
        let _ = writeln!(out, "{:.2} w {cap} J [{dash}] 0 d", path.width);
    }
    for step in &path.steps {
        let _ = match step {
            PathStep::Move(x, y) => writeln!(out, "{x:.1} {y:.1} m"),
            PathStep::Line(x, y) => writeln!(out, "{x:.1} {y:.1} l"),
            PathStep::Close => writeln!(out, "h"),
        };
    }
    out.push_str(match (&path.fill, &path.stroke) {
        (Some(_), Some(_)) => "B\n",
        (Some(_), None) => "f\n",
        (None, Some(_)) => "S\n",
        (None, None) => "n\n",
    });
}

/// Red, green and blue from 0 to 1 of a colour on white paper.
fn on_white(value: &str) -> String {
    let [r, g, b, opacity] = colour(value);
    let mixed = [r, g, b].map(|c| (c * opacity + 255.0 * (1.0 - opacity)) / 255.0);
    format!("{:.3} {:.3} {:.3}", mixed[0], mixed[1], mixed[2])
}

/// A character as one of a font, raised or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Glyph {
    Helvetica { code: u8, raised: bool },
    Symbol { code: u8, raised: bool },
    Box,
}

fn glyph(character: char) -> Glyph {
    let latin = |code| Glyph::Helvetica { code, raised: false };
    if let Some(digit) = RAISED_DIGITS.chars().position(|raised| raised == character) {
        return Glyph::Helvetica { code: b'0' + digit as u8, raised: true };
    }
    let greek = GREEK.0.chars().position(|letter| letter == character);
    if let Some(code) = greek.and_then(|at| GREEK.1.get(at)) {
        return Glyph::Symbol { code: *code, raised: false };
    }
    match character {
        ' '..='~' | '\u{a1}'..='\u{ff}' => latin(character as u32 as u8),
        '\u{a0}' | '\t' => latin(b' '),
        '⁻' => Glyph::Symbol { code: 0x2d, raised: true },
        '₀'..='₉' => latin(b'0' + (character as u32 - '₀' as u32) as u8),
        _ => {
            let of = |table: &[(char, u8)]| {
                table.iter().find(|(sign, _)| *sign == character).map(|(_, code)| *code)
            };
            match (of(&SIGNS), of(&WINDOWS)) {
                (Some(code), _) => Glyph::Symbol { code, raised: false },
                (None, Some(code)) => latin(code),
                (None, None) => Glyph::Box,
            }
        }
    }
}

impl Glyph {
    /// Width as a share of the text's size.
    fn width(self) -> f64 {
        match self {
            Self::Helvetica { code, raised } => {
                let width = code.checked_sub(b' ').and_then(|at| WIDTHS.get(usize::from(at)));
                f64::from(*width.unwrap_or(&556)) / 1000.0 * if raised { RAISED.0 } else { 1.0 }
            }
            Self::Symbol { raised, .. } => 0.56 * if raised { RAISED.0 } else { 1.0 },
            Self::Box => 0.65,
        }
    }
}

fn text(out: &mut String, text: &Text) {
    let glyphs: Vec<Glyph> = text.words.chars().map(glyph).collect();
    let width: f64 = glyphs.iter().map(|glyph| glyph.width()).sum::<f64>() * text.size;
    let start = match text.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => -width / 2.0,
        Anchor::End => -width,
    };
    let (x, y) = text.at;
    // From here on y runs upwards, so that letters stand upright.
    let turn = if text.upward { "0 -1 -1 0" } else { "1 0 0 -1" };
    let _ = writeln!(out, "q {turn} {x:.2} {y:.2} cm");
    let ink = on_white(text.ink.unwrap_or(INK));
    let _ = writeln!(out, "{ink} rg {ink} RG");
    let mut at = start;
    for glyph in glyphs {
        let step = glyph.width() * text.size;
        match glyph {
            Glyph::Helvetica { code, raised } | Glyph::Symbol { code, raised } => {
                let font = if matches!(glyph, Glyph::Symbol { .. }) { "S" } else { "F" };
                let (share, rise) = if raised { RAISED } else { (1.0, 0.0) };
                let _ = writeln!(
                    out,
                    "BT /{font} {:.2} Tf {at:.2} {:.2} Td <{code:02x}> Tj ET",
                    text.size * share,
                    text.size * rise
                );
            }
            Glyph::Box => {
                let (w, h) = (step - 2.0, text.size * 0.7);
                let _ = writeln!(out, "0.6 w [] 0 d {:.2} 0 {w:.2} {h:.2} re S", at + 1.0);
            }
        }
        at += step;
    }
    out.push_str("Q\n");
}

/// The bytes of a PDF, and where its objects begin.
#[derive(Debug, Default)]
struct PdfFile {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl PdfFile {
    fn begin(&mut self) {
        if self.bytes.is_empty() {
            self.bytes.extend(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n");
        }
        self.starts.push(self.bytes.len());
        self.bytes.extend(format!("{} 0 obj\n", self.starts.len()).bytes());
    }

    fn object(&mut self, dictionary: &str) {
        self.begin();
        self.bytes.extend(dictionary.bytes());
        self.bytes.extend(b"\nendobj\n");
    }

    fn stream(&mut self, dictionary: &str, data: &[u8]) {
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
        // Writing to memory cannot fail.
        let _ = packed.write_all(data);
        let packed = packed.finish().unwrap_or_default();
        self.begin();
        let length = packed.len();
        self.bytes.extend(
            format!("<< {dictionary}/Filter /FlateDecode /Length {length} >>\nstream\n").bytes(),
        );
        self.bytes.extend(packed);
        self.bytes.extend(b"\nendstream\nendobj\n");
    }

    fn image(&mut self, image: &Raster) {
        let palette: String =
            image.palette.iter().flatten().map(|byte| format!("{byte:02x}")).collect();
        let last = image.palette.len().max(1) - 1;
        let columns = image.columns.max(1);
        let mask = image.blank.map_or_else(String::new, |i| format!("/Mask [{i} {i}] "));
        self.stream(
            &format!(
                "/Type /XObject /Subtype /Image /Width {columns} /Height {} /BitsPerComponent 8 \
                 /ColorSpace [/Indexed /DeviceRGB {last} <{palette}>] {mask}",
                image.pixels.len() / columns
            ),
            &image.pixels,
        );
    }

    fn finish(mut self) -> Vec<u8> {
        let table = self.bytes.len();
        let size = self.starts.len() + 1;
        let mut end = format!("xref\n0 {size}\n0000000000 65535 f \n");
        for start in &self.starts {
            let _ = writeln!(end, "{start:010} 00000 n ");
        }
        let _ = write!(end, "trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n");
        self.bytes.extend(end.bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::plot::{imshow, line};

    /// The content of the page.
    fn content(file: &[u8]) -> String {
        let find = |needle: &[u8], from: usize| {
            file[from..].windows(needle.len()).position(|w| w == needle).unwrap() + from
        };
        let begin = find(b"stream\n", 0) + 7;
        let mut text = String::new();
        flate2::read::ZlibDecoder::new(&file[begin..find(b"\nendstream", begin)])
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn every_object_begins_where_the_table_says() {
        let image =
            candle_core::Tensor::new(&[[1f32, 2.0], [3.0, f32::NAN]], &candle_core::Device::Cpu);
        let file = imshow(&image.unwrap()).unwrap().title("λ = −2·10⁻⁵").to_pdf();
        let text = String::from_utf8_lossy(&file).into_owned();
        assert!(text.starts_with("%PDF-1.4") && text.ends_with("%%EOF\n"));
        let table: usize = text.lines().rev().nth(1).unwrap().parse().unwrap();
        let entries = String::from_utf8(file[table..].to_vec()).unwrap();
        let starts = entries.lines().filter(|entry| entry.ends_with(" 00000 n "));
        let starts: Vec<usize> = starts.map(|entry| entry[..10].parse().unwrap()).collect();
        assert!(starts.len() >= 7);
        for (i, start) in starts.iter().enumerate() {
            assert!(file[*start..].starts_with(format!("{} 0 obj", i + 1).as_bytes()));
        }
        assert!(text.contains("/Mask [255 255]"));
    }

    #[test]
    fn text_is_written_in_the_two_fonts() {
        let page = content(&line([1.0, 2.0]).unwrap().title("aλ²").to_pdf());
        let at = |code: &str| page.find(code).unwrap();
        assert!(at("/F 16.00 Tf") < at("<6c> Tj") && page.contains("<61> Tj"));
        assert!(page.contains("/S 16.00 Tf") && page.contains("/F 10.40 Tf"));
        assert_eq!(page.matches("BT").count(), page.matches("ET").count());
        assert_eq!(page.matches("q ").count(), page.matches("Q\n").count());
        assert_eq!(glyph('漢'), Glyph::Box);
        assert_eq!(glyph('é'), Glyph::Helvetica { code: 0xe9, raised: false });
        assert_eq!(glyph('−'), Glyph::Symbol { code: 0x2d, raised: false });
        assert_eq!(GREEK.0.chars().count(), GREEK.1.len());
    }
}
