//! Which module may use which: data flows one way, from the left of [`LIBRARY`] and [`KERNEL`] to the
//! right, and the files of a folder do not use each other in a circle.
//!
//! What counts is every `use` and every path that begins with `crate`, `super` or `self`, with the
//! names that a `mod.rs` passes on followed to the file that defines them. Code for tests is left out.
//! A `mod.rs` and the files of its folder may use each other, because they are one module.

#![allow(clippy::unwrap_used)]

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use imports::{Source, source};

/// Modules of the library, each of which uses only those before it.
const LIBRARY: [&str; 34] = [
    // Ground floor.
    "error",
    "random",
    "device",
    "text",
    "png",
    "home",
    "provenance",
    "check",
    "display",
    "progress",
    "http",
    // Numbers and files.
    "linalg",
    "tensors",
    "store",
    "hub",
    "gguf",
    "data",
    "train",
    // From a model's activations to codes, and what is made of them.
    "model",
    "sae",
    "harvest",
    "bilinear",
    "toy",
    "geometry",
    "cyclic",
    "features",
    "multilayer",
    "sae_error",
    "interp",
    // What is seen of it.
    "plot",
    "figures",
    "notebook",
    "prelude",
    "fuzzing",
];

/// Modules of the kernel, in the same sense.
const KERNEL: [&str; 5] = ["install", "eval", "jupyter", "site", "commands"];

/// One module using another, both children of `parent`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    parent: Vec<String>,
    from: String,
    to: String,
    file: PathBuf,
    line: usize,
    path: String,
}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} uses {}", self.file.display(), self.line, self.path)
    }
}

