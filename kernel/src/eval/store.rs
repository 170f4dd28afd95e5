//! Changes the code that evcxr generates around a cell, so that a failed cell loses no variable.
//!
//! Evcxr takes every variable out of its store before a cell and puts it back afterwards, except
//! those that the cell defines anew: their old values are dropped, whether or not the cell came to
//! its end. Here, where the generated crate is about to be compiled, three things are added:
//!
//! - a variable that the cell defines anew without looking at its value stays in the store until the
//!   new value takes its place; one that it looks at is put back if the cell did not come to its end;
//! - a variable that the cell moves is taken out of the store where it is moved, or right before the
//!   first statement that names it, so that a failure in front of that leaves it where it is; of a
//!   handle, a second one waits in the store until the cell has come to its end;
//! - a cell that did not come to its end reports what the store still holds.
//!
//! Whether a variable is moved is only known to the compiler. So the code that puts it back is tried
//! first, and left out where the compiler says that the value is gone; see [`compile`].
//!
//! All additions stand on lines that are there already and behind the user's code on them: errors
//! and panics keep their places.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use ra_ap_syntax::ast::{self, HasGenericArgs as _, HasModuleItem as _, HasName as _};
use ra_ap_syntax::{AstNode as _, Edition, SourceFile, SyntaxKind, SyntaxNode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rewrite::SOURCE;
use super::shape::Shapes;

/// What the message of a cell that did not come to its end begins with; what it left in the store
/// follows.
pub(crate) const UNFINISHED: &str = "{\"type\":\"unfinished\",";
/// Code with this comment tells evcxr about variables that are in the store already; it is not
/// compiled.
pub(crate) const RESTORE: &str = "/*eigenlens: in the store*/";
/// What the compiler said about the variables of the cell that is being compiled.
const FINDINGS: &str = "target/cell-findings.json";

const STORE: &str = "evcxr_variable_store";
/// A compilation is tried once more for each variable at most, and never more often than this.
const ATTEMPTS: usize = 6;

/// A variable of an earlier cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Variable {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    pub(crate) mutable: bool,
    /// Whether the cell that failed was to define it anew.
    pub(crate) redefined: bool,
}

/// What became of the variables that were there before a cell that did not come to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unfinished {
    /// Those that the store still holds.
    pub(crate) kept: Vec<Variable>,
    /// Those that it does not: the cell has moved them.
    pub(crate) lost: Vec<Variable>,
}

impl Unfinished {
    /// Reads a message of the evaluation process, if it is this one.
    pub(crate) fn read(message: &str) -> Option<Self> {
        message.starts_with(UNFINISHED).then(|| serde_json::from_str(message).ok())?
    }
}

/// The outcome of one call of the compiler: whether it succeeded, and what it wrote.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) success: bool,
    /// The stream that carries errors as JSON, one a line.
    pub(crate) messages: Vec<u8>,
}

/// Compiles the cell in the current folder with `run`, after adding to its source what keeps
/// variables.
pub(crate) fn compile(mut run: impl FnMut() -> io::Result<Compiled>) -> io::Result<Compiled> {
    let Ok(original) = fs::read_to_string(SOURCE) else { return run() };
    let mut findings = Findings::read();
    for _ in 0..ATTEMPTS {
        let Some(changed) = change(&original, &findings) else { break };
        fs::write(SOURCE, &changed.text)?;
        let mut compiled = run()?;
        if compiled.success {
            return Ok(compiled);
        }
        let told = changed.told(&compiled.messages);
        if !findings.learn(&told) {
            return Ok(compiled);
        }
        fs::write(FINDINGS, serde_json::to_vec(&findings)?)?;
        if told.others {
            // Evcxr may know how to go on from these.
            compiled.messages = told.messages;
            return Ok(compiled);
        }
    }
    fs::write(SOURCE, original)?;
    run()
}

/// Forgets what the compiler said about earlier cells. `cells` is the folder of the cells' manifest.
pub(crate) fn forget(cells: &Path) {
    let _ = fs::remove_file(cells.join(FINDINGS));
}

/// Whether the source in the current folder only tells evcxr about variables.
pub(crate) fn is_restoring() -> bool {
    fs::read_to_string(SOURCE).is_ok_and(|source| source.contains(RESTORE))
}

