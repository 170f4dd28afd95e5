//! Python's pickles, as data: what they describe is written down, and nothing is ever executed.
//!
//! A pickle is a program for a small stack machine. Here each of its steps makes at most one value
//! of bounded size, so that reading holds no more than some 100 bytes for each byte of the file. A
//! call of a function is an error, but for those few that only put data together.

use std::collections::HashMap;
use std::fmt;

/// A value's place in its [`Pickle`].
pub(crate) type Id = usize;

/// A value; what it holds of others it holds by their places, as a pickle may share them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PickleValue {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Byte strings, of which nothing here needs the content.
    Bytes,
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function, by its module and name.
    Global(String),
    /// An object of a class that is not known here, and its fields.
    Object(String, Id),
    /// Numbers beside the pickle: type, key and count.
    Storage(String, String, usize),
    /// A tensor in a storage.
    Tensor(TensorPlace),
}

/// Where a tensor lies in its storage, in entries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorPlace {
    pub(crate) storage: Id,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) steps: Vec<usize>,
}

/// The values of a pickle.
#[derive(Debug)]
pub(crate) struct Pickle {
    values: Vec<PickleValue>,
    root: Id,
}

/// What is wrong with a pickle.
#[derive(Debug)]
pub(crate) struct Reason(pub(super) String);

impl std::error::Error for Reason {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) type PickleResult<T> = std::result::Result<T, Reason>;

pub(super) fn fail<T>(reason: impl Into<String>) -> PickleResult<T> {
    Err(Reason(reason.into()))
}

impl Pickle {
    /// What a pickle of these bytes describes.
    ///
    /// # Errors
    /// Bytes that are cut short or no pickle; a call of a function.
    pub(crate) fn parse(bytes: &[u8]) -> PickleResult<Self> {
        Ok(Self::parse_first(bytes)?.0)
    }

    /// [`Pickle::parse`] of the first of several pickles in a row, and the bytes after it.
    pub(crate) fn parse_first(bytes: &[u8]) -> PickleResult<(Self, &[u8])> {
        let mut machine = Machine { rest: bytes, ..Machine::default() };
        while machine.step()? {}
        let root = machine.pop()?;
        let rest = machine.rest;
        Ok((Self { values: machine.values, root }, rest))
    }

    /// The classes of all storages, by their keys.
    pub(crate) fn storages(&self) -> HashMap<&str, &str> {
        let storages = self.values.iter().filter_map(|value| match value {
            PickleValue::Storage(class, key, _) => Some((key.as_str(), class.as_str())),
            _ => None,
        });
        storages.collect()
    }

    /// The place of the outermost value.
    pub(crate) fn root(&self) -> Id {
        self.root
    }

    /// The value at a place.
    pub(crate) fn value(&self, id: Id) -> &PickleValue {
        self.values.get(id).unwrap_or(&PickleValue::None)
    }

    /// Keys that are texts, and their values, of a dictionary or of an object's fields.
    pub(crate) fn fields(&self, id: Id) -> Vec<(&str, Id)> {
        let pairs = match self.value(id) {
            PickleValue::Dict(pairs) => pairs,
            PickleValue::Object(_, fields) => match self.value(*fields) {
                PickleValue::Dict(pairs) => pairs,
                _ => return Vec::new(),
            },
            _ => return Vec::new(),
        };
        let text = |key: Id| match self.value(key) {
            PickleValue::Text(text) => Some(text.as_str()),
            _ => None,
        };
        pairs.iter().filter_map(|(key, value)| Some((text(*key)?, *value))).collect()
    }

    /// The value of a field; of several under one name the last.
    pub(crate) fn field(&self, id: Id, name: &str) -> Option<Id> {
        self.fields(id).into_iter().rev().find(|(own, _)| *own == name).map(|(_, value)| value)
    }
}

