//! Lets an `impl` take the place of the one it was before, when its cell runs again.
//!
//! Evcxr keeps items by name and replaces one that is defined again. An `impl` has no name: it is
//! kept with the named item before it in its cell, and without one it is added for good, so that
//! running its cell again defines everything in it twice. Here each `impl` gets a name: a constant
//! right in front of it, the same for what is the same `impl` to Rust.

use ra_ap_syntax::ast::{self, HasGenericParams as _, HasName as _};
use ra_ap_syntax::{AstNode as _, Edition, SourceFile, SyntaxNode};

/// What the names begin with.
const NAME: &str = "EIGENLENS_IMPL_";

/// The `impl` blocks of all cells so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Impls {
    known: Vec<Known>,
    count: usize,
}

/// An `impl` block.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    block: Block,
    number: usize,
    /// The item that comes before it in its cell, with which it is replaced.
    owner: Option<String>,
}

/// What tells an `impl` from others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    /// Path of the trait; empty without one.
    trait_path: Vec<String>,
    /// Everything else up to the brace, with parameters numbered.
    header: Vec<String>,
    /// The items in it.
    items: Vec<String>,
}

/// A cell whose blocks have names.
#[derive(Debug)]
pub(crate) struct Named {
    /// The code for evcxr.
    pub(crate) code: String,
    after: Option<Impls>,
}

impl Impls {
    /// Names the blocks of a cell.
    pub(crate) fn name(&self, code: &str) -> Named {
        let mut after = self.clone();
        let changed =
            if code.contains("impl") || !self.known.is_empty() { after.add(code) } else { None };
        match changed {
            Some(code) => Named { code, after: Some(after) },
            None => Named { code: code.to_owned(), after: None },
        }
    }

    /// Remembers the blocks of a cell that evcxr has taken.
    pub(crate) fn keep(&mut self, named: Named) {
        if named.code.lines().any(|line| line.trim() == ":clear") {
            *self = Self::default();
        } else if let Some(after) = named.after {
            *self = after;
        }
    }

    /// Whether a name is one of these, which nobody wants to be offered.
    pub(crate) fn is_internal(name: &str) -> bool {
        name.starts_with(NAME)
    }

    /// Adds a cell's blocks; returns the code that has their names, if it has any.
    fn add(&mut self, code: &str) -> Option<String> {
        let begin = start_of_code(code);
        let nodes = statements(&code[begin..]);
        let blocks = nodes.iter().any(|(node, _, _)| ast::Impl::can_cast(node.kind()));
        let named: Vec<String> = nodes.iter().filter_map(|(node, _, _)| item_name(node)).collect();
        let replaced =
            |known: &Known| known.owner.as_ref().is_some_and(|owner| named.contains(owner));
        if !blocks && !self.known.iter().any(replaced) {
            return None;
        }
        // Evcxr has dropped what was kept with an item that is defined again.
        let mut dropped: Vec<Known> = self.known.extract_if(.., |known| replaced(known)).collect();
        let mut inserted: Vec<(usize, String)> = Vec::new();
        let mut owner = None;
        let mut place = 0;
        for (node, start, end) in &nodes {
            if let Some(block) = ast::Impl::cast(node.clone()).and_then(|node| Block::of(&node)) {
                let same = |known: &mut Known| known.block.is_same(&block);
                let mut same: Vec<Known> =
                    self.known.extract_if(.., same).chain(dropped.extract_if(.., same)).collect();
                let number = if same.is_empty() {
                    self.count += 1;
                    self.count
                } else {
                    same.remove(0).number
                };
                let mut text: String = same.iter().map(|known| constant(known.number)).collect();
                text.push_str(&constant(number));
                inserted.push((if place == 0 { *start } else { place }, text));
                self.known.push(Known { block, number, owner: owner.clone() });
            } else if let Some(name) = item_name(node) {
                owner = Some(name);
            }
            place = *end;
        }
        let removed: String = dropped.iter().map(|known| constant(known.number)).collect();
        if !removed.is_empty() {
            let (_, _, end) = nodes.last()?;
            // In front of the last statement: that may be the value of the cell.
            let at = nodes.len().checked_sub(2).map_or(0, |at| nodes[at].2);
            let at = if at == 0 { nodes.first().map_or(*end, |(_, start, _)| *start) } else { at };
            inserted.push((at, removed));
            inserted.sort_by_key(|(at, _)| *at);
        }
        let mut out = String::with_capacity(code.len() + 64);
        let mut done = 0;
        for (at, text) in inserted {
            out.push_str(&code[done..begin + at]);
            out.push_str(&text);
            done = begin + at;
        }
        Some(out + &code[done..])
    }
}