/// What the compiler said about variables while a cell was being compiled.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Findings {
    /// These are moved: they cannot be put back.
    moved: BTreeSet<String>,
    /// These cannot be taken out of the store where they are moved.
    fixed: BTreeSet<String>,
}

impl Findings {
    fn read() -> Self {
        let text = fs::read(Path::new(FINDINGS)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Adds what a compilation told; returns whether that is new.
    fn learn(&mut self, told: &Told) -> bool {
        let count = self.moved.len() + self.fixed.len();
        for (at, name) in &told.about {
            match at {
                Addition::PutBack => self.moved.insert(name.clone()),
                Addition::InPlace => self.fixed.insert(name.clone()),
            };
        }
        self.moved.len() + self.fixed.len() > count
    }
}

/// A changed source.
#[derive(Debug)]
struct Changed {
    text: String,
    /// Where errors are about additions: line (from 1), columns (from 1), what and for which
    /// variable.
    additions: Vec<(usize, Range<usize>, Addition, String)>,
}

/// What may turn out not to compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Addition {
    /// A variable is put back.
    PutBack,
    /// A variable is taken out of the store in the middle of a statement.
    InPlace,
}

/// What the compiler's messages say about additions.
#[derive(Debug, Default)]
struct Told {
    about: BTreeSet<(Addition, String)>,
    /// Whether there are other errors.
    others: bool,
    /// All messages but those about additions.
    messages: Vec<u8>,
}

impl Changed {
    fn told(&self, messages: &[u8]) -> Told {
        let mut told = Told::default();
        for line in messages.split_inclusive(|&byte| byte == b'\n') {
            let json: Value = serde_json::from_slice(line).unwrap_or_default();
            let message = if json["message"].is_object() { &json["message"] } else { &json };
            match self.addition(message) {
                Some(addition) => drop(told.about.insert(addition)),
                None => {
                    let summary = message["code"].is_null()
                        && message["spans"].as_array().is_none_or(Vec::is_empty);
                    told.others |= message["level"] == "error" && !summary;
                    told.messages.extend_from_slice(line);
                }
            }
        }
        told
    }

