//! From ggml's blocks to f32.
//!
//! Every format stores a row as blocks of small integers with one or two scales of f16; the values
//! come out in f32 arithmetic, in the order of operations that llama.cpp has, bit for bit.

use rayon::prelude::*;

use super::TensorType;

/// Blocks that one task takes on.
const TASK: usize = 256;

/// How to decode a block of some type: its bytes, and its numbers.
type Decode = fn(&[u8], &mut [f32]);

impl TensorType {
    fn decoder(self) -> Option<Decode> {
        Some(match self {
            Self::F32 => |bytes, out| out[0] = f32::from_le_bytes(first(bytes)),
            Self::F16 => |bytes, out| out[0] = half(bytes),
            Self::BF16 => |bytes, out| {
                out[0] = f32::from_bits(u32::from(u16::from_le_bytes(first(bytes))) << 16);
            },
            Self::Q4_0 => q4_0,
            Self::Q4_1 => q4_1,
            Self::Q5_0 => q5_0,
            Self::Q5_1 => q5_1,
            Self::Q8_0 => q8_0,
            Self::Q2_K => q2_k,
            Self::Q3_K => q3_k,
            Self::Q4_K => q4_k,
            Self::Q5_K => q5_k,
            Self::Q6_K => q6_k,
            _ => return None,
        })
    }

    /// Whether [`Gguf::tensor`](super::Gguf::tensor) can read it.
    pub fn is_readable(self) -> bool {
        self.decoder().is_some()
    }

    /// The numbers that whole blocks stand for; none for a type that cannot be read.
    pub(super) fn dequantise(self, bytes: &[u8]) -> Option<Vec<f32>> {
        let decode = self.decoder()?;
        let (size, block_bytes) = self.block();
        let (size, block_bytes) = (size as usize, block_bytes as usize);
        let mut out = vec![0f32; bytes.len() / block_bytes * size];
        let parts = bytes.par_chunks(TASK * block_bytes);
        out.par_chunks_mut(TASK * size).zip(parts).for_each(|(out, bytes)| {
            let blocks = bytes.chunks_exact(block_bytes);
            out.chunks_exact_mut(size).zip(blocks).for_each(|(out, block)| decode(block, out));
        });
        Some(out)
    }
}

/// The first `N` bytes of a block, which has more.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

/// The f16 at the start.
fn half(bytes: &[u8]) -> f32 {
    half::f16::from_le_bytes(first(bytes)).to_f32()
}

/// Halves of bytes: the low ones are the first numbers of a block, the high ones the others.
fn nibbles(bytes: &[u8], out: &mut [f32], value: impl Fn(u8, usize) -> f32) {
    let (low, high) = out.split_at_mut(bytes.len());
    for (i, (byte, (low, high))) in bytes.iter().zip(low.iter_mut().zip(high)).enumerate() {
        *low = value(byte & 15, i);
        *high = value(byte >> 4, i + bytes.len());
    }
}

/// `d (q - 8)`.
fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = half(block);
    nibbles(&block[2..], out, |q, _| f32::from(i16::from(q) - 8) * d);
}

/// `d q + m`.
fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block), half(&block[2..]));
    nibbles(&block[4..], out, |q, _| f32::from(q) * d + m);
}

/// `d (q - 16)`, fifth bits apart.
fn q5_0(block: &[u8], out: &mut [f32]) {
    let (d, fifth) = (half(block), u32::from_le_bytes(first(&block[2..])));
    nibbles(&block[6..], out, |q, i| f32::from(i16::from(q | fifth_bit(fifth, i)) - 16) * d);
}

/// `d q + m`, fifth bits apart.
fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block), half(&block[2..]));
    let fifth = u32::from_le_bytes(first(&block[4..]));
    nibbles(&block[8..], out, |q, i| f32::from(q | fifth_bit(fifth, i)) * d + m);
}

fn fifth_bit(bits: u32, i: usize) -> u8 {
    ((bits >> i & 1) as u8) << 4
}

/// `d q`.
fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half(block);
    for (out, q) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(q.cast_signed()) * d;
    }
}

