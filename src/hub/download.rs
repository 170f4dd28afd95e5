//! Fetching a file into the cache.
//!
//! `hf-hub` is not used: its requests cannot be given time limits or be stopped, it gives up on a
//! file that another process fetches after five seconds, it panics at a redirect without a target,
//! and it uses one text as the file's name and as a part of the address. What is left of it is the
//! cache's layout, which is kept.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::Hub;
use super::cache::CacheFolder;
use super::client::{Client, Refusal};
use super::names::Repo;
use super::remote::About;
use crate::http::Patience;
use crate::progress::Progress;
use crate::{Error, Result};

const KILOBYTE: u64 = 1024;
/// An attempt that brings as much as this does not count as a failed one.
const WORTHWHILE: u64 = 1 << 20;
const SHA256_DIGITS: usize = 64;
/// How often a lock is tried.
const POLL: Duration = Duration::from_millis(100);
/// A wait of this length is shown.
const QUIET: Duration = Duration::from_millis(500);
/// Bytes that are hashed between two looks at Stop.
const HASHED: usize = 1 << 22;

/// Fetches file `name` into the cache and returns its path there.
pub(super) fn fetch(hub: &Hub, repo: &Repo, name: &str) -> Result<PathBuf> {
    let client = hub.client();
    let refused = |refusal: Refusal| refusal.into_error(format!("{name} of {repo}"));
    let about = hub.about_to_fetch(&client, repo, name).map_err(refused)?;
    let folder = CacheFolder::new(&hub.cache, repo);
    let blob = folder.blob(&about.key)?;
    let part = blob.with_file_name(format!("{}.part", about.key));
    let download = Download { hub, repo, name, client: &client, about: &about, part: &part };
    let [python, rust] = folder.locks(&about.key)?;
    let _locks = (download.lock(&python)?, download.lock(&rust)?);
    // Another process may have fetched it meanwhile.
    if fs::metadata(&blob).ok().map(|about| about.len()) != Some(about.size) {
        download.run()?;
        fs::rename(&part, &blob).map_err(Error::io("write", &blob))?;
    }
    folder.link(&blob, &about.commit, name)
}

struct Download<'a> {
    hub: &'a Hub,
    repo: &'a Repo,
    name: &'a str,
    client: &'a Client,
    about: &'a About,
    /// What has arrived so far.
    part: &'a Path,
}

/// Why an attempt failed: the hub, or this machine.
enum Failure {
    Hub(Refusal),
    Here(Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Hub(refusal)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Here(error)
    }
}