    /// The addition that an error is about.
    fn addition(&self, message: &Value) -> Option<(Addition, String)> {
        let spans = message["spans"].as_array().filter(|_| message["level"] == "error")?;
        let span = spans.iter().find(|span| span["is_primary"] == true)?;
        let number = |key: &str| span[key].as_u64().and_then(|n| usize::try_from(n).ok());
        let (line, column) = (number("line_start")?, number("column_start")?);
        let found = self.additions.iter().find(|(at, columns, _, _)| {
            span["file_name"].as_str().is_some_and(|file| file.ends_with("lib.rs"))
                && *at == line
                && columns.contains(&column)
        });
        found.map(|(_, _, addition, name)| (*addition, name.clone()))
    }
}

/// The parts of the function that evcxr generates for a cell.
#[derive(Debug)]
struct Function {
    /// `let x = evcxr_variable_store.take_variable::<T>(stringify!(x));`
    loads: BTreeMap<String, Load>,
    /// `vars_ok &= evcxr_variable_store.check_variable::<T>(stringify!(x));`
    checks: Vec<Call>,
    /// What puts variables into the store before the cell's end, and after it.
    inner: Vec<Call>,
    outer: Vec<Call>,
    /// The user's statements.
    statements: Vec<SyntaxNode>,
    /// Behind the brace that opens the user's code.
    begin: usize,
    /// Where the cell has come to its end.
    end: usize,
    /// Where the local flag can be declared, and where the function returns.
    head: usize,
    tail: usize,
}

#[derive(Debug)]
struct Load {
    range: Range<usize>,
    text: String,
    type_name: String,
    mutable: bool,
}

/// A call of a method of the store about one variable.
#[derive(Debug)]
struct Call {
    name: String,
    type_name: String,
    range: Range<usize>,
}

fn bytes(node: &SyntaxNode) -> Range<usize> {
    let range = node.text_range();
    range.start().into()..range.end().into()
}

/// The call of the store's `method` that `node` consists of.
fn call(node: &SyntaxNode, method: &str) -> Option<Call> {
    let call = node.descendants().find_map(ast::MethodCallExpr::cast)?;
    if call.receiver()?.syntax().text() != STORE || call.name_ref()?.text() != method {
        return None;
    }
    let arguments = call.generic_arg_list()?.syntax().text().to_string();
    let type_name = arguments.trim_start_matches("::").strip_prefix('<')?.strip_suffix('>')?;
    let text = call.syntax().text().to_string();
    let (_, rest) = text.split_once("stringify!(")?;
    let (name, _) = rest.split_once(')')?;
    Some(Call { name: name.to_owned(), type_name: type_name.to_owned(), range: bytes(node) })
}

impl Function {
    /// Finds the function in evcxr's source; `None` where it does not look as evcxr 0.22 writes it.
    fn find(file: &SourceFile) -> Option<Self> {
        let function = file.items().find_map(|item| match item {
            ast::Item::Fn(function)
                if function.name().is_some_and(|n| n.text().starts_with("run_user_code_")) =>
            {
                Some(function)
            }
            _ => None,
        })?;
        let body = function.body()?.stmt_list()?;
        let tail = body.tail_expr().filter(|tail| tail.syntax().text() == STORE)?;
        let mut head = None;
        let mut found = (BTreeMap::new(), Vec::new(), Vec::new(), None);
        for node in body.syntax().children() {
            if let Some(statement) = ast::LetStmt::cast(node.clone()) {
                if let Some(load) = call(&node, "take_variable") {
                    let pat = statement.pat().and_then(|pat| match pat {
                        ast::Pat::IdentPat(pat) => Some(pat),
                        _ => None,
                    })?;
                    let (text, range) = (node.text().to_string(), bytes(&node));
                    let mutable = pat.mut_token().is_some();
                    let load_of = Load { range, text, type_name: load.type_name, mutable };
                    found.0.insert(load.name, load_of);
                } else if node.text().to_string().contains("unsafe") {
                    head = Some(bytes(&node).end);
                }
            } else if let Some(put) = call_statement(&node, "put_variable") {
                found.2.push(put);
            } else if node.descendants().any(|inner| call(&inner, "check_variable").is_some())
                && found.3.is_none()
            {
                found.1 = node
                    .descendants()
                    .filter(|inner| inner.kind() == SyntaxKind::EXPR_STMT)
                    .filter_map(|inner| call_statement(&inner, "check_variable"))
                    .collect();
            } else if let Some(matched) = caught(&node) {
                found.3 = Some(matched);
            }
        }
        let (loads, checks, outer, matched) = found;
        let user = user_block(&matched?)?;
        let list = user.stmt_list()?;
        let begin = list.l_curly_token()?.text_range().end().into();
        let mut statements: Vec<SyntaxNode> = list.syntax().children().collect();
        let mut end: usize = list.r_curly_token()?.text_range().start().into();
        if let Some(last) = statements.last().filter(|last| is_generated_end(last)) {
            end = bytes(last).start;
            statements.pop();
        }
        let mut inner = Vec::new();
        while let Some(put) =
            statements.last().and_then(|node| call_statement(node, "put_variable"))
        {
            inner.push(put);
            statements.pop();
        }
        let tail = bytes(tail.syntax()).start;
        Some(Self { loads, checks, inner, outer, statements, begin, end, head: head?, tail })
    }

    /// The names that the user's `let` statements bind.
    fn bound(&self) -> BTreeSet<String> {
        let statements = self.statements.iter().cloned().filter_map(ast::LetStmt::cast);
        let patterns = statements.filter_map(|statement| statement.pat());
        patterns.flat_map(|pat| binds(&pat).collect::<Vec<_>>()).collect()
    }

    /// The statements that can mean the value that `name` has before the cell: those that name it, up
    /// to the one that defines it anew. Of that one, all behind the pattern.
    fn uses(&self, name: &str) -> Vec<(SyntaxNode, String)> {
        let mut uses = Vec::new();
        for node in &self.statements {
            let pat = ast::LetStmt::cast(node.clone())
                .and_then(|statement| statement.pat())
                .filter(|pat| binds(pat).any(|bound| bound == name));
            let text = node.text().to_string();
            let behind = pat.map(|pat| bytes(pat.syntax()).end - bytes(node).start);
            let text = text[behind.unwrap_or(0)..].to_owned();
            if names(&text, name) {
                uses.push((node.clone(), text));
            }
            if behind.is_some() {
                break;
            }
        }
        uses
    }

