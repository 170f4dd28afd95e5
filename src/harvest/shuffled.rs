//! Activations in a uniformly random order, with two blocks of them in memory.
//!
//! At harvest each row went to a pile drawn for it alone. An epoch takes the piles in random order and
//! permutes each in memory, which together is a uniformly random permutation of all rows (Rao 1961).

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

use candle_core::{DType, Tensor};

use super::native;
use super::piles::{Draw, draw};
use super::shard::Shard;
use crate::check::check_sizes;
use crate::random::Rng;
use crate::{Error, Result};

/// How [`Store::shuffled`](super::Store::shuffled) goes over activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShuffleOptions {
    /// Rows per tensor; the last has what is left. 4,096.
    pub batch: usize,
    /// The order; 0.
    pub seed: u64,
    /// Which pass over the activations it is: each has an order of its own. 0.
    pub epoch: u64,
    /// Bytes of activations in memory: one half is handed out while the other is read. As many piles
    /// as fit into a half are shuffled together. 1 GiB.
    pub memory: usize,
}

impl Default for ShuffleOptions {
    fn default() -> Self {
        Self { batch: 4_096, seed: 0, epoch: 0, memory: 1 << 30 }
    }
}

/// The shards of some hook points, with the same rows in each.
#[derive(Debug)]
pub(super) struct Shards {
    pub(super) points: Vec<ShardsOfPoint>,
    pub(super) dtype: DType,
    pub(super) piles: usize,
}

/// The shards of one hook point, in the order of the units.
#[derive(Debug)]
pub(super) struct ShardsOfPoint {
    pub(super) width: usize,
    pub(super) shards: Vec<Shard>,
}

impl Shards {
    fn rows_in(&self, pile: usize) -> usize {
        self.points[0].shards.iter().map(|shard| shard.rows_in(pile)).sum()
    }

    /// Number of all rows.
    pub(super) fn rows(&self) -> usize {
        (0..self.piles).map(|pile| self.rows_in(pile)).sum()
    }

    fn row_bytes(&self) -> usize {
        self.points.iter().map(|point| point.width * self.dtype.size_in_bytes()).sum()
    }

    /// Bytes of two of the largest pile.
    pub(super) fn least_memory(&self) -> usize {
        let largest = (0..self.piles).map(|pile| self.rows_in(pile)).max().unwrap_or(0);
        2 * largest * self.row_bytes()
    }

    /// The piles of an epoch, some together, in random order.
    ///
    /// # Errors
    /// If two piles need more than `memory` bytes.
    fn blocks(&self, seed: u64, epoch: u64, memory: usize) -> Result<Vec<Vec<usize>>> {
        let least = self.least_memory();
        if memory < least {
            let expected = format!("at least {least}, two piles of the store's activations");
            return Err(Error::invalid("`memory`", expected, memory));
        }
        let together = memory.checked_div(least).unwrap_or(1).clamp(1, self.piles);
        let mut rng = Rng::stream(draw(seed, Draw::Order, epoch), 0);
        let order: Vec<usize> =
            rng.permutation(self.piles).into_iter().map(|pile| pile as usize).collect();
        Ok(order.chunks(together).map(<[usize]>::to_vec).collect())
    }

    /// Reads some piles into the memory of a block that is not needed any more.
    fn read(&self, piles: &[usize], mut columns: Vec<Vec<u8>>) -> Result<Block> {
        columns.resize_with(self.points.len(), Vec::new);
        for (point, bytes) in self.points.iter().zip(&mut columns) {
            let parts =
                piles.iter().flat_map(|pile| point.shards.iter().map(move |own| (*pile, own)));
            let size = parts.clone().map(|(pile, shard)| shard.bytes_in(pile)).sum::<usize>();
            if bytes.try_reserve_exact(size.saturating_sub(bytes.len())).is_err() {
                return Err(Error::invalid("`memory`", "no more than there is", size));
            }
            bytes.resize(size, 0);
            let mut rest = &mut bytes[..];
            let reads = parts.map(|(pile, shard)| {
                let own;
                (own, rest) = std::mem::take(&mut rest).split_at_mut(shard.bytes_in(pile));
                (pile, shard, own)
            });
            if let Some(first) = point.shards.first() {
                let read =
                    |(pile, shard, own): (usize, &Shard, &mut [u8])| shard.read_pile(pile, own);
                first.place().for_each(reads.collect(), read)?;
            }
        }
        Ok(Block { columns, rows: piles.iter().map(|pile| self.rows_in(*pile)).sum() })
    }
}

/// Rows of a few piles as they lie in the files.
#[derive(Debug)]
struct Block {
    /// Bytes of each hook point.
    columns: Vec<Vec<u8>>,
    rows: usize,
}

/// Rows in random order, epoch after epoch.
#[derive(Debug)]
pub(super) struct ShuffledRows {
    shards: Arc<Shards>,
    seed: u64,
    memory: usize,
    /// Number of rows of an epoch.
    rows: usize,
    epoch: u64,
    /// Which of the epoch's blocks is at hand.
    block_number: usize,
    block: Block,
    order: Vec<u32>,
    next: usize,
    coming: ReadAhead,
}

