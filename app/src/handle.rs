//! A server that runs.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use eigenlens::Result;
use eigenlens::features::Explanations;
use eigenlens::notebook::MimeBundle;
use tokio::sync::oneshot;

use crate::explained::Explained;
use crate::guard::Token;
use crate::worker::Worker;

/// Height of the page in a notebook, in pixels.
const HEIGHT: u32 = 900;

/// Pages that were shown and whose values are gone, by title.
static LEFT: Mutex<Vec<(String, Running)>> = Mutex::new(Vec::new());

/// A page that is being served.
///
/// A cell that ends with it shows the page, also one that keeps no variable of it. From then on it is
/// served until [`App::stop`], until the same autoencoder's page is shown again after the value is gone,
/// or until the kernel ends. A page that was never shown ends with its value. Its text is the link for
/// a browser, which carries the token that the server asks for: who has the link can use the page.
pub struct App {
    title: String,
    port: u16,
    token: Token,
    explained: Explained,
    shown: AtomicBool,
    running: Option<Running>,
}

/// The threads of a server, which end with it.
struct Running {
    worker: Worker,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.worker.close();
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl App {
    pub(crate) fn new(
        title: String,
        port: u16,
        token: Token,
        explained: Explained,
        worker: Worker,
        stop: oneshot::Sender<()>,
        thread: JoinHandle<()>,
    ) -> Self {
        let running = Some(Running { worker, stop: Some(stop), thread: Some(thread) });
        Self { title, port, token, explained, shown: AtomicBool::new(false), running }
    }

    /// The port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The link for a browser, with the token in the part that browsers do not send.
    pub fn link(&self) -> String {
        format!("http://127.0.0.1:{}/#token={}", self.port, self.token.as_str())
    }

    /// Shows these explanations from now on, in the place of those that it had. A page that is open has
    /// them once it is loaded anew.
    ///
    /// # Errors
    /// [`Error::Invalid`](eigenlens::Error::Invalid) for explanations of latents that the autoencoder
    /// does not have; then those from before stay.
    pub fn explanations(&self, explanations: &Explanations) -> Result<()> {
        self.explained.set(explanations.clone())
    }

    /// Ends the server and gives its port back.
    pub fn stop(mut self) {
        self.running = None;
    }

    /// Waits for the server's end, which only the end of the process brings.
    pub fn wait(mut self) {
        if let Some(thread) = self.running.as_mut().and_then(|own| own.thread.take()) {
            let _ = thread.join();
        }
    }

    /// Shows the page as the value of a cell, with its link.
    pub fn evcxr_display(&self) {
        let link = self.link();
        let html = format!(
            "<iframe src=\"{link}&embed=1\" width=\"100%\" height=\"{HEIGHT}\" \
             style=\"border:1px solid var(--jp-border-color2,#ccc)\" \
             title=\"eigenlens: latents\"></iframe><p><a href=\"{link}\" target=\"_blank\" \
             rel=\"noreferrer\">Open the page in a tab of its own</a></p>"
        );
        self.keep();
        MimeBundle::text(self.to_string()).html(html).show_as_result();
    }
}

impl App {
    /// Leaves the page alive when this value goes, and ends those of the same title that were left.
    fn keep(&self) {
        self.shown.store(true, Ordering::Relaxed);
        let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
        let old: Vec<_> = left.extract_if(.., |(title, _)| *title == self.title).collect();
        drop(left);
        drop(old);
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(running) = self.running.take().filter(|_| self.shown.load(Ordering::Relaxed)) {
            let title = std::mem::take(&mut self.title);
            LEFT.lock().unwrap_or_else(PoisonError::into_inner).push((title, running));
        }
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("title", &self.title).field("port", &self.port).finish()
    }
}

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.title, self.link())
    }
}