    /// The only place that names the value that `name` has before the cell, if it is evaluated once:
    /// where it is moved.
    fn only_use(&self, name: &str) -> Option<Range<usize>> {
        let uses = self.uses(name);
        let [(statement, text)] = uses.as_slice() else { return None };
        let path = statement
            .descendants()
            .find(|node| node.kind() == SyntaxKind::PATH_EXPR && node.text() == name)?;
        let evaluated_later = path
            .ancestors()
            .take_while(|node| node != statement)
            .chain([statement.clone()])
            .any(|node| defers(node.kind()) || is_async(&node));
        // `P { name }` cannot hold another expression.
        let shorthand = path.parent().is_some_and(|parent| {
            parent.kind() == SyntaxKind::RECORD_EXPR_FIELD && parent.text() == name
        });
        (count(text, name) == 1 && !evaluated_later && !shorthand).then(|| bytes(&path))
    }

    /// Where `name` can be taken out of the store: behind the statement before the first one that
    /// names it.
    fn before_first_use(&self, name: &str) -> Option<usize> {
        let (first, _) = self.uses(name).into_iter().next()?;
        let at = self.statements.iter().position(|node| *node == first)?;
        Some(at.checked_sub(1).map_or(self.begin, |before| bytes(&self.statements[before]).end))
    }
}

/// The names that a pattern binds; of `whole @ parts`, as for evcxr, the whole.
fn binds(pat: &ast::Pat) -> impl Iterator<Item = String> {
    let names = pat.syntax().descendants().filter_map(ast::IdentPat::cast);
    let parts = |pat: &ast::IdentPat| {
        pat.syntax().ancestors().skip(1).any(|it| ast::IdentPat::can_cast(it.kind()))
    };
    names.filter(move |pat| !parts(pat)).filter_map(|pat| Some(pat.name()?.text().to_string()))
}

/// Whether a node evaluates what is in it at another time, or more than once.
fn defers(kind: SyntaxKind) -> bool {
    use SyntaxKind::{CLOSURE_EXPR, FOR_EXPR, LOOP_EXPR, MACRO_CALL, WHILE_EXPR};
    matches!(kind, CLOSURE_EXPR | FOR_EXPR | LOOP_EXPR | MACRO_CALL | WHILE_EXPR)
}

/// The same as [`call`], for a statement that is that call and nothing else, or adds it to a flag.
fn call_statement(node: &SyntaxNode, method: &str) -> Option<Call> {
    let statement = ast::ExprStmt::cast(node.clone())?;
    let text = statement.expr()?.syntax().text().to_string();
    let own = text.starts_with(STORE) || text.starts_with("vars_ok");
    own.then(|| call(node, method)).flatten()
}

/// The matched expression of `match std::panic::catch_unwind(…) {…}`.
fn caught(node: &SyntaxNode) -> Option<ast::Expr> {
    let expr = node
        .first_child()
        .filter(|_| node.kind() == SyntaxKind::EXPR_STMT)
        .unwrap_or_else(|| node.clone());
    let matched = ast::MatchExpr::cast(expr)?.expr()?;
    matched.syntax().text().to_string().starts_with("std::panic::catch_unwind").then_some(matched)
}

/// The block with the user's code, in what is given to `catch_unwind`.
fn user_block(caught: &ast::Expr) -> Option<ast::BlockExpr> {
    let closure = caught.syntax().descendants().find_map(ast::ClosureExpr::cast)?;
    let block = body(&closure)?;
    let statements: Vec<SyntaxNode> = block.stmt_list()?.syntax().children().collect();
    let first = statements.first()?;
    if first.text().to_string().contains("\"evcxr_tokio_runtime\"") {
        return block
            .syntax()
            .descendants()
            .filter_map(ast::BlockExpr::cast)
            .find(|block| block.async_token().is_some());
    }
    let fallible = first.descendants().find_map(ast::ClosureExpr::cast).filter(|closure| {
        let returned = closure.ret_type().map(|returned| returned.syntax().text().to_string());
        returned.is_some_and(|returned| returned.contains("EvcxrUserCodeError"))
    });
    match fallible {
        Some(closure) if statements.len() == 1 => body(&closure),
        _ => Some(block),
    }
}

fn body(closure: &ast::ClosureExpr) -> Option<ast::BlockExpr> {
    closure.syntax().children().find_map(ast::BlockExpr::cast)
}

fn is_generated_end(node: &SyntaxNode) -> bool {
    let text = node.text().to_string();
    text == "Ok(())" || text == "Ok::<(), EvcxrUserCodeError>(())"
}

fn is_async(node: &SyntaxNode) -> bool {
    ast::BlockExpr::cast(node.clone()).is_some_and(|block| block.async_token().is_some())
}

/// Whether `text` has `name` as a word, also inside a string: `{name}` is a use too.
fn names(text: &str, name: &str) -> bool {
    count(text, name) > 0
}

fn count(text: &str, name: &str) -> usize {
    let name = name.trim_start_matches("r#");
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let word =
        |at: usize| !text[..at].ends_with(part) && !text[at + name.len()..].starts_with(part);
    text.match_indices(name).filter(|(at, _)| word(*at)).count()
}

/// Whether a clone of this type is a second handle to the same data.
fn is_handle(type_name: &str) -> bool {
    let name = type_name.split('<').next().unwrap_or_default();
    let name = name.rsplit("::").next().unwrap_or_default().trim();
    ["Tensor", "Var", "Arc", "Rc"].contains(&name)
}

/// Adds to `source` what keeps variables, as far as the compiler has not said that it cannot be;
/// `None` where there is nothing to keep.
fn change(source: &str, findings: &Findings) -> Option<Changed> {
    if !source.contains(STORE) {
        return None;
    }
    let file = SourceFile::parse(source, Edition::Edition2024).ok().ok()?;
    let function = Function::find(&file)?;
    let shapes = Shapes::of(&file);
    let inherent = file.items().find_map(|item| match item {
        ast::Item::Module(module) if module.name()?.text() == "evcxr_internal_runtime" => {
            module.item_list()?.items().find_map(|item| match item {
                ast::Item::Impl(block) => block.assoc_item_list()?.l_curly_token(),
                _ => None,
            })
        }
        _ => None,
    })?;
    let mut edits = Edits::default();
    edits.insert(inherent.text_range().end().into(), METHODS.to_owned());
    edits.insert(function.head, " let mut eigenlens_done = false;".to_owned());

    let bound = function.bound();
    let has = |calls: &[Call], name: &str| calls.iter().any(|call| call.name == name);
    let mut at_end = String::from("eigenlens_done = true; ");
    let mut guards = Vec::new();
    let mut additions = Vec::new();
    let mut unread = BTreeSet::new();
    for (name, load) in &function.loads {
        let put = |type_name: &str| {
            format!("{STORE}.put_variable::<{type_name}>(stringify!({name}), {name}); ")
        };
        let stays = has(&function.outer, name);
        let anew = bound.contains(name);
        if stays && anew && !has(&function.inner, name) {
            // A pattern that evcxr does not look into: it would put the old value back.
            let old = function.outer.iter().find(|call| call.name == *name)?;
            at_end.push_str(&put(&old.type_name));
            edits.replace(old.range.clone(), String::new());
        } else if stays {
            continue;
        }
        let mut in_store = true;
        if anew && function.uses(name).is_empty() {
            edits.replace(load.range.clone(), String::new());
            unread.insert(name.as_str());
        } else if anew && !findings.moved.contains(name) {
            let shape = shapes.store(name, &load.type_name);
            guards.push((name.clone(), put(&load.type_name) + shape.trim_start() + " "));
            in_store = false;
        } else if !is_handle(&load.type_name)
            && !findings.fixed.contains(name)
            && let Some(place) = function.only_use(name)
        {
            edits.replace(load.range.clone(), String::new());
            let line = source[..place.start].matches('\n').count() + 1;
            additions.push((line, 1..usize::MAX, Addition::InPlace, name.clone()));
            let take = format!("{STORE}.take_variable::<{}>(stringify!({name}))", load.type_name);
            edits.replace(place, take);
        } else if let Some(at) = function.before_first_use(name) {
            edits.replace(load.range.clone(), String::new());
            let mut text = format!(" {}", load.text);
            if is_handle(&load.type_name) {
                let second = format!(
                    " {STORE}.put_variable::<{}>(stringify!({name}), {name}.clone());",
                    load.type_name
                );
                text.push_str(&second);
            } else {
                in_store = false;
            }
            edits.insert(at, text);
        }
        if in_store && !stays && !has(&function.inner, name) {
            // Evcxr takes it for moved.
            at_end.push_str(&format!("{STORE}.eigenlens_remove(stringify!({name})); "));
        }
    }
    for call in function.inner.iter().chain(&function.outer) {
        edits.insert(call.range.end, shapes.store(&call.name, &call.type_name));
    }
    for call in &function.checks {
        if unread.contains(call.name.as_str()) {
            // Whatever its type has become.
            edits.replace(call.range.clone(), String::new());
            continue;
        }
        edits.insert(call.range.end, shapes.check(&call.name, &call.type_name));
    }
    edits.insert(function.end, at_end);

    let report = function.loads.iter().map(|(name, load)| {
        let variable = Variable {
            name: name.clone(),
            type_name: load.type_name.clone(),
            mutable: load.mutable,
            redefined: bound.contains(name),
        };
        let json = serde_json::to_string(&variable).unwrap_or_default();
        format!("(stringify!({name}), {json:?}), ")
    });
    let report: String = report.collect();
    let line = source[..function.tail].matches('\n').count() + 1;
    let column = function.tail - source[..function.tail].rfind('\n').map_or(0, |at| at + 1) + 1;
    let mut text = String::from("if !eigenlens_done { ");
    for (name, put) in guards {
        let start = column + text.chars().count();
        text.push_str(&put);
        additions.push((line, start..column + text.chars().count(), Addition::PutBack, name));
    }
    text.push_str(&format!("{STORE}.eigenlens_report(&[{report}]); }} "));
    edits.insert(function.tail, text);
    Some(Changed { text: edits.apply(source), additions })
}

/// What the store can do besides what evcxr gives it; one line.
const METHODS: &str = concat!(
    " pub fn eigenlens_report(&self, loaded: &[(&str, &str)]) {",
    " let (mut kept, mut lost) = (std::string::String::new(), std::string::String::new());",
    " for (name, entry) in loaded {",
    " let list = if self.variables.contains_key(*name) { &mut kept } else { &mut lost };",
    " if !list.is_empty() { list.push(','); } list.push_str(entry); }",
    r#" std::println!("\u{1e}EIGENLENS {{\"type\":\"unfinished\",\"kept\":[{kept}],"#,
    r#"\"lost\":[{lost}]}}"); }"#,
    " pub fn eigenlens_remove(&mut self, name: &str) { self.variables.remove(name); }",
    " pub fn eigenlens_shape(&mut self, name: &str, shape: u64) {",
    r#" self.variables.insert(std::format!("shape of {name}"), Box::new(shape)); }"#,
    " pub fn eigenlens_same(&mut self, name: &str, shape: u64) -> bool {",
    r#" let stored = self.variables.get(&std::format!("shape of {name}"));"#,
    " if stored.and_then(|it| it.downcast_ref()).is_none_or(|it: &u64| *it == shape)",
    " { return true; }",
    " if self.variables.remove(name).is_none() { return true; }",
    r#" std::eprintln!("The type of the variable {name} was redefined, so was lost.");"#,
    r#" std::println!("{VARIABLE_CHANGED_TYPE}{name}"); false }"#,
);

/// Changes to a text, given by places in the text as it was.
#[derive(Debug, Default)]
struct Edits(Vec<(Range<usize>, String)>);

impl Edits {
    fn insert(&mut self, at: usize, text: String) {
        self.0.push((at..at, text));
    }

