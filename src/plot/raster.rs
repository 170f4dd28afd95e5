//! Lines and dots as pixels.

/// A see-through picture, four bytes a pixel: red, green, blue, opacity.
#[derive(Debug, Clone)]
pub(super) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 4]>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![[0; 4]; width * height] }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The pixels, with 16 steps of opacity: no eye tells more on the edge of a line, and the file
    /// is much smaller.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        for pixel in &mut self.pixels {
            pixel[3] = (pixel[3].saturating_add(8)) / 17 * 17;
            if pixel[3] == 0 {
                *pixel = [0; 4];
            }
        }
        self.pixels.into_flattened()
    }

    /// Draws a line with round ends, `across` pixels wide; from a point to itself it is a dot. Ends
    /// that are not finite draw nothing.
    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), across: f64, ink: &str) {
        if ![from.0, from.1, to.0, to.1].iter().all(|end| end.is_finite()) {
            return;
        }
        let [red, green, blue, opacity] = colour(ink);
        let radius = across / 2.0;
        let span = |a: f64, b: f64, end: usize| {
            let low = (a.min(b) - radius - 1.0).max(0.0) as usize;
            let high = (a.max(b) + radius + 2.0).clamp(0.0, end as f64) as usize;
            low..high
        };
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let square = dx * dx + dy * dy;
        for y in span(from.1, to.1, self.height) {
            for x in span(from.0, to.0, self.width) {
                let (px, py) = (x as f64 + 0.5 - from.0, y as f64 + 0.5 - from.1);
                let share = match square > 0.0 {
                    true => ((px * dx + py * dy) / square).clamp(0.0, 1.0),
                    false => 0.0,
                };
                let distance = (px - share * dx).hypot(py - share * dy);
                // How much of the pixel is covered, about.
                let cover = (radius + 0.5 - distance).clamp(0.0, 1.0);
                if cover > 0.0 {
                    let pixel = &mut self.pixels[y * self.width + x];
                    blend(pixel, [red, green, blue], cover * opacity);
                }
            }
        }
    }
}

/// Lays a colour of some opacity over a pixel.
fn blend(pixel: &mut [u8; 4], colour: [f64; 3], opacity: f64) {
    let below = f64::from(pixel[3]) / 255.0 * (1.0 - opacity);
    let total = opacity + below;
    for (channel, colour) in pixel.iter_mut().zip(colour) {
        *channel = ((colour * opacity + f64::from(*channel) * below) / total).round() as u8;
    }
    pixel[3] = (255.0 * total).round() as u8;
}

/// `#rrggbb` or `rgba(r,g,b,a)` as red, green, blue (to 255) and opacity (to 1); else a grey.
pub(super) fn colour(ink: &str) -> [f64; 4] {
    let hex = |from: usize| u8::from_str_radix(ink.get(from..from + 2)?, 16).ok().map(f64::from);
    if let (true, Some(r), Some(g), Some(b)) = (ink.starts_with('#'), hex(1), hex(3), hex(5)) {
        return [r, g, b, 1.0];
    }
    let inner = ink.strip_prefix("rgba(").and_then(|rest| rest.strip_suffix(')'));
    let numbers: Vec<f64> = inner
        .into_iter()
        .flat_map(|text| text.split(','))
        .filter_map(|number| number.trim().parse().ok())
        .collect();
    match numbers[..] {
        [r, g, b, a] => [r, g, b, a],
        _ => [128.0, 128.0, 128.0, 1.0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_covers_its_pixels_and_no_others() {
        let mut canvas = Canvas::new(8, 5);
        canvas.line((1.0, 2.5), (7.0, 2.5), 1.0, "#ff8000");
        canvas.line((f64::NAN, 0.0), (1.0, 1.0), 9.0, "#ffffff");
        for (i, pixel) in canvas.pixels.iter().enumerate() {
            let (x, y) = (i % 8, i / 8);
            if y == 2 && (1..7).contains(&x) {
                assert_eq!(*pixel, [255, 128, 0, 255]);
            } else if y != 2 {
                assert_eq!(pixel[3], 0, "{x}, {y}");
            }
        }
        // Beyond the edge there is nothing to draw on.
        canvas.line((-50.0, -50.0), (100.0, 100.0), 3.0, "#000000");
    }

    #[test]
    fn colours_lie_over_each_other() {
        assert_eq!(colour("rgba(1, 2,3,0.5)"), [1.0, 2.0, 3.0, 0.5]);
        assert_eq!(colour("nonsense"), [128.0, 128.0, 128.0, 1.0]);
        let mut pixel = [0, 0, 0, 255];
        blend(&mut pixel, [200.0, 100.0, 0.0], 0.5);
        assert_eq!(pixel, [100, 50, 0, 255]);
        let mut clear = [0, 0, 0, 0];
        blend(&mut clear, [200.0, 100.0, 0.0], 0.5);
        assert_eq!(clear, [200, 100, 0, 128]);
    }
}
