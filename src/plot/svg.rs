//! A still picture as an SVG document.

use std::fmt::Write as _;

use super::palette::TEXT;
use super::raster::colour;
use super::vector::{Anchor, Path, PathStep, Raster, Shape, Still, Text};
use crate::png::png;
use crate::text::{base64, escape};

/// The picture with `title` for those who cannot see it.
pub(super) fn document(still: &Still, title: &str) -> String {
    let (w, h) = (still.width.round(), still.height.round());
    let mut body = String::new();
    let mut clips = 0;
    for shape in &still.shapes {
        match shape {
            Shape::Path(shape) => path(&mut body, shape),
            Shape::Text(shape) => text(&mut body, shape),
            Shape::Image(shape) => image(&mut body, shape),
            Shape::Clip(r) => {
                // An inner document clips by itself, without an id: several pictures in one page
                // of HTML would have the same.
                clips += 1;
                let _ = write!(
                    body,
                    "<svg x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
                     viewBox=\"{:.1} {:.1} {:.1} {:.1}\">",
                    r.x, r.y, r.w, r.h, r.x, r.y, r.w, r.h
                );
            }
            Shape::Unclip => {
                clips -= 1;
                body.push_str("</svg>");
            }
        }
    }
    debug_assert_eq!(clips, 0, "every clip ends");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" \
         viewBox=\"0 0 {w} {h}\" role=\"img\" font-family=\"Helvetica,Arial,sans-serif\" \
         fill=\"{TEXT}\"><title>{}</title>{body}</svg>",
        escape(title)
    )
}

fn path(out: &mut String, path: &Path) {
    out.push_str("<path d=\"");
    for step in &path.steps {
        let _ = match step {
            PathStep::Move(x, y) => write!(out, "M{} {}", number(*x), number(*y)),
            PathStep::Line(x, y) => write!(out, "L{} {}", number(*x), number(*y)),
            PathStep::Close => write!(out, "z"),
        };
    }
    out.push('"');
    ink(out, "fill", path.fill.as_deref());
    if path.stroke.is_some() {
        ink(out, "stroke", path.stroke.as_deref());
        let _ = write!(out, " stroke-width=\"{}\"", number(path.width));
    }
    if path.round {
        out.push_str(" stroke-linecap=\"round\"");
    }
    if !path.dash.is_empty() {
        let lengths: Vec<String> = path.dash.iter().map(|length| number(*length)).collect();
        let _ = write!(out, " stroke-dasharray=\"{}\"", lengths.join(" "));
    }
    out.push_str("/>");
}

/// A colour as an attribute; its opacity apart, since not every viewer reads `rgba`.
fn ink(out: &mut String, name: &str, value: Option<&str>) {
    let Some(value) = value else {
        let _ = write!(out, " {name}=\"none\"");
        return;
    };
    let [r, g, b, opacity] = colour(value);
    let _ = write!(out, " {name}=\"#{:02x}{:02x}{:02x}\"", r as u8, g as u8, b as u8);
    if opacity < 1.0 {
        let _ = write!(out, " {name}-opacity=\"{opacity}\"");
    }
}

fn text(out: &mut String, text: &Text) {
    let (x, y) = (number(text.at.0), number(text.at.1));
    match text.upward {
        true => {
            let _ = write!(out, "<text transform=\"translate({x} {y}) rotate(-90)\"");
        }
        false => {
            let _ = write!(out, "<text x=\"{x}\" y=\"{y}\"");
        }
    }
    match text.anchor {
        Anchor::Start => {}
        Anchor::Middle => out.push_str(" text-anchor=\"middle\""),
        Anchor::End => out.push_str(" text-anchor=\"end\""),
    }
    let _ = write!(out, " font-size=\"{}\"", number(text.size));
    if let Some(ink) = text.ink {
        let _ = write!(out, " fill=\"{ink}\"");
    }
    let _ = write!(out, ">{}</text>", escape(&text.words));
}

fn image(out: &mut String, image: &Raster) {
    let r = image.rect;
    let _ = write!(
        out,
        "<image x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
         preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" href=\"{}\"/>",
        r.x,
        r.y,
        r.w,
        r.h,
        data_uri(image)
    );
}

/// The pixels as a PNG in a link.
pub(super) fn data_uri(image: &Raster) -> String {
    let palette = Some((image.palette.as_slice(), image.blank));
    format!("data:image/png;base64,{}", base64(&png(image.columns, &image.pixels, palette)))
}

/// One decimal, none where it is 0.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}