    fn replace(&mut self, range: Range<usize>, text: String) {
        self.0.push((range, text));
    }

    fn apply(mut self, source: &str) -> String {
        // Stable: what is inserted at one place keeps its order.
        self.0.sort_by_key(|(range, _)| range.start);
        let mut text = String::with_capacity(source.len() + 4096);
        let mut at = 0;
        for (range, new) in self.0 {
            text.push_str(&source[at..range.start]);
            text.push_str(&new);
            // A line that goes would move all that follow.
            text.extend(source[range.clone()].chars().filter(|&c| c == '\n'));
            at = range.end;
        }
        text + &source[at..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cell as evcxr 0.22 generates it. `variables` are name, type and mutability of what is in
    /// the store.
    fn generated(
        variables: &[(&str, &str, bool)],
        user: &str,
        inner: &[&str],
        outer: &[&str],
    ) -> String {
        let mut text = String::from(
            "#![allow(unused_imports, unused_mut, dead_code)]\nstruct EvcxrUserCodeError {}\n\
             mod evcxr_internal_runtime {\npub struct VariableStore {}\nimpl VariableStore {\n}\n}\n\
             #[unsafe(no_mangle)]\npub extern \"C\" fn run_user_code_3(\n\
             mut evcxr_variable_store: *mut evcxr_internal_runtime::VariableStore)\n\
             -> *mut evcxr_internal_runtime::VariableStore {\n\
             let evcxr_variable_store = unsafe {&mut *evcxr_variable_store};\n\
             {let mut vars_ok = true;\n",
        );
        for (name, type_name, _) in variables {
            text.push_str(&format!(
                "vars_ok &= evcxr_variable_store.check_variable::<{type_name}>(stringify!({name}));\n"
            ));
        }
        text.push_str("if !vars_ok {return evcxr_variable_store;}}\n");
        for (name, type_name, mutable) in variables {
            let mutable = if *mutable { "mut " } else { "" };
            text.push_str(&format!(
                "let {mutable}{name} = evcxr_variable_store.take_variable::<{type_name}>(stringify!({name}));\n"
            ));
        }
        let put = |names: &[&str]| -> String {
            let put = |name: &&str| {
                format!("evcxr_variable_store.put_variable::<T>(stringify!({name}), {name});\n")
            };
            names.iter().map(put).collect()
        };
        text.push_str(&format!(
            "match std::panic::catch_unwind(\n  std::panic::AssertUnwindSafe(||{{\n\
             let _ = (|| -> std::result::Result<(), EvcxrUserCodeError> {{\n{user}{}Ok(())}})();\n\
             }})) {{ \n  Ok(_) => {{}}\n  Err(_) => {{\n    println!(\"EVCXR_PANIC_NOTIFICATION\");\n\
             }}}}\n{}evcxr_variable_store\n}}\n",
            put(inner),
            put(outer)
        ));
        text
    }

    fn changed(source: &str, moved: &[&str]) -> String {
        let moved = moved.iter().map(|&name| name.to_owned()).collect();
        let findings = Findings { moved, ..Findings::default() };
        let changed = change(source, &findings).expect("a cell").text;
        assert_eq!(changed.lines().count(), source.lines().count(), "{changed}");
        assert_eq!(SourceFile::parse(&changed, Edition::Edition2024).errors(), [], "{changed}");
        changed
    }

    fn line<'a>(text: &'a str, start: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(start)).expect("a line")
    }

