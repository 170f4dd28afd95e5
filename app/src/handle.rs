//! A server that runs.

use std::fmt;
use std::thread::JoinHandle;

use eigenlens::notebook::MimeBundle;
use tokio::sync::oneshot;

use crate::guard::Token;
use crate::worker::Worker;

/// Height of the page in a notebook, in pixels.
const HEIGHT: u32 = 900;

/// A page that is being served. It is served until this value is dropped or [`App::stop`] is called.
///
/// A cell that ends with it shows the page. Its text is the link for a browser, which carries the
/// token that the server asks for: who has the link can use the page.
pub struct App {
    title: String,
    port: u16,
    token: Token,
    worker: Worker,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl App {
    pub(crate) fn new(
        title: String,
        port: u16,
        token: Token,
        worker: Worker,
        stop: oneshot::Sender<()>,
        thread: JoinHandle<()>,
    ) -> Self {
        Self { title, port, token, worker, stop: Some(stop), thread: Some(thread) }
    }

    /// The port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The link for a browser, with the token in the part that browsers do not send.
    pub fn link(&self) -> String {
        format!("http://127.0.0.1:{}/#token={}", self.port, self.token.as_str())
    }

    /// Ends the server and gives its port back.
    pub fn stop(self) {}

    /// Waits for the server's end, which only the end of the process brings.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
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
        MimeBundle::text(self.to_string()).html(html).show_as_result();
    }
}

impl Drop for App {
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
