//! Files of `torch.save` for tests, as PyTorch writes them.

use candle_core::{DType, Tensor};
use flate2::Crc;

/// A file of a dictionary of f32, f16 or bf16 tensors, by PyTorch 1.6 or later.
pub(crate) fn torch_file(tensors: &[(&str, Tensor)]) -> Vec<u8> {
    let mut members = vec![("archive/data.pkl".to_owned(), dictionary(tensors, false))];
    for (key, (_, tensor)) in tensors.iter().enumerate() {
        members.push((format!("archive/data/{key}"), numbers(tensor)));
    }
    zip(&members)
}

/// The same by a PyTorch before 1.6.
pub(crate) fn legacy_torch_file(tensors: &[(&str, Tensor)]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend(b"\x80\x02}");
    text(&mut file, "little_endian");
    file.extend(b"\x88s.");
    file.extend(dictionary(tensors, true));
    file.extend(b"\x80\x02](");
    (0..tensors.len()).for_each(|key| text(&mut file, &key.to_string()));
    file.extend(b"e.");
    for (_, tensor) in tensors {
        file.extend((tensor.elem_count() as i64).to_le_bytes());
        file.extend(numbers(tensor));
    }
    file
}

fn dictionary(tensors: &[(&str, Tensor)], legacy: bool) -> Vec<u8> {
    let mut pickle = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    for (key, (name, tensor)) in tensors.iter().enumerate() {
        text(&mut pickle, name);
        let class = match tensor.dtype() {
            DType::F16 => "HalfStorage",
            DType::BF16 => "BFloat16Storage",
            _ => "FloatStorage",
        };
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut pickle, "storage");
        pickle.extend(format!("ctorch\n{class}\n").bytes());
        text(&mut pickle, &key.to_string());
        text(&mut pickle, "cpu");
        number(&mut pickle, tensor.elem_count());
        pickle.extend(if legacy { &b"NtQ"[..] } else { b"tQ" });
        number(&mut pickle, 0);
        for sizes in [tensor.dims(), tensor.stride()] {
            pickle.push(b'(');
            sizes.iter().for_each(|size| number(&mut pickle, *size));
            pickle.push(b't');
        }
        pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    pickle.extend(b"u.");
    pickle
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.bytes());
}

fn number(pickle: &mut Vec<u8>, number: usize) {
    pickle.push(b'J');
    pickle.extend((number as i32).to_le_bytes());
}

fn numbers(tensor: &Tensor) -> Vec<u8> {
    let flat = tensor.flatten_all().unwrap();
    match tensor.dtype() {
        DType::F16 => {
            let values: Vec<half::f16> = flat.to_vec1().unwrap();
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
        DType::BF16 => {
            let values: Vec<half::bf16> = flat.to_vec1().unwrap();
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
        _ => {
            let values: Vec<f32> = flat.to_vec1().unwrap();
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
    }
}

/// An archive of members that are not compressed.
fn zip(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let mut sum = Crc::new();
        sum.update(content);
        let size = (content.len() as u32).to_le_bytes();
        let mut about = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        about.extend(sum.sum().to_le_bytes());
        about.extend([size, size].concat());
        about.extend((name.len() as u16).to_le_bytes());
        about.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&about);
        directory.extend([0; 10]);
        directory.extend((file.len() as u32).to_le_bytes());
        directory.extend(name.bytes());
        file.extend(b"PK\x03\x04");
        file.extend(about);
        file.extend(name.bytes());
        file.extend(content);
    }
    let (start, size) = (file.len() as u32, directory.len() as u32);
    file.extend(directory);
    file.extend(b"PK\x05\x06\x00\x00\x00\x00");
    file.extend([(members.len() as u16).to_le_bytes(); 2].concat());
    file.extend([size.to_le_bytes(), start.to_le_bytes()].concat());
    file.extend([0, 0]);
    file
}