/// `d s q - dmin m`, with a scale s and a minimum m of four bits for each 16, and q of two bits.
fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, rest) = block.split_at(16);
    let (quants, rest) = rest.split_at(64);
    let (d, dmin) = (half(rest), half(&rest[2..]));
    for (i, out) in out.iter_mut().enumerate() {
        let scale = scales[i / 16];
        let (factor, minimum) = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
        *out = factor * f32::from(two_bits(quants, i)) - minimum;
    }
}

/// `d (s - 32) (q - 4)`, with a scale s of six bits for each 16, and q of three bits, the third apart.
fn q3_k(block: &[u8], out: &mut [f32]) {
    let (thirds, rest) = block.split_at(32);
    let (quants, rest) = rest.split_at(64);
    let (scales, d) = rest.split_at(12);
    let d = half(d);
    for (i, out) in out.iter_mut().enumerate() {
        let k = i / 16;
        // Low halves of eight bytes, then their high halves; the other two bits in four bytes.
        let low = scales[k % 8] >> (4 * (k / 8)) & 15;
        let upper = scales[8 + k % 4] >> (2 * (k / 4)) & 3;
        let factor = d * f32::from(i16::from(low | upper << 4) - 32);
        let third = thirds[i % 32] >> (i / 32) & 1;
        *out = factor * f32::from(i16::from(two_bits(quants, i) | third << 2) - 4);
    }
}

/// Number i of 256 of two bits: of each 32 bytes, the lowest bits of all, then the next.
fn two_bits(quants: &[u8], i: usize) -> u8 {
    quants[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4)) & 3
}

/// Scale and minimum, of six bits each, of the eight parts of a block.
fn part(scales: &[u8], i: usize) -> (f32, f32) {
    let (scale, minimum) = if i < 4 {
        (scales[i] & 63, scales[i + 4] & 63)
    } else {
        (scales[i + 4] & 15 | scales[i - 4] >> 6 << 4, scales[i + 4] >> 4 | scales[i] >> 6 << 4)
    };
    (scale.into(), minimum.into())
}

/// `d s q - dmin m`, with a scale s and a minimum m for each 32.
fn q4_k(block: &[u8], out: &mut [f32]) {
    let (scales, quants) = block[4..].split_at(12);
    k_parts(block, scales, quants, out, |_, _| 0);
}

/// As `q4_k`, fifth bits apart.
fn q5_k(block: &[u8], out: &mut [f32]) {
    let (scales, quants) = block[4..].split_at(12);
    let (fifth, quants) = quants.split_at(32);
    k_parts(block, scales, quants, out, |part, i| (fifth[i] >> part & 1) << 4);
}

fn k_parts(
    block: &[u8],
    scales: &[u8],
    quants: &[u8],
    out: &mut [f32],
    fifth: impl Fn(usize, usize) -> u8,
) {
    let (d, dmin) = (half(block), half(&block[2..]));
    for (pair, (quants, out)) in quants.chunks_exact(32).zip(out.chunks_exact_mut(64)).enumerate() {
        let parts = [2 * pair, 2 * pair + 1].map(|i| {
            let (scale, minimum) = part(scales, i);
            (d * scale, dmin * minimum)
        });
        nibbles(quants, out, |q, i| {
            let (scale, minimum) = parts[i / 32];
            scale * f32::from(q | fifth(2 * pair + i / 32, i % 32)) - minimum
        });
    }
}

/// `d s (q - 32)`, with a scale s for each 16.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, d) = rest.split_at(16);
    let d = half(d);
    for (i, out) in out.iter_mut().enumerate() {
        // Of 128 numbers, four groups of 32: low halves of two rows of bytes, then high ones.
        let (side, group, column) = (i / 128, i / 32 % 4, i % 32);
        let nibble = low[64 * side + 32 * (group % 2) + column] >> (4 * (group / 2)) & 15;
        let upper = high[32 * side + column] >> (2 * group) & 3;
        let scale = f32::from(scales[i / 16].cast_signed());
        *out = d * scale * f32::from(i16::from(nibble | upper << 4) - 32);
    }
}
