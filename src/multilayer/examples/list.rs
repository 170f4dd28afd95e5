//! The best examples of one latent at one layer, in few bytes.

use std::cmp::Ordering;
use std::ops::Range;

use super::LayerExample;

/// Where an example is, and how strong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ExamplePeak {
    pub(super) activation: f32,
    pub(super) context: u32,
    pub(super) position: u32,
}

impl ExamplePeak {
    /// Better ones first.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let by_activation = other.activation.total_cmp(&self.activation);
        by_activation.then(self.context.cmp(&other.context))
    }
}

/// The best examples so far, the best first: 12 bytes each, and those of its [window](write_window).
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ExampleList {
    peaks: Vec<ExamplePeak>,
    /// The windows in the same order, each after its number of bytes.
    windows: Vec<u8>,
}

impl ExampleList {
    pub(super) fn len(&self) -> usize {
        self.peaks.len()
    }

    /// The peaks, the best first.
    pub(super) fn peaks(&self) -> &[ExamplePeak] {
        &self.peaks
    }

    /// Bytes of all windows.
    pub(super) fn window_bytes(&self) -> &[u8] {
        &self.windows
    }

    /// From what [`peaks`](Self::peaks) and [`window_bytes`](Self::window_bytes) gave; nothing if
    /// they do not belong together.
    pub(super) fn of_parts(peaks: Vec<ExamplePeak>, windows: Vec<u8>) -> Option<Self> {
        let own = Self { peaks, windows };
        let (mut rest, mut count) = (&own.windows[..], 0);
        while !rest.is_empty() {
            let length = take_number(&mut rest) as usize;
            let (window, others) = rest.split_at_checked(length)?;
            is_window(window).then_some(())?;
            (rest, count) = (others, count + 1);
        }
        let is_sorted = own.peaks.is_sorted_by(|a, b| a.order(b) != Ordering::Greater);
        (is_sorted && count == own.peaks.len()).then_some(own)
    }

    /// Whether an example of this activation has a place among the best `most`, as far as can be
    /// told without its window.
    pub(super) fn may_take(&self, activation: f32, most: usize) -> bool {
        self.peaks.len() < most
            || self.peaks.last().is_some_and(|last| activation >= last.activation)
    }

    /// Takes in an example if it is one of the best `most`. If `distinct`, of those whose windows
    /// read the same only the best stays.
    pub(super) fn insert(&mut self, peak: ExamplePeak, window: &[u8], most: usize, distinct: bool) {
        if distinct && let Some(same) = self.reading_as(peak, window) {
            if self.peaks[same].order(&peak) != Ordering::Greater {
                return;
            }
            self.remove(same);
        }
        let place = self.peaks.partition_point(|own| own.order(&peak) != Ordering::Greater);
        if place >= most {
            return;
        }
        if self.peaks.len() == most {
            self.remove(most - 1);
        }
        if self.peaks.len() == self.peaks.capacity() {
            let more = self.peaks.len().clamp(4, 1 << 20);
            self.peaks.reserve_exact(more.min(most - self.peaks.len()));
        }
        let at = match place == self.peaks.len() {
            true => self.windows.len(),
            false => self.record(place).start,
        };
        self.peaks.insert(place, peak);
        let mut record = Vec::with_capacity(window.len() + 5);
        put_number(&mut record, window.len() as u32);
        record.extend_from_slice(window);
        if self.windows.capacity() - self.windows.len() < record.len() {
            // An eighth more than is needed, because there is one for each latent and layer.
            self.windows.reserve_exact(record.len() + self.windows.len() / 8);
        }
        self.windows.splice(at..at, record);
    }

    fn remove(&mut self, place: usize) {
        let range = self.record(place);
        self.peaks.remove(place);
        self.windows.drain(range);
    }

    /// The bytes of the window at `place` with its length before it.
    fn record(&self, place: usize) -> Range<usize> {
        let mut rest = &self.windows[..];
        let mut start = 0;
        for _ in 0..=place {
            start = self.windows.len() - rest.len();
            let length = take_number(&mut rest) as usize;
            rest = rest.get(length..).unwrap_or_default();
        }
        start..self.windows.len() - rest.len()
    }

    /// All examples as they were put in.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ExamplePeak, &[u8])> {
        let mut rest = &self.windows[..];
        self.peaks.iter().map(move |peak| {
            let length = take_number(&mut rest) as usize;
            let (window, others) = rest.split_at(length.min(rest.len()));
            rest = others;
            (*peak, window)
        })
    }

    /// The place of the example whose window reads as this one, with the peak at the same place.
    fn reading_as(&self, peak: ExamplePeak, window: &[u8]) -> Option<usize> {
        let own = WindowParts::of(window);
        let offset = |peak: ExamplePeak, parts: &WindowParts<'_>| {
            i64::from(peak.position) - i64::from(parts.start)
        };
        self.iter().position(|(other_peak, other)| {
            let other = WindowParts::of(other);
            other.reading == own.reading && offset(other_peak, &other) == offset(peak, &own)
        })
    }

    /// The examples as a user sees them.
    pub(super) fn examples(
        &self,
        layer: usize,
        latent: usize,
    ) -> impl Iterator<Item = LayerExample> {
        self.iter().enumerate().map(move |(rank, (peak, window))| {
            let parts = WindowParts::of(window);
            let tokens = parts.tokens();
            LayerExample {
                layer,
                latent,
                rank,
                context: u64::from(peak.context),
                position: peak.position as usize,
                activation: peak.activation,
                token: parts.token,
                start: parts.start as usize,
                activations: parts.activations(tokens.len()),
                tokens,
            }
        })
    }
}

