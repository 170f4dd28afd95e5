#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| eigenlens::fuzzing::gguf_part(bytes));
