//! The files of a store at `s3://bucket/prefix`, by S3's protocol.
//!
//! There are no locks and no renames: a file is there when its upload is complete, records are put only
//! if there is none, and what no record names stays for a day before `tidy` takes it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::path::Path as Key;
use object_store::{
    ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutMode, RetryConfig, WriteMultipart,
};
use tempfile::NamedTempFile;
use tokio::runtime::Runtime;

use super::place::{FolderLock, StoreFiles, StoredContent};
use crate::{Error, Result};

/// Bytes of a request that puts a part of a file.
const UPLOAD_PART: usize = 16 << 20;
/// Parts on their way at a time.
const UPLOADS: usize = 4;
/// Requests at a time when many files are read.
const READERS: usize = 32;
/// A file that no record names may be one that a harvest has just written, until it is this old.
const SETTLED: Duration = Duration::from_secs(24 * 3600);

/// Where requests wait for their answers; none in a process that has no store in a bucket.
static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).thread_name("s3").enable_all().build()
});

/// A prefix in a bucket.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    client: Arc<AmazonS3>,
    /// Begins the keys of all files.
    prefix: Key,
    scratch: Arc<Path>,
}

/// A client of the bucket `name`, with credentials, region and endpoint of the environment: what a
/// store at `s3://name/…` is read with.
///
/// # Errors
/// If the environment has what makes no client.
pub fn s3_bucket(name: &str) -> Result<AmazonS3> {
    let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
    let endpoint = endpoint.iter().find_map(|name| std::env::var(name).ok());
    let retry = RetryConfig {
        max_retries: 5,
        retry_timeout: Duration::from_secs(60),
        ..RetryConfig::default()
    };
    let builder = AmazonS3Builder::from_env()
        .with_bucket_name(name)
        // Who writes out an address without encryption wants it.
        .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")))
        // The server refuses what arrives changed.
        .with_checksum_algorithm(Checksum::SHA256)
        .with_retry(retry);
    builder.build().map_err(|reason| {
        let path = format!("s3://{name}");
        Error::io("open", Path::new(&path))(in_words(reason))
    })
}

impl Bucket {
    /// # Errors
    /// If there is no bucket in `place`, or if no client can be made.
    pub(super) fn new(place: &str) -> Result<Self> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = Key::parse(prefix.trim_end_matches('/')).ok().filter(|_| !bucket.is_empty());
        let prefix = prefix.ok_or_else(|| {
            Error::invalid("the store", "`s3://bucket/prefix`", format!("s3://{place}"))
        })?;
        let (client, scratch) = (Arc::new(s3_bucket(bucket)?), std::env::temp_dir().into());
        Ok(Self { client, prefix, scratch })
    }

    fn key(&self, name: &str) -> Key {
        name.split('/').filter(|part| !part.is_empty()).fold(self.prefix.clone(), Key::join)
    }

    fn list(&self, under: &str) -> io::Result<Vec<ObjectMeta>> {
        let (client, folder) = (Arc::clone(&self.client), self.key(under));
        wait(async move { client.list(Some(&folder)).try_collect().await })
    }

    /// The name of a file in the store.
    fn name(&self, key: &Key) -> Option<String> {
        let parts: Vec<String> =
            key.prefix_match(&self.prefix)?.map(|p| p.as_ref().to_owned()).collect();
        (!parts.is_empty()).then(|| parts.join("/"))
    }

    fn sorted_names(&self, found: impl Iterator<Item = ObjectMeta>) -> Vec<String> {
        let mut names: Vec<String> = found.filter_map(|own| self.name(&own.location)).collect();
        names.sort_unstable();
        names
    }
}

impl StoreFiles for Bucket {
    fn create(&self) -> io::Result<()> {
        // A prefix is there when a file is; this asks whether the bucket is.
        self.list("commits").map(drop)
    }

    fn scratch(&self) -> &Path {
        &self.scratch
    }

    fn keep(&self, mut written: NamedTempFile, name: &str) -> io::Result<()> {
        let (client, key) = (Arc::clone(&self.client), self.key(name));
        let file = written.as_file_mut();
        file.rewind()?;
        let length = file.metadata()?.len();
        if length <= UPLOAD_PART as u64 {
            let mut content = Vec::with_capacity(length as usize);
            file.read_to_end(&mut content)?;
            return wait(async move { client.put(&key, content.into()).await.map(drop) });
        }
        let file = file.try_clone()?;
        wait(upload(client, key, file))
    }