fn constant(number: usize) -> String {
    format!(" const {NAME}{number}: () = (); ")
}

/// Where the code of a cell begins, behind its commands, comments and empty lines; as evcxr sees it.
fn start_of_code(code: &str) -> usize {
    let mut at = 0;
    for line in code.split_inclusive('\n') {
        let text = line.trim();
        let other = text.is_empty()
            || line.starts_with("//")
            || line.starts_with('!')
            || text.starts_with(':');
        if !other {
            break;
        }
        at += line.len();
    }
    at
}

/// The statements of a cell: node, start and end.
fn statements(code: &str) -> Vec<(SyntaxNode, usize, usize)> {
    const OPEN: &str = "fn f(){";
    let file = SourceFile::parse(&format!("{OPEN}{code}\n}}"), Edition::Edition2024).tree();
    let body = file.syntax().children().find_map(ast::Fn::cast).and_then(|f| f.body());
    let list = body.and_then(|body| body.stmt_list());
    let nodes = list.into_iter().flat_map(|list| list.syntax().children().collect::<Vec<_>>());
    nodes
        .map(|node| {
            let range = node.text_range();
            let at = |offset: ra_ap_syntax::TextSize| {
                usize::from(offset).saturating_sub(OPEN.len()).min(code.len())
            };
            let (start, end) = (at(range.start()), at(range.end()));
            (node, start, end)
        })
        .collect()
}

/// The name under which evcxr keeps an item.
fn item_name(node: &SyntaxNode) -> Option<String> {
    let name = match ast::Item::cast(node.clone())? {
        ast::Item::Const(item) => item.name(),
        ast::Item::Enum(item) => item.name(),
        ast::Item::Fn(item) => item.name(),
        ast::Item::Module(item) => item.name(),
        ast::Item::Static(item) => item.name(),
        ast::Item::Struct(item) => item.name(),
        ast::Item::Trait(item) => item.name(),
        ast::Item::TypeAlias(item) => item.name(),
        ast::Item::Union(item) => item.name(),
        _ => None,
    };
    name.map(|name| name.text().to_string())
}

impl Block {
    fn of(block: &ast::Impl) -> Option<Self> {
        let mut parameters = Vec::new();
        for parameter in
            block.generic_param_list().into_iter().flat_map(|list| list.generic_params())
        {
            let name = match parameter {
                ast::GenericParam::TypeParam(it) => it.name().map(|it| it.text().to_string()),
                ast::GenericParam::ConstParam(it) => it.name().map(|it| it.text().to_string()),
                ast::GenericParam::LifetimeParam(it) => {
                    it.lifetime().map(|it| it.text().to_string())
                }
            };
            parameters.push(name.unwrap_or_default());
        }
        let words = |node: &SyntaxNode| -> Vec<String> {
            let tokens = node.descendants_with_tokens().filter_map(|it| it.into_token());
            tokens
                .filter(|token| !token.kind().is_trivia())
                .map(|token| {
                    let text = token.text().to_owned();
                    let number = parameters.iter().position(|parameter| *parameter == text);
                    number.map_or(text, |number| format!("#{number}"))
                })
                .collect()
        };
        let trait_ = block.trait_();
        let mut header: Vec<String> =
            block.self_ty().iter().flat_map(|it| words(it.syntax())).collect();
        let trait_words: Vec<String> = trait_.iter().flat_map(|it| words(it.syntax())).collect();
        // Everything from the first generic argument on.
        let path = trait_words.iter().position(|word| word == "<").unwrap_or(trait_words.len());
        header.push("for".to_owned());
        header.extend_from_slice(&trait_words[path..]);
        let items = block.assoc_item_list()?.assoc_items().filter_map(|item| match item {
            ast::AssocItem::Fn(item) => item.name(),
            ast::AssocItem::Const(item) => item.name(),
            ast::AssocItem::TypeAlias(item) => item.name(),
            ast::AssocItem::MacroCall(_) => None,
        });
        Some(Self {
            trait_path: trait_words[..path].iter().filter(|word| *word != "::").cloned().collect(),
            header,
            items: items.map(|name| name.text().to_string()).collect(),
        })
    }

