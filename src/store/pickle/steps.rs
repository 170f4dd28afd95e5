//! The steps of a pickle, by their codes.

use super::machine::Machine;
use super::{PickleResult, PickleValue, fail};

impl Machine<'_> {
    /// One step; false at the end.
    pub(super) fn step(&mut self) -> PickleResult<bool> {
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
                        self.count_copy::<u8>(module.len() + name.len())?;
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
