//! Memory that stays with the process while it computes.

#![allow(unsafe_code, reason = "the allocator of the C library has no safe interface")]

use std::sync::Once;

/// Lets the allocator of this process keep large blocks that are freed, instead of giving each back to
/// the system and faulting it in again a moment later.
///
/// Training and the scan of [`Tracer`](crate::bilinear::tracer::Tracer) free and ask for the same
/// megabytes hundreds of times, which can cost as much as their arithmetic. The price is that the
/// process stays as large as it ever was, so the library never calls this by itself: notebooks do, and
/// a program that trains may, once, before it begins. It has an effect with glibc only.
pub fn keep_freed_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        // SAFETY: mallopt takes two integers and may be called at any time.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
            libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        }
    });
}