impl ShuffledRows {
    /// The rows from number `first` on, counted over epochs.
    ///
    /// # Errors
    /// If there are no rows, if memory is too small, or if a shard cannot be read.
    pub(super) fn new(shards: Arc<Shards>, seed: u64, memory: usize, first: u64) -> Result<Self> {
        let rows = shards.rows();
        if rows == 0 {
            return Err(Error::invalid("the activations of the store", "at least one", 0));
        }
        let (epoch, mut skipped) = (first / rows as u64, (first % rows as u64) as usize);
        let blocks = shards.blocks(seed, epoch, memory)?;
        let mut block_number = 0;
        let rows_of = |block: &Vec<usize>| block.iter().map(|p| shards.rows_in(*p)).sum::<usize>();
        while skipped >= rows_of(&blocks[block_number]) {
            skipped -= rows_of(&blocks[block_number]);
            block_number += 1;
        }
        let coming = read_ahead(&shards, blocks[block_number..].to_vec());
        let empty = Block { columns: Vec::new(), rows: 0 };
        let mut own = Self {
            shards,
            seed,
            memory,
            rows,
            epoch,
            block_number: block_number.wrapping_sub(1),
            block: empty,
            order: Vec::new(),
            next: 0,
            coming,
        };
        own.advance()?;
        own.next = skipped;
        Ok(own)
    }

    /// Number of rows of an epoch.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn widths(&self) -> Vec<usize> {
        self.shards.points.iter().map(|point| point.width).collect()
    }

    pub(super) fn dtype(&self) -> DType {
        self.shards.dtype
    }

    /// Goes to the next block.
    fn advance(&mut self) -> Result<()> {
        loop {
            // The old one's memory is that of the next but one: there are never three.
            let done = std::mem::replace(&mut self.block, Block { columns: Vec::new(), rows: 0 });
            self.order.clear();
            self.next = 0;
            match self.coming.next(done) {
                Some(block) => self.block = block?,
                None => {
                    self.epoch += 1;
                    self.block_number = usize::MAX;
                    let blocks = self.shards.blocks(self.seed, self.epoch, self.memory)?;
                    self.coming = read_ahead(&self.shards, blocks);
                    continue;
                }
            }
            self.block_number = self.block_number.wrapping_add(1);
            let stream = 1 + self.block_number as u64;
            let mut rng = Rng::stream(draw(self.seed, Draw::Order, self.epoch), stream);
            self.order = rng.permutation(self.block.rows);
            if self.block.rows > 0 {
                return Ok(());
            }
        }
    }

    /// Hands out the next `rows` rows: `take` is called with runs of them, each as the hook point's
    /// number, how many rows came before, and the row's bytes.
    ///
    /// # Errors
    /// If a shard cannot be read.
    pub(super) fn next_rows(
        &mut self,
        rows: usize,
        mut take: impl FnMut(usize, usize, &[u8]),
    ) -> Result<()> {
        let mut done = 0;
        while done < rows {
            if self.next == self.block.rows {
                self.advance()?;
            }
            let count = (rows - done).min(self.block.rows - self.next);
            let order = &self.order[self.next..self.next + count];
            for (column, bytes) in self.block.columns.iter().enumerate() {
                let size = bytes.len() / self.block.rows;
                for (at, row) in order.iter().enumerate() {
                    let start = *row as usize * size;
                    take(column, done + at, &bytes[start..start + size]);
                }
            }
            self.next += count;
            done += count;
        }
        Ok(())
    }
}

/// Blocks that a thread reads, each while the one before is in use.
#[derive(Debug)]
struct ReadAhead {
    coming: Receiver<Result<Block>>,
    done: Sender<Block>,
}

impl ReadAhead {
    /// The next block, in exchange for the one that is done; none after the last.
    fn next(&self, done: Block) -> Option<Result<Block>> {
        // Nobody takes it after the last block.
        let _ = self.done.send(done);
        self.coming.recv().ok()
    }
}

fn read_ahead(shards: &Arc<Shards>, blocks: Vec<Vec<usize>>) -> ReadAhead {
    let (send, coming) = sync_channel(0);
    let (done, spare) = channel::<Block>();
    let shards = Arc::clone(shards);
    std::thread::spawn(move || {
        for (number, block) in blocks.into_iter().enumerate() {
            // The first is exchanged for nothing, and the second is read while it is in use.
            let columns = match number {
                0 => Vec::new(),
                _ => spare.recv().map_or_else(|_| Vec::new(), |block| block.columns),
            };
            let block = shards.read(&block, columns);
            let failed = block.is_err();
            // No one waits any more: the reader was dropped.
            if send.send(block).is_err() || failed {
                return;
            }
        }
    });
    ReadAhead { coming, done }
}

/// The activations at a hook point in a uniformly random order, as tensors `[batch, width]` in the type
/// they are kept in. Each activation comes once.
#[derive(Debug)]
pub struct Shuffled {
    rows: ShuffledRows,
    left: usize,
    batch: usize,
}

impl Shuffled {
    pub(super) fn new(shards: Shards, options: &ShuffleOptions) -> Result<Self> {
        check_sizes(&[("`batch`", options.batch), ("`memory`", options.memory)])?;
        let count = shards.rows();
        let first = options.epoch * count as u64;
        let rows = ShuffledRows::new(Arc::new(shards), options.seed, options.memory, first)?;
        Ok(Self { rows, left: count, batch: options.batch })
    }

    /// Number of activations.
    pub fn rows(&self) -> usize {
        self.rows.rows()
    }

    fn batch(&mut self) -> Result<Tensor> {
        let count = self.batch.min(self.left);
        self.left -= count;
        let (width, dtype) = (self.rows.widths()[0], self.rows.dtype());
        let row_bytes = width * dtype.size_in_bytes();
        let mut read = Ok(());
        let tensor = native::filled(dtype, count, width, |bytes| {
            read = self.rows.next_rows(count, |_, at, row| {
                bytes[at * row_bytes..][..row_bytes].copy_from_slice(row);
            });
        })?;
        read.map(|()| tensor)
    }
}

impl Iterator for Shuffled {
    type Item = Result<Tensor>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let batch = self.batch();
        if batch.is_err() {
            self.left = 0;
        }
        Some(batch)
    }
}
