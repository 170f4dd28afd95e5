//! However a GGUF file's header lies, reading it takes memory in proportion to the file.
//!
//! The allocator counts for the whole process, so this test has a program of its own.

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use eigenlens::gguf::Gguf;

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::SeqCst) + layout.size();
        MOST.fetch_max(now, Ordering::SeqCst);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that was in use at once while a file was parsed, beyond its own bytes.
fn peak(file: Vec<u8>) -> (usize, bool) {
    let before = NOW.load(Ordering::SeqCst);
    MOST.store(before, Ordering::SeqCst);
    let good = Gguf::parse("file.gguf", file).is_ok();
    (MOST.load(Ordering::SeqCst).saturating_sub(before), good)
}

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

/// A header of these counts, and what follows.
fn file(tensors: u64, entries: u64, rest: &[Vec<u8>]) -> Vec<u8> {
    let head = [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes(), &entries.to_le_bytes()].concat();
    [vec![head], rest.to_vec()].concat().concat()
}

#[test]
fn memory_is_in_proportion_to_the_file() {
    const COUNT: u64 = 20_000;
    let name = |i: u64| text(&[b'a' + (i % 26) as u8, b'a' + (i / 26 % 26) as u8, (i / 676) as u8]);
    let small: Vec<_> = (0..COUNT).map(|i| [name(i), vec![0, 0, 0, 0, 1]].concat()).collect();
    let tensors: Vec<_> = (0..COUNT)
        .map(|i| [name(i), vec![0; 8], (32 * i).to_le_bytes().to_vec()].concat())
        .collect();
    let array = |kind: u32, count: u64, rest: Vec<u8>| {
        [
            text(b"k"),
            9u32.to_le_bytes().to_vec(),
            kind.to_le_bytes().to_vec(),
            count.to_le_bytes().to_vec(),
            rest,
        ]
        .concat()
    };
    let empty = |count: u64| vec![0; 8 * count as usize];
    let nested: Vec<u8> = (0..COUNT).flat_map(|_| [0u8; 12]).collect();
    let data = vec![0; 32 * COUNT as usize + 32];
    let cases = [
        ("many small entries", file(0, COUNT, &small), true),
        ("many small tensors", file(COUNT, 0, &[tensors.concat(), data]), true),
        ("many empty texts", file(0, 1, &[array(8, COUNT, empty(COUNT))]), true),
        ("many empty arrays", file(0, 1, &[array(9, COUNT, nested)]), true),
        ("2^64 entries", file(0, u64::MAX, &small), false),
        ("2^64 tensors", file(u64::MAX, 0, &small), false),
        ("2^40 entries", file(0, 1 << 40, &small), false),
        ("2^60 numbers", file(0, 1, &[array(10, 1 << 60, vec![0; 1000])]), false),
        ("2^61 texts", file(0, 1, &[array(8, 1 << 61, vec![0; 1000])]), false),
        ("2^63 bytes of a name", file(0, 1, &[(1u64 << 63).to_le_bytes().to_vec()]), false),
    ];
    for (what, file, good) in cases {
        let size = file.len();
        let (most, read) = peak(file);
        assert_eq!(read, good, "{what}");
        assert!(most <= 24 * size + 4096, "{what}: {most} bytes for a file of {size}");
        println!("{what}: {:.1} bytes a byte", most as f64 / size as f64);
    }
}