    const TAKE: &str = "let x = evcxr_variable_store.take_variable";

    #[test]
    fn a_variable_that_is_not_looked_at_stays_in_the_store() {
        let source = generated(&[("x", "i32", false)], "let x = load(\"typo\")?;\n", &["x"], &[]);
        let text = changed(&source, &[]);
        assert!(!text.contains(TAKE) && !text.contains("check_variable"), "{text}");
        assert!(text.contains("eigenlens_done = true; Ok(())})();"));
        assert!(line(&text, "if !eigenlens_done").contains("eigenlens_report(&[(stringify!(x), "));
    }

    #[test]
    fn a_variable_that_is_looked_at_is_put_back() {
        for user in ["let x = f(&x)?;\n", "show(\"{x}\");\nlet x = 1;\n", "let x: [u8; x] = y;\n"] {
            let text = changed(&generated(&[("x", "S", true)], user, &["x"], &[]), &[]);
            let put =
                "if !eigenlens_done { evcxr_variable_store.put_variable::<S>(stringify!(x), x);";
            assert!(line(&text, "if !eigenlens_done").starts_with(put), "{text}");
            assert!(text.contains("\\\"mutable\\\":true"), "{text}");
        }
    }

    #[test]
    fn a_moved_variable_is_taken_right_before_the_statement_that_names_it() {
        let user = "let y = f()?; // note\nlet x = g(&x, x)?;\n";
        let source = generated(&[("x", "S", false)], user, &["x", "y"], &[]);
        let text = changed(&source, &["x"]);
        assert!(line(&text, "let y").starts_with(&format!("let y = f()?; {TAKE}")), "{text}");
        assert!(!line(&text, "if !eigenlens_done").contains("put_variable"));
        // And where evcxr has found out: `d` is neither defined nor put back.
        for user in ["for i in 0..2 { consume(d); }\n", "let f = || consume(d);\n"] {
            let text = changed(&generated(&[("d", "S", false)], user, &[], &[]), &[]);
            let taken = "let d = evcxr_variable_store.take";
            assert!(line(&text, "let _ = (||").contains(taken), "{text}");
        }
    }