#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<PickleValue>,
    stack: Vec<Id>,
    /// The stack's heights at the marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Machine<'a> {
    fn take(&mut self, count: usize) -> PickleResult<&'a [u8]> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => fail("a pickle that is cut short"),
        }
    }

    fn array<const N: usize>(&mut self) -> PickleResult<[u8; N]> {
        let taken = self.take(N)?;
        taken.try_into().or_else(|_| fail("a pickle that is cut short"))
    }

    fn byte(&mut self) -> PickleResult<usize> {
        Ok(self.array::<1>()?[0].into())
    }

    fn u32(&mut self) -> PickleResult<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn u64(&mut self) -> PickleResult<usize> {
        Ok(usize::try_from(u64::from_le_bytes(self.array()?)).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> PickleResult<&'a str> {
        let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') else {
            return fail("a pickle that is cut short");
        };
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end]).or_else(|_| fail("a text that is not UTF-8"))
    }

    fn text(&mut self, length: usize) -> PickleResult<()> {
        let text = self.take(length)?;
        self.push(PickleValue::Text(String::from_utf8_lossy(text).into_owned()));
        Ok(())
    }

    fn push(&mut self, value: PickleValue) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> PickleResult<Id> {
        match self.stack.pop() {
            Some(id) if self.marks.last().is_none_or(|mark| *mark <= self.stack.len()) => Ok(id),
            _ => fail("a pickle that takes more values than it makes"),
        }
    }

    fn top(&self) -> PickleResult<Id> {
        self.stack.last().copied().map_or_else(|| fail("a pickle without a value"), Ok)
    }

    /// What lies above the last mark.
    fn popped(&mut self) -> PickleResult<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => fail("a pickle that takes more values than it makes"),
        }
    }

    fn tuple(&mut self, count: usize) -> PickleResult<()> {
        let mut items: Vec<Id> = (0..count).map(|_| self.pop()).collect::<PickleResult<_>>()?;
        items.reverse();
        self.push(PickleValue::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> PickleResult<()> {
        let top = self.top()?;
        match &mut self.values[top] {
            PickleValue::List(list) => list.extend(items),
            other => return fail(format!("items for {}, which is no list", name_of(other))),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> PickleResult<()> {
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

    fn remember(&mut self, key: u64) -> PickleResult<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> PickleResult<()> {
        match self.memo.get(&key) {
            Some(id) => self.stack.push(*id),
            None => return fail("a pickle that recalls a value it did not keep"),
        }
        Ok(())
    }

    fn number<T: std::str::FromStr>(line: &str) -> PickleResult<T> {
        line.trim_end_matches('L').parse().or_else(|_| fail(format!("`{line:.20}` for a number")))
    }

    /// One step; false at the end.
    fn step(&mut self) -> PickleResult<bool> {
        let code = self.byte()? as u8;
        match code {
            b'.' => return Ok(false),
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.popped()?),
            b'2' => self.stack.push(self.top()?),
            b'N' => self.push(PickleValue::None),
            0x88 => self.push(PickleValue::Bool(true)),
            0x89 => self.push(PickleValue::Bool(false)),
            b'I' => match self.line()? {
                "00" => self.push(PickleValue::Bool(false)),
                "01" => self.push(PickleValue::Bool(true)),
                line => self.push(PickleValue::Int(Self::number(line)?)),
            },
            b'L' => {
                let number = Self::number(self.line()?)?;
                self.push(PickleValue::Int(number));
            }
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(PickleValue::Int(number.into()));
            }
            b'K' => {
                let number = self.byte()?;
                self.push(PickleValue::Int(number as i64));
            }
            b'M' => {
                let number = u16::from_le_bytes(self.array()?);
                self.push(PickleValue::Int(number.into()));
            }
            0x8a => {
                let length = self.byte()?;
                let number = long(self.take(length)?)?;
                self.push(PickleValue::Int(number));
            }
            0x8b => {
                let length = self.u32()?;
                let number = long(self.take(length)?)?;
                self.push(PickleValue::Int(number));
            }
            b'F' => {
                let number = Self::number(self.line()?)?;
                self.push(PickleValue::Float(number));
            }
            b'G' => {
                let number = f64::from_be_bytes(self.array()?);
                self.push(PickleValue::Float(number));
            }
            b'S' | b'V' => {
                let line = self.line()?.trim_matches(['\'', '"']).to_owned();
                self.push(PickleValue::Text(line));
            }
            b'X' | b'T' => {
                let length = self.u32()?;
                self.text(length)?;
            }
            0x8c | b'U' => {
                let length = self.byte()?;
                self.text(length)?;
            }
            0x8d => {
                let length = self.u64()?;
                self.text(length)?;
            }
            b'B' | b'C' | 0x8e | 0x96 => {
                let length = match code {
                    b'B' => self.u32()?,
                    b'C' => self.byte()?,
                    _ => self.u64()?,
                };
                self.take(length)?;
                self.push(PickleValue::Bytes);
            }
            b']' | 0x8f => self.push(PickleValue::List(Vec::new())),
            b'l' | 0x91 => {
                let items = self.popped()?;
                self.push(PickleValue::List(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.popped()?;
                self.append(items)?;
            }
            b')' => self.push(PickleValue::Tuple(Vec::new())),
            b't' => {
                let items = self.popped()?;
                self.push(PickleValue::Tuple(items));
            }
            0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
            b'}' => self.push(PickleValue::Dict(Vec::new())),
            b'd' => {
                let items = self.popped()?;
                self.push(PickleValue::Dict(Vec::new()));
                self.set(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.popped()?;
                self.set(&items)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(PickleValue::Global(format!("{module}.{name}")));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let global = match (&self.values[module], &self.values[name]) {
                    (PickleValue::Text(module), PickleValue::Text(name)) => {
                        format!("{module}.{name}")
                    }
                    _ => return fail("a class without a name"),
                };
                self.push(PickleValue::Global(global));
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let value = self.call(function, arguments)?;
                self.push(value);
            }
            0x81 => {
                let (_, class) = (self.pop()?, self.pop()?);
                self.object(class)?;
            }
            0x92 => {
                let (_, _, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.object(class)?;
            }
            b'b' => self.build()?,
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(storage);
            }
            b'q' => {
                let key = self.byte()?;
                self.remember(key as u64)?;
            }
            b'r' => {
                let key = self.u32()?;
                self.remember(key as u64)?;
            }
            b'p' => {
                let key = Self::number(self.line()?)?;
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'h' => {
                let key = self.byte()?;
                self.recall(key as u64)?;
            }
            b'j' => {
                let key = self.u32()?;
                self.recall(key as u64)?;
            }
            b'g' => {
                let key = Self::number(self.line()?)?;
                self.recall(key)?;
            }
            other => return fail(format!("the step 0x{other:02x}, which is not read here")),
        }
        Ok(true)
    }

    fn object(&mut self, class: Id) -> PickleResult<()> {
        let PickleValue::Global(class) = &self.values[class] else {
            return fail("an object without a class");
        };
        let class = class.clone();
        let fields = self.values.len();
        self.values.push(PickleValue::None);
        self.push(PickleValue::Object(class, fields));
        Ok(())
    }

    /// Gives an object its fields. What else has a state beside its content does not need it.
    fn build(&mut self) -> PickleResult<()> {
        let state = self.pop()?;
        let top = self.top()?;
        // With slots, the state is a pair, and the second the fields.
        let fields = match &self.values[state] {
            PickleValue::Tuple(pair) if pair.len() == 2 => pair[1],
            _ => state,
        };
        if let PickleValue::Object(_, own) = &mut self.values[top] {
            *own = fields;
        }
        Ok(())
    }

    fn items(&self, id: Id) -> &[Id] {
        match &self.values[id] {
            PickleValue::Tuple(items) | PickleValue::List(items) => items,
            _ => &[],
        }
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        let size = |id: &Id| match self.values[*id] {
            PickleValue::Int(size) => usize::try_from(size).ok(),
            _ => None,
        };
        self.items(id).iter().map(size).collect()
    }

    /// The few functions that put data together; any other is refused.
    fn call(&mut self, function: Id, arguments: Id) -> PickleResult<PickleValue> {
        let PickleValue::Global(function) = &self.values[function] else {
            return fail("a call of what is no function");
        };
        let items = self.items(arguments);
        match function.as_str() {
            "collections.OrderedDict" if items.is_empty() => Ok(PickleValue::Dict(Vec::new())),
            "collections.OrderedDict" => {
                let pairs = self.items(items[0]).iter().map(|pair| match self.items(*pair) {
                    &[key, value] => Ok((key, value)),
                    _ => fail("an ordered dictionary of something else than pairs"),
                });
                Ok(PickleValue::Dict(pairs.collect::<PickleResult<_>>()?))
            }
            "torch._utils._rebuild_tensor_v2" => {
                let place = match *items {
                    [storage, offset, shape, steps, ..] => {
                        self.place(storage, offset, shape, steps)
                    }
                    _ => None,
                };
                place.map_or_else(
                    || fail("a tensor that does not say where it is"),
                    |place| Ok(PickleValue::Tensor(place)),
                )
            }
            "torch._utils._rebuild_parameter" => match items.first().map(|id| &self.values[*id]) {
                Some(PickleValue::Tensor(place)) => Ok(PickleValue::Tensor(place.clone())),
                _ => fail("a parameter without a tensor"),
            },
            "torch.device" | "torch.Size" => Ok(PickleValue::Tuple(items.to_vec())),
            "copyreg._reconstructor" | "copy_reg._reconstructor" => {
                match items.first().map(|id| &self.values[*id]) {
                    Some(PickleValue::Global(class)) => {
                        let class = class.clone();
                        self.values.push(PickleValue::None);
                        Ok(PickleValue::Object(class, self.values.len() - 1))
                    }
                    _ => fail("an object without a class"),
                }
            }
            other => fail(format!(
                "a pickle that asks for a call of {other:.80}; nothing in a file is executed here"
            )),
        }
    }

    fn place(&self, storage: Id, offset: Id, shape: Id, steps: Id) -> Option<TensorPlace> {
        let PickleValue::Int(offset) = self.values[offset] else { return None };
        let (shape, steps) = (self.sizes(shape)?, self.sizes(steps)?);
        let sound =
            matches!(self.values[storage], PickleValue::Storage(..)) && shape.len() == steps.len();
        sound.then_some(TensorPlace {
            storage,
            offset: usize::try_from(offset).ok()?,
            shape,
            steps,
        })
    }

    /// The numbers that a persistent identity `("storage", class, key, place, count)` names; files of
    /// PyTorch before 1.6 have a view at its end, which is none since 0.4.
    fn storage(&self, id: Id) -> PickleResult<PickleValue> {
        let value = |id: &Id| &self.values[*id];
        match self.items(id).iter().map(value).collect::<Vec<_>>()[..] {
            [
                PickleValue::Text(word),
                PickleValue::Global(class),
                PickleValue::Text(key),
                _,
                PickleValue::Int(count),
            ]
            | [
                PickleValue::Text(word),
                PickleValue::Global(class),
                PickleValue::Text(key),
                _,
                PickleValue::Int(count),
                PickleValue::None,
            ] if word == "storage" => {
                let Ok(count) = usize::try_from(*count) else {
                    return fail("a storage of a negative size");
                };
                Ok(PickleValue::Storage(class.clone(), key.clone(), count))
            }
            _ => fail("a reference to something else than a tensor's numbers"),
        }
    }
}

fn name_of(value: &PickleValue) -> String {
    match value {
        PickleValue::Global(name) | PickleValue::Object(name, _) => format!("{name:.80}"),
        other => format!("{other:?}").chars().take(40).collect(),
    }
}

/// A little-endian integer in two's complement.
fn long(bytes: &[u8]) -> PickleResult<i64> {
    if bytes.len() > 8 {
        return fail("an integer of more than 64 bits");
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Ok(i64::from_le_bytes(wide))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        Pickle::parse(bytes).unwrap_err().to_string()
    }

    #[test]
    fn data_of_all_kinds_is_read() {
        // {'a': [1, -2, 3.5, True, None], 'b': ('x', b'y'), 'l': 2**40}, protocol 2
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x0c\x00\x00\x00\x00\x00\x00\x88NeX\x01\x00\x00\x00bq\x03X\x01\x00\x00\x00xq\x04C\x01y\x86q\x05X\x01\x00\x00\x00lq\x06\x8a\x06\x00\x00\x00\x00\x00\x01u.";
        let pickle = Pickle::parse(bytes).unwrap();
        let root = pickle.root();
        let PickleValue::List(list) = pickle.value(pickle.field(root, "a").unwrap()) else {
            panic!()
        };
        let list: Vec<_> = list.iter().map(|id| pickle.value(*id).clone()).collect();
        let expected = [
            PickleValue::Int(1),
            PickleValue::Int(-2),
            PickleValue::Float(3.5),
            PickleValue::Bool(true),
            PickleValue::None,
        ];
        assert_eq!(list, expected);
        assert_eq!(*pickle.value(pickle.field(root, "l").unwrap()), PickleValue::Int(1 << 40));
        let PickleValue::Tuple(pair) = pickle.value(pickle.field(root, "b").unwrap()) else {
            panic!()
        };
        assert_eq!(*pickle.value(pair[0]), PickleValue::Text("x".to_owned()));
    }

    #[test]
    fn an_object_of_an_unknown_class_is_its_fields() {
        let bytes = b"\x80\x02cmod\nCfg\n)\x81}(X\x01\x00\x00\x00dK\x07ub.";
        let pickle = Pickle::parse(bytes).unwrap();
        let PickleValue::Object(class, _) = pickle.value(pickle.root()) else { panic!() };
        assert_eq!(class, "mod.Cfg");
        assert_eq!(*pickle.value(pickle.field(pickle.root(), "d").unwrap()), PickleValue::Int(7));
    }

    #[test]
    fn calls_are_refused_by_name() {
        let call = message(b"\x80\x02cbuiltins\nprint\nX\x02\x00\x00\x00hi\x85R.");
        assert!(call.contains("builtins.print") && call.contains("executed"), "{call}");
        assert!(message(b"(S'ls'\nios\nsystem\n.").contains("0x69"));
    }

    #[test]
    fn damaged_pickles_are_refused() {
        assert!(message(b"").contains("cut short"));
        assert!(message(b"\x80\x02X\xff\xff\xff\xffab").contains("cut short"));
        assert!(message(b"\x80\x02.").contains("more values"));
        assert!(message(b"\x80\x02K\x01h\x05.").contains("recalls"));
        assert!(message(b"\x80\x02K\x01K\x02s.").contains("without a value"));
        assert!(message(b"\x80\x02K\x01K\x01K\x02s.").contains("no dictionary"));
        assert!(message(b"\x80\x02(0.").contains("more values"));
        assert!(message(b"\x80\x02\x8a\x09aaaaaaaaa.").contains("64 bits"));
    }

    #[test]
    fn what_is_shared_again_and_again_takes_no_room() {
        // Each list holds the one before twice: written out, 2^60 values.
        let mut bytes = b"\x80\x02]q\x00".to_vec();
        for i in 0u8..60 {
            bytes.extend([b']', b'q', i + 1, b'(', b'h', i, b'h', i, b'e']);
        }
        bytes.push(b'.');
        let pickle = Pickle::parse(&bytes).unwrap();
        assert_eq!(pickle.values.len(), 61);
    }
}
