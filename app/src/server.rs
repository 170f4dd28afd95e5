//! The thread that listens, with its limits.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::explained::Explained;
use crate::guard::{Guard, Token};
use crate::handle::App;
use crate::labels::Labels;
use crate::prompts::Prompts;
use crate::routes;
use crate::subject::Subject;
use crate::worker::Worker;
use eigenlens::{Error, Result};

/// Connections at a time; one more waits.
const CONNECTIONS: usize = 32;
/// Bytes of a request's head at most.
const HEAD: usize = 16 * 1024;
/// How long a request's head may take to arrive.
const READ: Duration = Duration::from_secs(10);

/// What requests are answered from.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) subject: Subject,
    pub(crate) labels: Labels,
    pub(crate) explained: Explained,
    pub(crate) prompts: Prompts,
    pub(crate) worker: Worker,
}

/// Listens on 127.0.0.1 and serves on threads of its own.
pub(crate) fn start(
    subject: Subject,
    labels: Labels,
    explained: Explained,
    port: u16,
    logs: bool,
) -> Result<App> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let name = address.to_string();
    let failed = |reason| Error::io("listen on", Path::new(&name))(reason);
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let token = Token::new()?;
    let worker = Worker::start().map_err(failed)?;
    let title = subject.name.clone();
    let served = Served {
        subject,
        labels,
        explained: explained.clone(),
        prompts: Prompts::default(),
        worker: worker.clone(),
    };
    let guard = Guard { token: token.clone(), logs };
    let router = routes::router(Arc::new(served), guard);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(failed)?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("eigenlens app: server".to_owned());
    let thread = thread
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = listen(listener, router) => {}
                    _ = stopped => {}
                }
            });
        })
        .map_err(failed)?;
    Ok(App::new(title, port, token, explained, worker, stop, thread))
}

async fn listen(listener: TcpListener, router: Router) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of files, for example: connections end, and make room.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(READ)
                .max_buf_size(HEAD)
                .serve_connection(TokioIo::new(stream), service);
            // A client that went away is no news.
            let _ = connection.await;
            drop(place);
        });
    }
}