impl Download<'_> {
    fn patience(&self) -> &Patience {
        &self.hub.patience
    }

    fn error(&self, refusal: Refusal) -> Error {
        refusal.into_error(format!("{} of {}", self.name, self.repo))
    }

    /// Waits, or fails when Stop is pressed.
    fn sleep(&self, duration: Duration) -> Result<()> {
        self.patience().sleep(duration).map_err(|_| self.error(Refusal::Stopped))
    }

    /// Bytes that have arrived.
    fn arrived(&self) -> u64 {
        fs::metadata(self.part).map_or(0, |about| about.len())
    }

    /// Waits until nobody else fetches the file. The system takes the lock of a process that ends,
    /// however it ends.
    fn lock(&self, path: &Path) -> Result<Option<File>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(Error::io("create", path))?;
        let start = Instant::now();
        let mut bar = None;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) => {}
                // A file system without locks.
                Err(TryLockError::Error(_)) => return Ok(None),
            }
            if start.elapsed() >= QUIET {
                let arrived = self.arrived() / KILOBYTE;
                let (bar, shown) = bar.get_or_insert_with(|| {
                    let label = format!("waiting for another process that fetches {}", self.name);
                    (Progress::new(label, self.about.size.div_ceil(KILOBYTE), "kilobyte"), 0)
                });
                // Stop is looked for while sleeping.
                let _ = bar.advance(arrived.saturating_sub(*shown));
                *shown = arrived.max(*shown);
            }
            self.sleep(POLL)?;
        }
    }

    /// Fetches what has not arrived yet, and checks all of it.
    fn run(&self) -> Result<()> {
        let rest = self.arrived();
        self.fill()?;
        match self.check()? {
            None => Ok(()),
            // What was left here by an earlier download may be what is wrong.
            Some(_) if rest > 0 => {
                self.discard()?;
                self.fill()?;
                self.check()?.map_or(Ok(()), |error| self.discard().and(Err(error)))
            }
            Some(error) => self.discard().and(Err(error)),
        }
    }

    fn discard(&self) -> Result<()> {
        match fs::remove_file(self.part) {
            Err(reason) if reason.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", self.part)(reason))
            }
            _ => Ok(()),
        }
    }

    fn fill(&self) -> Result<()> {
        if let Some(content) = &self.about.content {
            let written = File::create(self.part).and_then(|mut file| {
                file.write_all(content)?;
                file.sync_all()
            });
            return written.map_err(Error::io("write", self.part));
        }
        if self.arrived() > self.about.size {
            self.discard()?;
        }
        let total = self.about.size.div_ceil(KILOBYTE);
        let mut bar = Progress::new(format!("fetching {}", self.name), total, "kilobyte");
        let mut counted = 0;
        while self.arrived() < self.about.size || !self.part.exists() {
            let done = self.hub.retried(|| {
                let before = self.arrived();
                match self.attempt(&mut bar, &mut counted) {
                    Err(Failure::Here(error)) => Ok(Err(error)),
                    // A long download may break off more than a few times.
                    Err(Failure::Hub(Refusal::Unreachable { .. }))
                        if self.arrived() >= before + WORTHWHILE =>
                    {
                        Ok(Ok(()))
                    }
                    Err(Failure::Hub(refusal)) => Err(refusal),
                    Ok(()) => Ok(Ok(())),
                }
            });
            done.map_err(|refusal| self.error(refusal))??;
        }
        Ok(())
    }

    /// Asks for what is missing and writes what arrives.
    fn attempt(&self, bar: &mut Progress, counted: &mut u64) -> Result<(), Failure> {
        let file = OpenOptions::new().append(true).create(true).open(self.part);
        let mut file = file.map_err(Error::io("create", self.part))?;
        let About { address, size, .. } = self.about;
        let mut start = self.arrived();
        if *size > 0 {
            let mut answer = self.client.get(address, Some(&format!("bytes={start}-")))?;
            match answer.status {
                206 => {}
                // A server that does not know of ranges begins anew.
                200 => {
                    file.set_len(0).map_err(Error::io("write", self.part))?;
                    start = 0;
                }
                _ => return Err(self.hub.refusal(self.repo, self.name, &answer).into()),
            }
            let mut arrived = start;
            while let Some(chunk) = answer.next()? {
                if arrived + chunk.len() as u64 > *size {
                    let found = format!("more than the {size} bytes that were announced");
                    return Err(Refusal::Odd { address: address.clone(), found }.into());
                }
                file.write_all(&chunk).map_err(Error::io("write", self.part))?;
                arrived += chunk.len() as u64;
                // The last one need not be whole.
                let is_last = arrived == *size;
                let kilobytes =
                    arrived / KILOBYTE + u64::from(is_last && !arrived.is_multiple_of(KILOBYTE));
                let stopped = bar.advance(kilobytes.saturating_sub(*counted));
                *counted = kilobytes.max(*counted);
                if stopped || (self.patience().is_stopped)() {
                    return Err(Refusal::Stopped.into());
                }
            }
            if arrived < *size {
                let reason = format!("the connection ended after {arrived} of {size} bytes");
                let address = address.clone();
                return Err(Refusal::Unreachable {
                    address,
                    reason,
                    cause: None,
                    again: Some(None),
                }
                .into());
            }
        }
        file.sync_all().map_err(Error::io("write", self.part))?;
        Ok(())
    }

    /// What is wrong with the bytes that arrived: large files have their SHA-256 as ETag.
    fn check(&self) -> Result<Option<Error>> {
        let About { address, key, .. } = self.about;
        if key.len() != SHA256_DIGITS || !key.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let reading = || Error::io("read", self.part);
        let mut file = File::open(self.part).map_err(reading())?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; HASHED];
        loop {
            let read = file.read(&mut buffer).map_err(reading())?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            self.sleep(Duration::ZERO)?;
        }
        let found = format!("{:x}", hash.finalize());
        Ok((found != *key).then(|| {
            let expected = format!("SHA-256 {key}");
            Error::format(address.as_ref(), expected, format!("{found}; try again"))
        }))
    }
}
