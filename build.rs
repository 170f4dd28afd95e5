//! Says whether the data that the library carries is there. The published package leaves it out: its
//! 20 MB are more than a registry takes.

use std::path::Path;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(embedded_data)");
    println!("cargo::rerun-if-changed=build.rs");
    if Path::new("assets/language").is_dir() {
        println!("cargo::rustc-cfg=embedded_data");
    }
}
