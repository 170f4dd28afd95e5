//! `top_k.cu` on a host without a GPU: a C++ compiler builds it with what `emulated.cpp` makes of
//! CUDA's words.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::random::Rng;
use crate::sae::order::largest;

/// Kinds of rows, one after another.
pub(super) fn case(kinds: usize, m: usize) -> Vec<f32> {
    let mut rng = Rng::seed(9);
    let mut rows = Vec::new();
    for kind in 0..kinds {
        rows.extend((0..m).map(|_| match kind {
            // Few values, of both signs; what is special is rare enough to leave a bar elsewhere.
            0 => match (rng.unit() * 100.0) as u32 {
                0 => f32::INFINITY,
                1 => f32::NEG_INFINITY,
                2 => f32::NAN,
                3 => -f32::NAN,
                4..=15 => 0.0,
                16..=30 => -0.0,
                other => (other % 8) as f32 - 4.0,
            },
            // Many values, of one exponent and of many.
            1 => rng.unit() + 1.0,
            2 => (30.0 * rng.unit() - 15.0).exp2() * if rng.unit() < 0.5 { -1.0 } else { 1.0 },
            3 => -rng.unit(),
            // Numbers so small that they are not normal, and zeros.
            4 => {
                f32::from_bits((rng.unit() * 4.0) as u32)
                    * if rng.unit() < 0.5 { -1.0 } else { 1.0 }
            }
            5 => 7.0,
            _ => f32::NAN,
        }));
    }
    rows
}

/// The kernel's program, where there is a C++ compiler.
fn program(folder: &Path) -> Option<PathBuf> {
    let sources =
        [("top_k.cu", include_str!("../top_k.cu")), ("emulated.cpp", include_str!("emulated.cpp"))];
    for (name, source) in sources {
        std::fs::write(folder.join(name), source).unwrap();
    }
    let program = folder.join("emulated");
    for compiler in ["c++", "g++", "clang++"] {
        let mut build = Command::new(compiler);
        build.current_dir(folder).args(["-O2", "-o"]).arg(&program).arg("emulated.cpp");
        if let Ok(output) = build.output() {
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{compiler} does not compile the kernel: {words}");
            return Some(program);
        }
    }
    None
}

#[test]
fn the_kernel_chooses_what_the_host_chooses() {
    if !cfg!(target_os = "linux") {
        return println!("skipped: the emulation is written for Linux");
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = program(folder.path()) else {
        return println!("skipped: there is no C++ compiler (c++, g++ or clang++)");
    };
    let at = |name: &str| folder.path().join(name);
    // One below, at and above a tile of 2,048 entries, and what sorts on a GPU stumble over.
    for m in [1, 7, 256, 2047, 2048, 2049, 8192, 8193, 70_001] {
        let kinds = 7;
        let scores = case(kinds, m);
        let bytes: Vec<u8> = scores.iter().flat_map(|score| score.to_ne_bytes()).collect();
        std::fs::write(at("scores"), bytes).unwrap();
        let mut numbers = vec![1, 30.min(m), m / 2, m - 1, m];
        numbers.retain(|k| *k > 0);
        numbers.dedup();
        for (order, k) in numbers.into_iter().enumerate() {
            let expected: Vec<Vec<u32>> = scores
                .chunks(m)
                .map(|row| {
                    let mut kept: Vec<u32> = largest(row, k).into_iter().map(|(i, _)| i).collect();
                    kept.sort_unstable();
                    kept
                })
                .collect();
            // Fewer blocks than rows, and threads in one of three orders.
            let (blocks, order) = (["7", "3"][k % 2], (order + m) % 3);
            let numbers = [kinds, m, k].map(|number| number.to_string());
            let mut run = Command::new(&program);
            run.arg(at("scores")).arg(at("indices")).args(numbers);
            let output = run.arg(blocks).arg(order.to_string()).output().unwrap();
            assert!(output.status.success(), "{k} of {m}: {output:?}");
            let found = std::fs::read(at("indices")).unwrap();
            let found: Vec<u32> =
                found.chunks(4).map(|own| u32::from_ne_bytes(own.try_into().unwrap())).collect();
            for (kind, (found, expected)) in found.chunks(k).zip(&expected).enumerate() {
                assert!(found == *expected, "row {kind}, {k} of {m}, order {order}");
            }
        }
    }
}