/// All sources below a folder, without those of tests.
fn sources(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            if stem == "tests" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root).unwrap().with_extension("");
                let mut module: Vec<_> =
                    relative.iter().map(|part| part.to_str().unwrap()).collect();
                if ["mod", "lib", "main"].contains(module.last().unwrap()) {
                    module.pop();
                }
                found.push(source(&path, &module, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// Every arrow between children of one module, at every depth.
fn arrows(sources: &[Source]) -> BTreeSet<Arrow> {
    let modules: BTreeMap<&[String], &Source> =
        sources.iter().map(|source| (source.module.as_slice(), source)).collect();
    // The file behind a path: names that modules pass on lead further.
    let behind = |path: &[String]| {
        let mut path = path.to_vec();
        for _ in 0..8 {
            let depth = (0..=path.len()).rev().find(|depth| modules.contains_key(&path[..*depth]));
            let depth = depth.unwrap_or(0);
            let Some(name) = path.get(depth) else { return path };
            let passed_on =
                modules.get(&path[..depth]).and_then(|module| module.passed_on.get(name));
            match passed_on
                .filter(|next| next.as_slice() != path && modules.contains_key(&next[..1]))
            {
                Some(next) => path = [next.as_slice(), &path[depth + 1..]].concat(),
                None => return path[..depth].to_vec(),
            }
        }
        path
    };
    let mut found = BTreeSet::new();
    for source in sources.iter().filter(|source| !source.module.is_empty()) {
        for import in &source.imports {
            let target = behind(&import.path);
            let common =
                source.module.iter().zip(&target).take_while(|(own, other)| own == other).count();
            let (Some(from), Some(to)) = (source.module.get(common), target.get(common)) else {
                continue;
            };
            found.insert(Arrow {
                parent: source.module[..common].to_vec(),
                from: from.clone(),
                to: to.clone(),
                file: source.file.clone(),
                line: import.line,
                path: import.path.join("::"),
            });
        }
    }
    found
}

/// The arrows between modules at the top that do not go from right to left in `order`.
fn upward(arrows: &BTreeSet<Arrow>, order: &[&str]) -> Vec<String> {
    let place = |name: &str| order.iter().position(|module| *module == name);
    let wrong = arrows.iter().filter(|arrow| arrow.parent.is_empty()).filter(|arrow| {
        match (place(&arrow.from), place(&arrow.to)) {
            (Some(from), Some(to)) => to > from,
            // A module without a place in the list.
            _ => true,
        }
    });
    wrong.map(Arrow::to_string).collect()
}

/// The circles of arrows below the top: each with the arrows that make it.
fn circles(arrows: &BTreeSet<Arrow>) -> Vec<String> {
    let mut found = Vec::new();
    let parents: BTreeSet<_> = arrows.iter().map(|arrow| &arrow.parent).collect();
    for parent in parents.into_iter().filter(|parent| !parent.is_empty()) {
        let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for arrow in arrows.iter().filter(|arrow| arrow.parent == *parent) {
            next.entry(&arrow.from).or_default().insert(&arrow.to);
        }
        let reached = |from: &str| {
            let mut seen = BTreeSet::new();
            let mut open: Vec<&str> = next.get(from).into_iter().flatten().copied().collect();
            while let Some(name) = open.pop() {
                if seen.insert(name) {
                    open.extend(next.get(name).into_iter().flatten());
                }
            }
            seen
        };
        let all: BTreeMap<&str, BTreeSet<&str>> =
            next.keys().map(|name| (*name, reached(name))).collect();
        let mut told = BTreeSet::new();
        for (name, behind) in &all {
            let circle: Vec<_> = behind
                .iter()
                .filter(|other| all.get(*other).is_some_and(|back| back.contains(name)))
                .collect();
            if circle.is_empty() || !told.insert(circle.clone()) {
                continue;
            }
            let made_by = arrows.iter().filter(|arrow| {
                arrow.parent == *parent
                    && circle.contains(&&arrow.from.as_str())
                    && circle.contains(&&arrow.to.as_str())
            });
            let made_by: Vec<_> = made_by
                .map(|arrow| format!("\n    {} → {}: {arrow}", arrow.from, arrow.to))
                .collect();
            found.push(format!("a circle in {}:{}", parent.join("::"), made_by.concat()));
        }
    }
    found
}

fn check(folder: &str, order: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let arrows = arrows(&sources(&root));
    assert!(arrows.len() > 50, "no imports were found in {folder}");
    let wrong = [upward(&arrows, order), circles(&arrows)].concat();
    assert!(
        wrong.is_empty(),
        "{} of {folder} go the wrong way:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_library_uses_only_what_is_below() {
    check("src", &LIBRARY);
}

#[test]
fn the_kernel_uses_only_what_is_below() {
    check("kernel/src", &KERNEL);
}

/// The sources of a made-up crate.
fn made_up(files: &[(&[&str], &str)]) -> Vec<Source> {
    files.iter().map(|(module, text)| source(Path::new(&module.join("/")), module, text)).collect()
}

#[test]
fn an_upward_import_is_seen_wherever_it_stands() {
    let upward_of = |text: &str| {
        let files: [(&[&str], &str); 4] = [
            (&[], "mod low;\nmod high;\npub use high::Figure;"),
            (&["low"], text),
            (&["high"], "mod deep;\npub use deep::Figure;"),
            (&["high", "deep"], "pub struct Figure;"),
        ];
        upward(&arrows(&made_up(&files)), &["low", "high"])
    };
    for text in [
        "use crate::high::Figure;",
        "\nuse std::fmt;\n    pub(crate) use crate::{Error, high::{deep::{Figure as F}, other}};",
        "fn draw() -> Vec<crate::high::Figure> { vec![] }",
        "use super::high;",
        // Through what the crate passes on.
        "fn draw(figure: &'static str) { crate::Figure::new('\\'', \"// \\\"\", r#\"\"\"#) }",
        "#[cfg(not(test))]\nuse crate::high::Figure;",
        "#[cfg(test)]\nmod tests { use crate::high::Figure; }\nuse crate::high::Figure;",
    ] {
        let found = upward_of(text);
        assert_eq!(found.len(), text.matches("other").count() + 1, "{text}: {found:?}");
    }
    assert_eq!(upward_of("\n\nuse crate::high::Figure;"), ["low:3 uses high::Figure"]);
    for text in [
        "// use crate::high::Figure;",
        "/* use crate::high; */ /// See [`Figure`](crate::high::Figure).",
        "const HELP: &str = \"use crate::high::Figure;\";\nconst MORE: &str = r#\"crate::high\"#;",
        "#[cfg(test)]\nuse crate::high::Figure;",
        "#[cfg(test)]\nmod tests {\n    use crate::high::Figure;\n    fn a() { [1; 2]; }\n}\nfn b() {}",
        "use high::Figure;",
    ] {
        assert_eq!(upward_of(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_circle_of_files_is_seen_through_what_their_module_passes_on() {
    let circles_of = |first: &str, second: &str| {
        let files: [(&[&str], &str); 5] = [
            (
                &["all"],
                "mod first;\nmod second;\nmod deep;\npub use first::First;\npub use deep::D;",
            ),
            (&["all", "first"], first),
            (&["all", "second"], second),
            (&["all", "deep"], "mod inner;\npub use inner::D;"),
            (&["all", "deep", "inner"], "use crate::all::first::helper;"),
        ];
        circles(&arrows(&made_up(&files)))
    };
    let found = circles_of("use super::second::Second;", "use super::First;");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("all/first:1 uses all::second::Second"), "{}", found[0]);
    assert!(found[0].contains("all/second:1 uses all::First"), "{}", found[0]);
    assert_eq!(circles_of("use crate::all::D;", "").len(), 1, "a folder counts as one");
    assert_eq!(circles_of("use super::second::Second;", "use std::fmt;"), Vec::<String>::new());
}