    #[test]
    fn a_variable_that_is_named_once_is_taken_where_it_is_moved() {
        let shorthand = generated(&[("d", "S", false)], "f(P { d })?;\n", &[], &[]);
        assert_eq!(line(&changed(&shorthand, &[]), "f(P"), "f(P { d })?;");
        let anew = generated(&[("d", "S", false)], "let d = f(d)?; g(&d);\n", &["d"], &[]);
        assert!(
            line(&changed(&anew, &["d"]), "let d").starts_with("let d = f(evcxr_variable_store")
        );
        let source = generated(&[("d", "S", false)], "f(g()?, d)?;\n", &[], &[]);
        let text = changed(&source, &[]);
        let taken = "f(g()?, evcxr_variable_store.take_variable::<S>(stringify!(d)))?;";
        assert_eq!(line(&text, "f(g()"), taken);
        let fixed = BTreeSet::from(["d".to_owned()]);
        let findings = Findings { fixed, ..Findings::default() };
        let text = change(&source, &findings).expect("a cell").text;
        assert_eq!(line(&text, "f(g()"), "f(g()?, d)?;");
    }

    #[test]
    fn a_second_handle_waits_until_the_end() {
        let source = generated(&[("t", "a::Tensor", false)], "(t + 1)?;\n", &[], &[]);
        let text = changed(&source, &[]);
        assert!(line(&text, "let _ = (||").ends_with("(stringify!(t), t.clone());"), "{text}");
        assert!(line(&text, "eigenlens_done = true").contains("eigenlens_remove(stringify!(t))"));
    }

