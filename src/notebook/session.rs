//! What the kernel sets up in the evaluation process, once, before the first cell.

use std::io::Write;
use std::sync::Once;
use std::time::Duration;

use super::input;
use crate::display::message::Message;
use crate::display::{Host, host, send};
use crate::progress::{install_handler, reset};

/// Connects this process to the kernel: Stop, panic reports, and text printed without a newline.
/// The evaluation process calls it after loading the library; elsewhere it does nothing.
#[unsafe(no_mangle)]
extern "C" fn eigenlens_attach() {
    static ONCE: Once = Once::new();
    if host() != Host::Kernel {
        return;
    }
    ONCE.call_once(|| {
        install_handler();
        input::prepare();
        std::panic::set_hook(Box::new(report_panic));
        // Rust holds standard output back until a newline; a person waits for the dots of `print!`.
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_millis(50));
                let _ = std::io::stdout().flush();
            }
        });
    });
}

fn report_panic(info: &std::panic::PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text".to_owned());
    let (file, line) =
        info.location().map_or_else(Default::default, |at| (at.file().to_owned(), at.line()));
    let thread = std::thread::current().name().map(str::to_owned);
    send(&Message::Panic { message, file, line, thread });
}

/// Called by the evaluation process before each cell.
#[unsafe(no_mangle)]
extern "C" fn eigenlens_cell_begin() {
    reset();
}

/// Called by the evaluation process after each cell: nothing printed may stay in a buffer.
#[unsafe(no_mangle)]
extern "C" fn eigenlens_cell_end() {
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
}
