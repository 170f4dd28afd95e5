//! Memory that stays with the process while it computes.

use std::sync::Once;

/// Lets the allocator keep large blocks that are freed, instead of giving each back to the system
/// and faulting it in again a moment later: training and the Tracer's scan free and ask for the same
/// megabytes hundreds of times, and that can cost as much as their arithmetic.
pub(crate) fn keep_freed_memory() {
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
