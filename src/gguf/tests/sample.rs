//! GGUF files made on the spot, for tests.

/// What goes into a file.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) version: u32,
    /// Keys with their types and encoded values.
    pub(crate) entries: Vec<(String, u32, Vec<u8>)>,
    pub(crate) tensors: Vec<SampleTensor>,
}

#[derive(Debug, Clone)]
pub(crate) struct SampleTensor {
    pub(crate) name: String,
    /// Row-major.
    pub(crate) shape: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) data: Vec<u8>,
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Type of elements, number, elements.
pub(crate) fn array(kind: u32, elements: &[Vec<u8>]) -> Vec<u8> {
    let length = (elements.len() as u64).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, &elements.concat()].concat()
}

impl Sample {
    pub(crate) fn new() -> Self {
        Self { version: 3, entries: Vec::new(), tensors: Vec::new() }
    }

    pub(crate) fn entry(mut self, key: &str, kind: u32, value: Vec<u8>) -> Self {
        self.entries.retain(|(own, ..)| own != key);
        self.entries.push((key.to_owned(), kind, value));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.entries.retain(|(own, ..)| own != name);
        self.tensors.retain(|own| own.name != name);
        self
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.entry(key, 4, value.to_le_bytes().to_vec())
    }

    pub(crate) fn f32(self, key: &str, value: f32) -> Self {
        self.entry(key, 6, value.to_le_bytes().to_vec())
    }

    pub(crate) fn flag(self, key: &str, value: bool) -> Self {
        self.entry(key, 7, vec![value.into()])
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.entry(key, 8, text(value))
    }

    pub(crate) fn texts(self, key: &str, values: &[&str]) -> Self {
        let values: Vec<_> = values.iter().map(|value| text(value)).collect();
        self.entry(key, 9, array(8, &values))
    }

    pub(crate) fn i32s(self, key: &str, values: &[i32]) -> Self {
        let values: Vec<_> = values.iter().map(|value| value.to_le_bytes().to_vec()).collect();
        self.entry(key, 9, array(5, &values))
    }

    pub(crate) fn f32s(self, key: &str, values: &[f32]) -> Self {
        let values: Vec<_> = values.iter().map(|value| value.to_le_bytes().to_vec()).collect();
        self.entry(key, 9, array(6, &values))
    }

    pub(crate) fn tensor(mut self, name: &str, shape: &[u64], kind: u32, data: Vec<u8>) -> Self {
        let tensor = SampleTensor { name: name.to_owned(), shape: shape.to_vec(), kind, data };
        self.tensors.retain(|own| own.name != name);
        self.tensors.push(tensor);
        self
    }

    pub(crate) fn floats(self, name: &str, shape: &[u64], values: &[f32]) -> Self {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, shape, 0, data)
    }

    /// The file, with data at multiples of 32 bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.entries.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.entries {
            file.extend(text(key));
            file.extend(kind.to_le_bytes());
            file.extend(value);
        }
        let mut data: Vec<u8> = Vec::new();
        for tensor in &self.tensors {
            file.extend(text(&tensor.name));
            file.extend((tensor.shape.len() as u32).to_le_bytes());
            for size in tensor.shape.iter().rev() {
                file.extend(size.to_le_bytes());
            }
            file.extend(tensor.kind.to_le_bytes());
            file.extend((data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(data);
        file
    }
}