    #[test]
    fn patterns_that_evcxr_does_not_look_into_define_their_variables() {
        let source = generated(&[("a", "i32", false)], "let [a, b] = f()?;\n", &["b"], &["a"]);
        let text = changed(&source, &[]);
        assert!(
            line(&text, "eigenlens_done = true").contains("put_variable::<T>(stringify!(a), a)")
        );
        assert_eq!(text.matches("put_variable::<T>(stringify!(a)").count(), 1, "{text}");
    }

    #[test]
    fn own_statements_that_look_generated_are_not_taken_for_it() {
        let user = "let f = || -> Result<(), String> {\nOk(())};\nlet x = 1;\n";
        let text = changed(&generated(&[("x", "i32", false)], user, &["f", "x"], &[]), &[]);
        assert!(text.contains("let f = || -> Result<(), String> {\nOk(())};"), "{text}");
    }

    #[test]
    fn the_compiler_says_what_is_moved() {
        let source = generated(&[("x", "S", false)], "let x = g(&x, x);\n", &["x"], &[]);
        let changed = change(&source, &Findings::default()).expect("a cell");
        let (line, columns, _, _) = changed.additions[0].clone();
        let error = |column: usize| {
            let span = serde_json::json!({"file_name": "src/lib.rs", "is_primary": true,
                "line_start": line, "column_start": column});
            let json = serde_json::json!({"level": "error", "message": "use of moved value",
                "code": {"code": "E0382"}, "spans": [span]});
            format!("{json}\n")
        };
        let abort = "{\"level\":\"error\",\"message\":\"aborting\",\"code\":null,\"spans\":[]}\n";
        let about = BTreeSet::from([(Addition::PutBack, "x".to_owned())]);
        let told = changed.told(format!("{}{abort}", error(columns.start + 50)).as_bytes());
        assert!(told.about == about && !told.others);
        let other = error(1);
        let told = changed.told(format!("{other}{}", error(columns.start)).as_bytes());
        assert!(told.about == about && told.others);
        assert_eq!(told.messages, other.as_bytes());
        let mut findings = Findings::default();
        assert!(findings.learn(&told) && !findings.learn(&told));
    }

    #[test]
    fn words_are_found_in_strings_and_not_in_longer_words() {
        assert!(names("println!(\"{x}\")", "x"));
        assert!(!names("max(x1, _x)", "x"));
        assert!(names("r#type", "r#type"));
    }

    #[test]
    fn messages_are_read_back() {
        let message = format!(
            "{UNFINISHED}\"kept\":[{{\"name\":\"x\",\"type\":\"T\",\"mutable\":true,\
                               \"redefined\":false}}],\"lost\":[]}}"
        );
        let read = Unfinished::read(&message).expect("a message");
        assert_eq!((read.kept[0].type_name.as_str(), read.lost.len()), ("T", 0));
        assert_eq!(Unfinished::read("{\"type\":\"display\"}"), None);
    }
}