    /// Whether both cannot be there at once.
    fn is_same(&self, other: &Self) -> bool {
        if self.header != other.header || self.trait_path.is_empty() != other.trait_path.is_empty()
        {
            return false;
        }
        if self.trait_path.is_empty() {
            return self.items.iter().any(|item| other.items.contains(item));
        }
        // `Display` and `fmt::Display`; but there are two traits called `Write`.
        let (short, long) = if self.trait_path.len() < other.trait_path.len() {
            (&self.trait_path, &other.trait_path)
        } else {
            (&other.trait_path, &self.trait_path)
        };
        short == long || long.ends_with(short) && short.last().is_some_and(|name| name != "Write")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs cells one after the other, and returns what evcxr is given for the last.
    fn run(cells: &[&str]) -> String {
        let mut impls = Impls::default();
        let mut code = String::new();
        for cell in cells {
            let named = impls.name(cell);
            code.clone_from(&named.code);
            impls.keep(named);
        }
        code
    }

    #[test]
    fn a_block_keeps_its_name_when_its_cell_runs_again() {
        let first = "impl Say for Probe { fn say(&self) -> i32 { 1 } }";
        let second = "impl say::Say for Probe {\n fn say(&self) -> i32 { 2 } }";
        assert!(run(&[first]).starts_with(" const EIGENLENS_IMPL_1: () = (); impl Say"));
        assert!(run(&[first, second]).starts_with(" const EIGENLENS_IMPL_1: () = (); impl say"));
        assert!(run(&[first, "impl Say for Other {}"]).starts_with(" const EIGENLENS_IMPL_2"));
        let generic = run(&["impl<T: Copy> Say for W<T> {}", "impl<U: Copy> Say for W<U> {}"]);
        assert!(generic.contains("IMPL_1"), "{generic}");
    }

    #[test]
    fn inherent_blocks_are_the_same_if_they_share_an_item() {
        let (f, g) = ("impl P { fn f() {} }", "impl P { fn g() {} }");
        assert!(run(&[f, g]).contains("IMPL_2"));
        assert!(run(&[f, g, "impl P { fn g() {} fn h() {} }"]).contains("IMPL_2"));
        let both = run(&[f, g, "impl P { fn f() {} fn g() {} }"]);
        assert!(both.contains("IMPL_1") && both.contains("IMPL_2"), "{both}");
    }

    #[test]
    fn a_block_goes_with_the_item_before_it() {
        let cell = "struct P;\nimpl P { fn f() {} }";
        let again = run(&[cell, "struct P;\nP"]);
        assert!(again.contains("IMPL_1"), "{again}");
        assert_eq!(run(&[cell, "struct Q;"]), "struct Q;");
    }

    #[test]
    fn lines_and_what_is_on_them_stay_in_place() {
        let cell = ":dep a = \"1\"\n// note\n\nstruct P; // here\nimpl P {}\nlet x = 1;";
        let named = run(&[cell]);
        assert_eq!(named.lines().count(), cell.lines().count());
        assert!(
            named.contains("struct P; const EIGENLENS_IMPL_1: () = ();  // here\nimpl P {}\nlet")
        );
        assert_eq!(run(&["let simple = 1;"]), "let simple = 1;");
    }
}
