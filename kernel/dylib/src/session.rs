//! What the kernel sets up in the evaluation process, once, before the first cell.
//!
//! The evaluation process finds these functions by name in the shared object. A program that links
//! the library as a crate has none of them, and keeps its signals, its panic hook and its allocator.

#![allow(
    unsafe_code,
    reason = "functions that the evaluation process finds by name, and a signal handler"
)]

use std::io::Write;
use std::panic::PanicHookInfo;
use std::sync::Once;
use std::time::Duration;

use eigenlens::notebook::attach;
use eigenlens::notebook::message::Message;

/// How long printed text may wait for its line end. Rust holds standard output back until a newline,
/// and a person waits for the dots of `print!`.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

/// Connects this process to the kernel: Stop, panic reports, and text printed without a newline.
/// The evaluation process calls it after loading the library; elsewhere it does nothing.
#[unsafe(no_mangle)]
extern "C" fn eigenlens_attach() {
    static ONCE: Once = Once::new();
    if !attach::is_under_kernel() {
        return;
    }
    ONCE.call_once(|| {
        listen_to_stop();
        attach::prepare_input();
        eigenlens::linalg::keep_freed_memory();
        std::panic::set_hook(Box::new(report_panic));
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(FLUSH_INTERVAL);
                let _ = std::io::stdout().flush();
            }
        });
    });
}

/// Called by the evaluation process before each cell.
#[unsafe(no_mangle)]
extern "C" fn eigenlens_cell_begin() {
    attach::forget_stop();
}

/// Called by the evaluation process after each cell: nothing printed may stay in a buffer.
#[unsafe(no_mangle)]
extern "C" fn eigenlens_cell_end() {
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
}

fn listen_to_stop() {
    extern "C" fn on_interrupt(_signal: libc::c_int) {
        attach::request_stop();
    }
    // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
    unsafe {
        let handler: extern "C" fn(libc::c_int) = on_interrupt;
        libc::signal(libc::SIGINT, handler as libc::sighandler_t);
    }
}

fn report_panic(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text".to_owned());
    let (file, line) =
        info.location().map_or_else(Default::default, |at| (at.file().to_owned(), at.line()));
    let thread = std::thread::current().name().map(str::to_owned);
    attach::send(&Message::Panic { message, file, line, thread });
}
