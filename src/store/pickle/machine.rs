//! The machine that a pickle is a program for: its stack, and what its steps take and leave there.

use std::cell::Cell;
use std::collections::HashMap;

use super::{Id, PickleResult, PickleValue, fail};

/// What is left of the bytes, what was made of those before, and what of it is at hand.
#[derive(Default)]
pub(super) struct Machine<'a> {
    pub(super) rest: &'a [u8],
    pub(super) values: Vec<PickleValue>,
    pub(super) stack: Vec<Id>,
    /// The stack's heights at the marks.
    pub(super) marks: Vec<usize>,
    pub(super) memo: HashMap<u64, Id>,
    /// Bytes that may still be copied.
    pub(super) copies: Cell<usize>,
}

impl<'a> Machine<'a> {
    /// Counts a copy of so many entries of a text or list that was made before: without a bound, a few
    /// bytes of program would copy a long one again and again.
    pub(super) fn count_copy<T>(&self, entries: usize) -> PickleResult<()> {
        match self.copies.get().checked_sub(entries.saturating_mul(size_of::<T>())) {
            Some(left) => self.copies.set(left),
            None => return fail("a pickle that copies its texts and lists again and again"),
        }
        Ok(())
    }

    pub(super) fn take(&mut self, count: usize) -> PickleResult<&'a [u8]> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => fail("a pickle that is cut short"),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> PickleResult<[u8; N]> {
        let taken = self.take(N)?;
        taken.try_into().or_else(|_| fail("a pickle that is cut short"))
    }

    pub(super) fn byte(&mut self) -> PickleResult<usize> {
        Ok(self.array::<1>()?[0].into())
    }

    pub(super) fn u32(&mut self) -> PickleResult<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    pub(super) fn u64(&mut self) -> PickleResult<usize> {
        Ok(usize::try_from(u64::from_le_bytes(self.array()?)).unwrap_or(usize::MAX))
    }

    pub(super) fn line(&mut self) -> PickleResult<&'a str> {
        let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') else {
            return fail("a pickle that is cut short");
        };
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end]).or_else(|_| fail("a text that is not UTF-8"))
    }

    pub(super) fn text(&mut self, length: usize) -> PickleResult<()> {
        let text = self.take(length)?;
        self.push(PickleValue::Text(String::from_utf8_lossy(text).into_owned()));
        Ok(())
    }

    pub(super) fn push(&mut self, value: PickleValue) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    pub(super) fn pop(&mut self) -> PickleResult<Id> {
        match self.stack.pop() {
            Some(id) if self.marks.last().is_none_or(|mark| *mark <= self.stack.len()) => Ok(id),
            _ => fail("a pickle that takes more values than it makes"),
        }
    }

    pub(super) fn top(&self) -> PickleResult<Id> {
        self.stack.last().copied().map_or_else(|| fail("a pickle without a value"), Ok)
    }

    /// What lies above the last mark.
    pub(super) fn popped(&mut self) -> PickleResult<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => fail("a pickle that takes more values than it makes"),
        }
    }

    pub(super) fn tuple(&mut self, count: usize) -> PickleResult<()> {
        let mut items: Vec<Id> = (0..count).map(|_| self.pop()).collect::<PickleResult<_>>()?;
        items.reverse();
        self.push(PickleValue::Tuple(items));
        Ok(())
    }

    pub(super) fn append(&mut self, items: Vec<Id>) -> PickleResult<()> {
        let top = self.top()?;
        match &mut self.values[top] {
            PickleValue::List(list) => list.extend(items),
            other => return fail(format!("items for {}, which is no list", name_of(other))),
        }
        Ok(())
    }

    pub(super) fn set(&mut self, items: &[Id]) -> PickleResult<()> {
        let top = self.top()?;
        let pairs = items.as_chunks::<2>().0.iter().map(|[key, value]| (*key, *value));
        match &mut self.values[top] {
            PickleValue::Dict(dict) => dict.extend(pairs),
            other => {
                return fail(format!("entries for {}, which is no dictionary", name_of(other)));
            }
        }
        Ok(())
    }

    pub(super) fn remember(&mut self, key: u64) -> PickleResult<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    pub(super) fn recall(&mut self, key: u64) -> PickleResult<()> {
        match self.memo.get(&key) {
            Some(id) => self.stack.push(*id),
            None => return fail("a pickle that recalls a value it did not keep"),
        }
        Ok(())
    }

    pub(super) fn number<T: std::str::FromStr>(line: &str) -> PickleResult<T> {
        line.trim_end_matches('L').parse().or_else(|_| fail(format!("`{line:.20}` for a number")))
    }

    pub(super) fn items(&self, id: Id) -> &[Id] {
        match &self.values[id] {
            PickleValue::Tuple(items) | PickleValue::List(items) => items,
            _ => &[],
        }
    }

    pub(super) fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        let size = |id: &Id| match self.values[*id] {
            PickleValue::Int(size) => usize::try_from(size).ok(),
            _ => None,
        };
        self.items(id).iter().map(size).collect()
    }
}

fn name_of(value: &PickleValue) -> String {
    match value {
        PickleValue::Global(name) | PickleValue::Object(name, _) => format!("{name:.80}"),
        other => format!("{other:?}").chars().take(40).collect(),
    }
}