    fn put_new(&self, name: &str, content: &[u8]) -> io::Result<bool> {
        let (client, key) = (Arc::clone(&self.client), self.key(name));
        let content = Bytes::copy_from_slice(content);
        let put =
            wait(
                async move { client.put_opts(&key, content.into(), PutMode::Create.into()).await },
            );
        match put {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let (client, key) = (Arc::clone(&self.client), self.key(name));
        match wait(async move { client.get(&key).await?.bytes().await }) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StoredContent>> {
        Ok(Box::new(Object { client: Arc::clone(&self.client), key: self.key(name) }))
    }

    fn open_whole(&self, name: &str) -> io::Result<Box<dyn StoredContent>> {
        let bytes = self.read(name)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Fetched(bytes)))
    }

    fn names(&self, under: &str) -> io::Result<Vec<String>> {
        Ok(self.sorted_names(self.list(under)?.into_iter()))
    }

    fn settled_names(&self) -> io::Result<Vec<String>> {
        let newest = SystemTime::now() - SETTLED;
        let old =
            self.list("")?.into_iter().filter(|own| SystemTime::from(own.last_modified) < newest);
        Ok(self.sorted_names(old))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (client, key) = (Arc::clone(&self.client), self.key(name));
        match wait(async move { client.delete(&key).await }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn share(&self) -> io::Result<FolderLock> {
        // There are no locks: each harvest takes its own order, and records are put once.
        Ok(FolderLock { _file: None, is_first: false })
    }

    fn alone(&self) -> io::Result<Option<FolderLock>> {
        Ok(Some(FolderLock { _file: None, is_first: true }))
    }

    fn readers(&self) -> usize {
        READERS
    }
}

/// Sends a file in parts; the file is there when all are.
async fn upload(client: Arc<AmazonS3>, key: Key, mut file: File) -> object_store::Result<()> {
    let failed = |source: io::Error| object_store::Error::Generic {
        store: "the file to upload",
        source: Box::new(source),
    };
    let mut parts =
        WriteMultipart::new_with_chunk_size(client.put_multipart(&key).await?, UPLOAD_PART);
    loop {
        let mut part = Vec::with_capacity(UPLOAD_PART);
        let sent = match (&mut file).take(UPLOAD_PART as u64).read_to_end(&mut part) {
            Ok(0) => return parts.finish().await.map(drop),
            Ok(_) => parts.wait_for_capacity(UPLOADS).await,
            Err(error) => Err(failed(error)),
        };
        if let Err(error) = sent {
            // The parts cost until they are gone; the error before says more than this one's.
            let _ = parts.abort().await;
            return Err(error);
        }
        parts.put(part.into());
    }
}

/// A file in a bucket, of which ranges are fetched.
#[derive(Debug)]
struct Object {
    client: Arc<AmazonS3>,
    key: Key,
}

impl StoredContent for Object {
    fn length(&self) -> io::Result<u64> {
        let (client, key) = (Arc::clone(&self.client), self.key.clone());
        wait(async move { client.head(&key).await }).map(|found| found.size)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (client, key) = (Arc::clone(&self.client), self.key.clone());
        let range = offset..offset + bytes.len() as u64;
        copy(&wait(async move { client.get_range(&key, range).await })?, bytes)
    }
}

/// A file that was fetched whole.
struct Fetched(Vec<u8>);

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl StoredContent for Fetched {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let end = start.saturating_add(bytes.len()).min(self.0.len());
        copy(&self.0[start..end], bytes)
    }
}

fn copy(found: &[u8], bytes: &mut [u8]) -> io::Result<()> {
    if found.len() != bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.copy_from_slice(found);
    Ok(())
}

/// Waits for a request on this thread, which may be one of another runtime.
fn wait<T: Send + 'static>(
    request: impl Future<Output = object_store::Result<T>> + Send + 'static,
) -> io::Result<T> {
    let runtime =
        RUNTIME.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let (send, answer) = channel();
    runtime.spawn(async move {
        // Nobody else waits for it.
        let _ = send.send(request.await);
    });
    match answer.recv() {
        Ok(outcome) => outcome.map_err(in_words),
        Err(_) => Err(io::Error::other("the request to the bucket was given up")),
    }
}

/// The reason as an error of input and output, with what to do about it.
fn in_words(reason: object_store::Error) -> io::Error {
    use object_store::Error::{
        AlreadyExists, Generic, NotFound, PermissionDenied, Precondition, Unauthenticated,
    };
    let kind = match &reason {
        NotFound { .. } => io::ErrorKind::NotFound,
        AlreadyExists { .. } | Precondition { .. } => io::ErrorKind::AlreadyExists,
        PermissionDenied { .. } | Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    };
    let hint = match &reason {
        PermissionDenied { .. } | Unauthenticated { .. } | Generic { .. } => {
            ". Credentials, region and endpoint are read from AWS_ACCESS_KEY_ID, \
             AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION and AWS_ENDPOINT_URL"
        }
        _ => "",
    };
    io::Error::new(kind, format!("{reason}{hint}"))
}
