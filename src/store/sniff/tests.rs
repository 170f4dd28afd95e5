use std::error::Error as _;

use candle_core::Device;
use serde::Deserialize;

use super::super::{Document, Size, Tensors, pickle, read_torch, zipped};
use super::*;

const POINTER: &[u8] =
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 548105171\n";

fn found(name: &str, start: &[u8], own: Format) -> String {
    mistaken(Path::new(name), start, own, "x", "FOUND").to_string()
}

#[test]
fn what_is_saved_in_place_of_a_file_is_named_with_the_way_out() {
    let cases: [(&[u8], &str); 36] = [
        (POINTER, "a Git LFS pointer to a file of 548105171 bytes"),
        (POINTER, "git lfs pull"),
        (b"# xet version 0\n", "git xet"),
        (b"/annex/objects/SHA256E-s1--ab", "git annex get"),
        (b"outs:\n- md5: ab\n", "dvc pull"),
        (b"../../blobs/4d7a", "a link that was copied as text"),
        (b"\n<!DOCTYPE html><html><head><title>Sign\n in</title>", "a web page (HTML: Sign in)"),
        (b"<html><body>404</body></html>", "`resolve` in place of `blob`"),
        (b"\xef\xbb\xbf<HTML>", "a web page"),
        (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
            "(AccessDenied: Request has expired)"),
        (b"{\"error\":\"Invalid credentials\"}", "message of a server, \"Invalid credentials\""),
        (b"{\"message\":\"Not Found\",\"status\":\"404\"}", "\"Not Found\""),
        (b"{\"detail\":{\"a\":1}}", "message of a server"),
        (b"Entry not found", "message of a server"),
        (b"{\"metadata\":{},\"weight_map\":{\"a\":\"b\"}}", "the index of a checkpoint"),
        (b"{\"a\": 1}", "found JSON"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "gunzip"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7z archive"),
        (b"\xfd7zXZ\0\0", "an xz archive"),
        (b"BZh91AY&SY", "a bzip2 archive"),
        (b"\x28\xb5\x2f\xfd\x04", "a zstd archive"),
        (b"Rar!\x1a\x07\x01\0", "a rar archive"),
        (b"", "an empty file"),
        (&[0; 100], "zeros only"),
        (b"GGUF\x03\0\0\0", "a GGUF file"),
        (b"tjgg\x03\0\0\0", "before GGUF"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x93NUMPY\x01\0", "a single NumPy array"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "before PyTorch 1.6"),
        (b"\x80\x04\x95\x10", "a bare Python pickle"),
        (b"\n\x0e\n\x05<unk>\x15", "a SentencePiece model"),
        (b"IQ== 0\nIg== 1\nIw== 2\n", "a vocabulary of tiktoken"),
        (b"\xff\xfev\0e\0", "text in UTF-16"),
        (b"\xef\xbb\xbf{\"a\": 1}", "a byte order mark"),
        (b" \n ", "nothing but blanks"),
        (b"\x40\0\0\0\0\0\0\0{\"w\":", "a safetensors file"),
    ];
    for (start, expected) in cases {
        let message = found("model.bin", start, Format::Parquet);
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(!message.contains("FOUND"), "{message}");
    }
}

#[test]
fn archives_of_arrays_are_told_from_other_zip_files() {
    use crate::store::archive::tests::archive;
    let cases =
        [("w.npy", "a NumPy archive"), ("m/data.pkl", "torch.save"), ("a.txt", "\"a.txt\"")];
    for (member, expected) in cases {
        let message = found("x", &archive(&[(member, b"1")], false), Format::Json);
        assert!(message.contains(expected), "{message}");
    }
    let mut tar = vec![b'a'; 512];
    tar[257..262].copy_from_slice(b"ustar");
    assert!(found("x", &tar, Format::Json).contains("a tar archive"));
}

#[test]
fn a_readers_own_format_and_what_nothing_is_known_of_keep_the_readers_words() {
    assert!(found("a", b"GGUF\x03\0", Format::Gguf).ends_with("found FOUND"));
    assert!(found("a", b"{\"a\": ", Format::Json).ends_with("found FOUND"));
    for noise in [&b"\x07\x99noise"[..], b"vers", b"hello there", b"\xff\xff\xff"] {
        assert!(found("a", noise, Format::Zip).ends_with("found FOUND"), "{noise:?}");
    }
}

#[test]
fn every_reader_calls_a_pointer_or_a_page_what_it_is() {
    use candle_core::Device;

    use crate::data::text::{Contexts, Tokenizer};
    use crate::gguf::Gguf;
    use crate::model::Decoder;
    use crate::sae::Sae;
    const CPU: &Device = &Device::Cpu;

    let page = b"<!DOCTYPE html>\n<html><head><title>Not found</title></head></html>";
    for (wrong, words) in [(POINTER, "git lfs pull"), (&page[..], "a web page (HTML: Not found)")] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let put = |name: &str, content: &[u8]| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        let text = |name: &str| root.join(name).to_str().unwrap().to_owned();
        let config = br#"{"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": 8,
            "n_positions": 16, "vocab_size": 11}"#;
        put("model/config.json", config);
        put("model/model.safetensors", wrong);
        put("sharded/config.json", config);
        put("sharded/model.safetensors.index.json", wrong);
        put("config/config.json", wrong);
        put("sae/cfg.json", br#"{"d_in": 8, "d_sae": 16}"#);
        put("sae/sae_weights.safetensors", wrong);
        put("cfg/cfg.json", wrong);
        put("npz/params.npz", wrong);
        put("torch/config.json", br#"{"trainer": {"dict_class": "AutoEncoder"}}"#);
        put("torch/ae.pt", wrong);
        put("tokenizer.json", wrong);
        put("model.gguf", wrong);
        put("data/data/train-00000-of-00001.parquet", wrong);
        let errors = [
            Decoder::from_pretrained(&text("model"), CPU).unwrap_err(),
            Decoder::from_pretrained(&text("sharded"), CPU).unwrap_err(),
            Decoder::from_pretrained(&text("config"), CPU).unwrap_err(),
            Decoder::from_pretrained(&text("model.gguf"), CPU).unwrap_err(),
            Sae::load(text("sae"), CPU).unwrap_err(),
            Sae::load(text("cfg"), CPU).unwrap_err(),
            Sae::load(text("npz"), CPU).unwrap_err(),
            Sae::load(text("torch"), CPU).unwrap_err(),
            Tokenizer::from_file(text("tokenizer.json")).unwrap_err(),
            Gguf::open(text("model.gguf")).unwrap_err(),
            Contexts::from_pretrained(&text("data")).unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}

#[test]
fn names_of_parts_say_how_to_make_them_whole() {
    for name in [
        "m.safetensors.part1",
        "m.safetensors.001",
        "m.safetensors.part1of3",
        "m.safetensors.split-00",
        "m.safetensors.partaa",
    ] {
        let message = found(name, b"\x07\x99", Format::Safetensors);
        assert!(
            message.contains("FOUND; ") && message.contains("cat m.safetensors.*"),
            "{message}"
        );
    }
    let message = found("m-00001-of-00003.gguf", b"\x07\x99", Format::Gguf);
    assert!(message.contains("one of several files"), "{message}");
    assert!(found("m.crdownload", b"\x07\x99", Format::Gguf).contains("unfinished download"));
    for name in ["m.safetensors", "layer.12", "one-of-us.bin", "parts.bin"] {
        assert!(found(name, b"\x07\x99", Format::Gguf).ends_with("FOUND"), "{name}");
    }
}

#[test]
fn a_configuration_with_a_field_called_error_is_no_message() {
    let parse = |text: &str| parse_json(Path::new("config.json"), text.as_bytes(), "fields");
    assert!(parse(r#"{"error": "x", "model_type": "gpt2"}"#).is_ok());
    assert!(parse("{}").is_ok() && parse(r#"{"status": 1}"#).is_ok() && parse("[]").is_ok());
    let message = parse(r#"{"error": "Repository not found"}"#).unwrap_err().to_string();
    assert!(message.contains("the message of a server, \"Repository"), "{message}");
    assert!(parse("{").unwrap_err().to_string().contains("EOF"));
}

#[test]
fn what_a_parser_found_is_the_source() {
    let path = Path::new("cfg.json");
    for text in [&b"{"[..], POINTER] {
        let error = parse_json(path, text, "a configuration").unwrap_err();
        let source = error.source().unwrap();
        assert!(source.is::<serde_json::Error>());
        assert_eq!(error.to_string().contains(&source.to_string()), text != POINTER, "{error}");
    }
    let error = Document::parse(path, b"{\"k\": 1.5}").unwrap().read::<Fields>().unwrap_err();
    assert!(error.to_string().ends_with("expected a size in `k`, found 1.5"), "{error}");
    assert!(error.source().unwrap().is::<serde_json::Error>());
    let error = Document::parse(path, b"{}").unwrap().read::<Fields>().unwrap_err();
    assert!(error.to_string().contains("the field `k`, a size"), "{error}");
    assert!(error.source().unwrap().is::<serde_json::Error>());
}

#[derive(Debug, Deserialize)]
struct Fields {
    #[expect(dead_code, reason = "it is never there")]
    k: Size,
}

#[test]
fn what_is_wrong_with_a_header_or_a_pickle_is_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    std::fs::write(&path, [&3u64.to_le_bytes()[..], b"[1]"].concat()).unwrap();
    let error = Tensors::open(&path, &Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("a header that cannot be read: invalid type"), "{error}");
    assert!(error.source().unwrap().is::<serde_json::Error>());
    let bytes = zipped(&[("archive/data.pkl", b"\xff")]);
    let error = read_torch(Path::new("w.pt"), &bytes.into()).unwrap_err();
    let source = error.source().unwrap();
    assert!(source.is::<pickle::Reason>() && error.to_string().ends_with(&source.to_string()));
}
