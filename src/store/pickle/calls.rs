//! Steps that make more than plain data: objects of unknown classes, calls of the few functions that
//! put data together, and references to numbers beside the pickle.

use super::machine::Machine;
use super::{Id, PickleResult, PickleValue, TensorPlace, fail};

impl Machine<'_> {
    pub(super) fn object(&mut self, class: Id) -> PickleResult<()> {
        let PickleValue::Global(class) = &self.values[class] else {
            return fail("an object without a class");
        };
        self.count_copy::<u8>(class.len())?;
        let class = class.clone();
        let fields = self.values.len();
        self.values.push(PickleValue::None);
        self.push(PickleValue::Object(class, fields));
        Ok(())
    }

    /// Gives an object its fields. What else has a state beside its content does not need it.
    pub(super) fn build(&mut self) -> PickleResult<()> {
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

    /// The few functions that put data together; any other is refused.
    pub(super) fn call(&mut self, function: Id, arguments: Id) -> PickleResult<PickleValue> {
        let PickleValue::Global(function) = &self.values[function] else {
            return fail("a call of what is no function");
        };
        let items = self.items(arguments);
        match function.as_str() {
            "collections.OrderedDict" if items.is_empty() => Ok(PickleValue::Dict(Vec::new())),
            "collections.OrderedDict" => {
                self.count_copy::<(Id, Id)>(self.items(items[0]).len())?;
                let pairs = self.items(items[0]).iter().map(|pair| match self.items(*pair) {
                    &[key, value] => Ok((key, value)),
                    _ => fail("an ordered dictionary of something else than pairs"),
                });
                Ok(PickleValue::Dict(pairs.collect::<PickleResult<_>>()?))
            }
            "torch._utils._rebuild_tensor_v2" => {
                if let Some(metadata) = items.get(6) {
                    self.check_metadata(*metadata)?;
                }
                let place = match *items {
                    [storage, offset, shape, steps, ..] => {
                        let sizes = self.items(shape).len() + self.items(steps).len();
                        self.count_copy::<usize>(sizes)?;
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
                Some(PickleValue::Tensor(place)) => {
                    self.count_copy::<usize>(place.shape.len() + place.steps.len())?;
                    Ok(PickleValue::Tensor(place.clone()))
                }
                _ => fail("a parameter without a tensor"),
            },
            "torch.device" | "torch.Size" => {
                self.count_copy::<Id>(items.len())?;
                Ok(PickleValue::Tuple(items.to_vec()))
            }
            "copyreg._reconstructor" | "copy_reg._reconstructor" => {
                match items.first().map(|id| &self.values[*id]) {
                    Some(PickleValue::Global(class)) => {
                        self.count_copy::<u8>(class.len())?;
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

    /// Fails if a tensor is said to be another than its numbers: PyTorch saves one that is negated or
    /// conjugated as the numbers before that, with a mark.
    fn check_metadata(&self, metadata: Id) -> PickleResult<()> {
        let marks = match &self.values[metadata] {
            PickleValue::None => return Ok(()),
            PickleValue::Dict(marks) => marks,
            _ => return fail("a tensor whose metadata are no dictionary"),
        };
        match marks.iter().find(|(_, value)| self.values[*value] != PickleValue::Bool(false)) {
            Some((key, _)) => {
                let name = match &self.values[*key] {
                    PickleValue::Text(name) => name.as_str(),
                    _ => "unknown",
                };
                fail(format!(
                    "a tensor with the mark `{name:.40}`, which is not applied here; save what \
                     `.resolve_neg().resolve_conj()` makes of it"
                ))
            }
            None => Ok(()),
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
    pub(super) fn storage(&self, id: Id) -> PickleResult<PickleValue> {
        let value = |id: &Id| &self.values[*id];
        self.count_copy::<Id>(self.items(id).len())?;
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
                self.count_copy::<u8>(class.len() + key.len())?;
                Ok(PickleValue::Storage(class.clone(), key.clone(), count))
            }
            _ => fail("a reference to something else than a tensor's numbers"),
        }
    }
}
