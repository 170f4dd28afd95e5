//! Notices that a type of the user's own has changed under a variable.
//!
//! Rust tells types apart by their names and the names of their fields, not by the types of these:
//! after `struct P { a: f32 }` has become `struct P { a: String }`, evcxr would read an old `P` as a
//! new one. So each variable whose type leads to items of the notebook is stored with a digest of
//! their text. Comments, attributes and functions' bodies do not change how a value is laid out, and
//! do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use ra_ap_syntax::ast::{self, HasModuleItem as _, HasName as _};
use ra_ap_syntax::{AstNode as _, NodeOrToken, SourceFile, SyntaxKind, SyntaxNode};

const STORE: &str = "evcxr_variable_store";

/// The items of a notebook that decide how values are laid out.
#[derive(Debug)]
pub(super) struct Shapes {
    /// By name: text, and the words in it.
    items: BTreeMap<String, Vec<String>>,
}

impl Shapes {
    pub(super) fn of(file: &SourceFile) -> Self {
        let mut items: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for item in file.items() {
            let name = match &item {
                ast::Item::Struct(item) => item.name(),
                ast::Item::Enum(item) => item.name(),
                ast::Item::Union(item) => item.name(),
                ast::Item::TypeAlias(item) => item.name(),
                ast::Item::Trait(item) => item.name(),
                ast::Item::Const(item) => item.name(),
                ast::Item::Module(item) => item.name(),
                ast::Item::MacroRules(item) => item.name(),
                _ => None,
            };
            let Some(name) = name.map(|name| name.text().to_string()) else { continue };
            let generated = name == "evcxr_internal_runtime" || name == "EvcxrUserCodeError";
            if !generated {
                items.entry(name).or_default().extend(words(item.syntax()));
            }
        }
        Self { items }
    }

    /// What puts the digest for a variable into the store.
    pub(super) fn store(&self, name: &str, type_name: &str) -> String {
        self.digest(type_name).map_or_else(String::new, |digest| {
            format!(" {STORE}.eigenlens_shape(stringify!({name}), {digest});")
        })
    }

    /// What compares it with the one in the store.
    pub(super) fn check(&self, name: &str, type_name: &str) -> String {
        self.digest(type_name).map_or_else(String::new, |digest| {
            format!(" vars_ok &= {STORE}.eigenlens_same(stringify!({name}), {digest});")
        })
    }

    /// A digest of all items that a type leads to; `None` if there are none.
    fn digest(&self, type_name: &str) -> Option<u64> {
        let part = |c: char| !c.is_alphanumeric() && c != '_';
        let mut open: Vec<&str> = type_name.split(part).collect();
        let mut reached = BTreeSet::new();
        while let Some(word) = open.pop() {
            if let Some((name, words)) = self.items.get_key_value(word)
                && reached.insert(name)
            {
                open.extend(words.iter().map(String::as_str));
            }
        }
        let mut hasher = DefaultHasher::new();
        for name in &reached {
            (name, &self.items[*name]).hash(&mut hasher);
        }
        (!reached.is_empty()).then(|| hasher.finish())
    }
}

/// The tokens that decide how values are laid out.
fn words(node: &SyntaxNode) -> Vec<String> {
    let mut words = Vec::new();
    for child in node.children_with_tokens() {
        match child {
            NodeOrToken::Token(token) if token.kind().is_trivia() => {}
            NodeOrToken::Token(token) => words.push(token.text().to_owned()),
            NodeOrToken::Node(child) => {
                let body = node.kind() == SyntaxKind::FN && child.kind() == SyntaxKind::BLOCK_EXPR;
                let attribute =
                    child.kind() == SyntaxKind::ATTR && !child.text().to_string().contains("repr");
                if !body && !attribute {
                    words.extend(self::words(&child));
                }
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use ra_ap_syntax::Edition;

    use super::*;

    fn digest(source: &str, type_name: &str) -> Option<u64> {
        Shapes::of(&SourceFile::parse(source, Edition::Edition2024).tree()).digest(type_name)
    }

    #[test]
    fn a_changed_field_deep_in_a_type_is_seen() {
        let before = digest("struct Inner { a: f32 } struct Outer(Inner);", "Vec<Outer>");
        assert!(before.is_some());
        assert_ne!(before, digest("struct Inner { a: u8 } struct Outer(Inner);", "Vec<Outer>"));
        assert_eq!(digest("struct Inner { a: f32 }", "Vec<f32>"), None);
    }

    #[test]
    fn comments_derives_and_bodies_do_not_count() {
        let same = [
            "trait T { fn f(&self) -> i32 { 1 } } struct P { a: Box<dyn T> }",
            "trait T { fn f(&self) -> i32 { 2 } } /// Doc.\n#[derive(Debug)] struct P {\n  a: Box<dyn T> }",
        ];
        assert_eq!(digest(same[0], "P"), digest(same[1], "P"));
        let other = "trait T { fn g(&self); fn f(&self) -> i32; } struct P { a: Box<dyn T> }";
        assert_ne!(digest(same[0], "P"), digest(other, "P"));
    }
}