/// Appends a window to `bytes`: where it begins, the token at the peak, the tokens, and of the
/// activations a bit each and those that are not 0.
///
/// Most latents are inactive at most tokens and most tokens have small numbers, so a window of 9
/// tokens takes about 30 bytes.
pub(super) fn write_window(
    bytes: &mut Vec<u8>,
    (start, token): (u32, u32),
    tokens: &[u32],
    activations: &[f32],
) {
    put_number(bytes, start);
    put_number(bytes, token);
    let lengths = tokens.iter().map(|token| number_length(*token));
    put_number(bytes, lengths.sum::<usize>() as u32);
    tokens.iter().for_each(|token| put_number(bytes, *token));
    // Bits, so that -0 stays what it is.
    let is_there = |value: &f32| value.to_bits() != 0;
    for eight in activations.chunks(8) {
        let bits = eight.iter().enumerate().map(|(at, value)| u8::from(is_there(value)) << at);
        bytes.push(bits.sum());
    }
    for value in activations.iter().filter(|value| is_there(value)) {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
}

/// What is in the bytes of a window.
struct WindowParts<'a> {
    start: u32,
    token: u32,
    /// The tokens.
    reading: &'a [u8],
    /// Bits and activations.
    values: &'a [u8],
}

impl<'a> WindowParts<'a> {
    fn of(mut bytes: &'a [u8]) -> Self {
        let start = take_number(&mut bytes);
        let token = take_number(&mut bytes);
        let length = take_number(&mut bytes) as usize;
        let (reading, values) = bytes.split_at(length.min(bytes.len()));
        Self { start, token, reading, values }
    }

    fn tokens(&self) -> Vec<u32> {
        let mut rest = self.reading;
        let mut tokens = Vec::new();
        while !rest.is_empty() {
            tokens.push(take_number(&mut rest));
        }
        tokens
    }

    fn activations(&self, count: usize) -> Vec<f32> {
        let (bits, values) = self.values.split_at(count.div_ceil(8).min(self.values.len()));
        let mut values = values.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four));
        let is_there = |at: usize| bits.get(at / 8).is_some_and(|bits| bits >> (at % 8) & 1 == 1);
        (0..count).map(|at| is_there(at).then(|| values.next()).flatten().unwrap_or(0.0)).collect()
    }
}

/// Whether these are bytes that [`write_window`] writes.
fn is_window(bytes: &[u8]) -> bool {
    let parts = WindowParts::of(bytes);
    let tokens = parts.tokens();
    let activations = parts.activations(tokens.len());
    let mut again = Vec::with_capacity(bytes.len());
    write_window(&mut again, (parts.start, parts.token), &tokens, &activations);
    again == bytes
}

/// Seven bits a byte, the lowest first; the last byte is below 128.
fn put_number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn number_length(number: u32) -> usize {
    (32 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes a number off the front; 0 if there is none.
fn take_number(bytes: &mut &[u8]) -> u32 {
    let (mut number, mut shift) = (0u32, 0);
    while let Some((first, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u32::from(first & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
        if first & 0x80 == 0 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_come_back_from_their_bytes() {
        let tokens = [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, u32::MAX, 5];
        let values = [0.0, 1.5, -0.25, 0.0, f32::MIN_POSITIVE, -0.0, 3.0, 0.0, f32::MAX];
        for length in 0..=tokens.len() {
            let mut bytes = Vec::new();
            write_window(&mut bytes, (300, 70_000), &tokens[..length], &values[..length]);
            let parts = WindowParts::of(&bytes);
            assert_eq!((parts.start, parts.token), (300, 70_000));
            assert_eq!(parts.tokens(), tokens[..length]);
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&parts.activations(length)), bits(&values[..length]));
            assert!(is_window(&bytes));
            bytes.push(0);
            assert!(!is_window(&bytes));
            assert!(!is_window(&bytes[..bytes.len() - 2]));
        }
        for number in tokens {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            assert_eq!(bytes.len(), number_length(number));
        }
    }

    #[test]
    fn lists_are_bounded_sorted_and_rebuilt_from_their_parts() {
        let peak = |activation, context| ExamplePeak { activation, context, position: 1 };
        let window = |token: u32| {
            let mut bytes = Vec::new();
            write_window(&mut bytes, (0, token), &[9, token, 7], &[0.0, 1.0, 0.5]);
            bytes
        };
        let mut list = ExampleList::default();
        for (activation, context, token) in
            [(1.0, 5, 200), (3.0, 1, 1), (2.0, 2, 300), (3.0, 0, 4), (2.5, 9, 200), (0.5, 3, 6)]
        {
            assert!(list.may_take(activation, 3) || activation < 1.0);
            list.insert(peak(activation, context), &window(token), 3, true);
        }
        let contexts: Vec<u32> = list.peaks().iter().map(|peak| peak.context).collect();
        assert_eq!(contexts, [0, 1, 9], "equal ones by context, the same window once");
        let tokens: Vec<u32> = list.examples(0, 0).map(|example| example.token).collect();
        assert_eq!(tokens, [4, 1, 200]);
        let (peaks, bytes) = (list.peaks().to_vec(), list.window_bytes().to_vec());
        assert_eq!(ExampleList::of_parts(peaks.clone(), bytes.clone()), Some(list));
        assert_eq!(ExampleList::of_parts(peaks[1..].to_vec(), bytes.clone()), None);
        assert_eq!(ExampleList::of_parts(peaks.clone(), bytes[..bytes.len() - 1].to_vec()), None);
        let turned = peaks.into_iter().rev().collect();
        assert_eq!(ExampleList::of_parts(turned, bytes), None);
    }
}
