//! Small inline pictures of images for HTML: a grey-scale PNG in a `data:` address.

use candle_core::{DType, Device, Tensor};

use super::images::Images;
use crate::Result;
use crate::display::{MimeBundle, ShownCell, ShownColumn, ShownTable};
use crate::png::png;
use crate::text::{base64, thousands};

const PER_CLASS: usize = 14;
const MOST_CLASSES: usize = 20;

/// An HTML table with a row for each class: its name, how many images of it each of `parts` holds,
/// and the first few of them in the first part. `parts` share their classes and have headings.
pub(super) fn table(caption: &str, parts: &[(&str, &Images)]) -> Result<String> {
    let counts: Vec<Vec<usize>> =
        parts.iter().map(|(_, images)| images.class_counts()).collect::<Result<_>>()?;
    let Some((_, shown)) = parts.first() else { return Ok(String::new()) };
    let count =
        |heading: &str| ShownColumn::right(heading).css("text-align:right;padding:1px .8em");
    let columns = std::iter::once(ShownColumn::left("class").css("text-align:left"))
        .chain(parts.iter().map(|(heading, _)| count(heading)))
        .chain([ShownColumn::left("").css("padding:1px")]);
    let mut table = ShownTable::new(columns).caption(caption);
    for (class, name) in shown.classes().iter().enumerate().take(MOST_CLASSES) {
        let counts = counts.iter().map(|counts| ShownCell::from(thousands(counts[class])));
        let images = ShownCell::with_html("", strip(shown, class)?);
        table.push(std::iter::once(name.into()).chain(counts).chain([images]));
    }
    Ok(match shown.classes().len().checked_sub(MOST_CLASSES) {
        Some(more @ 1..) => table.note(format!("… and {more} more classes")).html(),
        _ => table.html(),
    })
}

impl Images {
    /// Shows a table of the classes with some images of each.
    pub fn evcxr_display(&self) {
        let text = self.to_string();
        let bundle = MimeBundle::text(&text);
        let bundle = match table(&text, &[("images", self)]) {
            Ok(html) => bundle.html(html),
            Err(_) => bundle,
        };
        bundle.show_as_result();
    }
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
        base64(&png(width, &grey, None))
    ))
}
