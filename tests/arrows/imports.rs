//! Reads what a file of Rust uses: every `use`, and every path that begins with `crate`, `super` or
//! `self`, but for what is compiled for tests only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a file uses: an absolute path of modules and, at its end, an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
}

/// A file of sources.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: PathBuf,
    pub(crate) module: Vec<String>,
    pub(crate) imports: Vec<Import>,
    /// Names that a `mod.rs` passes on from its own modules, with the path behind each.
    pub(crate) passed_on: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name(String),
    Sign(char),
}

/// The tokens of a Rust file with their lines, without comments and literals.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = text.chars().collect();
    let (mut found, mut line, mut at) = (Vec::new(), 1, 0);
    let next = |at: usize| chars.get(at).copied().unwrap_or('\0');
    while at < chars.len() {
        let begin = at;
        match chars[at] {
            '/' if next(at + 1) == '/' => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
            }
            '/' if next(at + 1) == '*' => {
                at += 2;
                while at < chars.len() && !(chars[at] == '*' && next(at + 1) == '/') {
                    at += 1;
                }
                at += 2;
            }
            '"' => {
                at += 1;
                while at < chars.len() && chars[at] != '"' {
                    at += if chars[at] == '\\' { 2 } else { 1 };
                }
                at += 1;
            }
            // A character, or else the mark of a lifetime.
            '\'' if next(at + 1) == '\\' || next(at + 2) == '\'' => {
                at += 2;
                while at < chars.len()
                    && (chars[at] != '\'' || chars[at - 1] == '\\' && chars[at - 2] != '\\')
                {
                    at += 1;
                }
                at += 1;
            }
            first if first.is_alphabetic() || first == '_' => {
                while next(at).is_alphanumeric() || next(at) == '_' {
                    at += 1;
                }
                let name: String = chars[begin..at].iter().collect();
                let hashes = chars[at..].iter().take_while(|sign| **sign == '#').count();
                if ["r", "br"].contains(&name.as_str()) && next(at + hashes) == '"' {
                    let end: String = ['"'].into_iter().chain(vec!['#'; hashes]).collect();
                    let rest: String = chars[at + hashes + 1..].iter().collect();
                    let length =
                        rest.find(&end).map_or(rest.len(), |bytes| rest[..bytes].chars().count());
                    at += hashes + 1 + length + end.len();
                } else if !(name == "b" && next(at) == '\'') {
                    found.push((line, Token::Name(name)));
                }
            }
            sign => {
                if !sign.is_whitespace() {
                    found.push((line, Token::Sign(sign)));
                }
                at += 1;
            }
        }
        let at_most = at.min(chars.len());
        line += chars[begin..at_most].iter().filter(|sign| **sign == '\n').count();
    }
    found
}

/// Reads the imports of one file.
struct Reader<'a> {
    tokens: &'a [(usize, Token)],
    at: usize,
    module: &'a [String],
    imports: Vec<Import>,
    passed_on: BTreeMap<String, Vec<String>>,
}

impl Reader<'_> {
    fn sign(&self, at: usize) -> Option<char> {
        match self.tokens.get(at) {
            Some((_, Token::Sign(sign))) => Some(*sign),
            _ => None,
        }
    }

    fn name(&self, at: usize) -> Option<&str> {
        match self.tokens.get(at) {
            Some((_, Token::Name(name))) => Some(name),
            _ => None,
        }
    }

    fn is_separator(&self, at: usize) -> bool {
        self.sign(at) == Some(':') && self.sign(at + 1) == Some(':')
    }

    fn read(mut self) -> (Vec<Import>, BTreeMap<String, Vec<String>>) {
        while self.at < self.tokens.len() {
            if self.sign(self.at) == Some('#') && self.sign(self.at + 1) == Some('[') {
                if self.skip_attribute() {
                    self.skip_item();
                }
                continue;
            }
            let inside = self.at >= 2 && self.is_separator(self.at - 2);
            match self.name(self.at) {
                Some("use") => {
                    self.at += 1;
                    self.tree(Vec::new());
                }
                Some("crate" | "super" | "self") if !inside && self.is_separator(self.at + 1) => {
                    let (line, mut path) = (self.tokens[self.at].0, Vec::new());
                    while let Some(name) = self.name(self.at) {
                        path.push(name.to_owned());
                        self.at += 1;
                        if !(self.is_separator(self.at) && self.name(self.at + 2).is_some()) {
                            break;
                        }
                        self.at += 2;
                    }
                    self.import(line, &path);
                }
                _ => self.at += 1,
            }
        }
        (self.imports, self.passed_on)
    }

    /// Goes past an attribute; true if what follows is compiled for tests only.
    fn skip_attribute(&mut self) -> bool {
        let (mut depth, begin) = (0, self.at);
        loop {
            match self.sign(self.at) {
                Some('[') => depth += 1,
                Some(']') => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 && self.at > begin + 1 || self.at >= self.tokens.len() {
                break;
            }
        }
        let names: Vec<_> = (begin..self.at).filter_map(|at| self.name(at)).collect();
        names.first() == Some(&"cfg") && names.contains(&"test") && !names.contains(&"not")
    }

    fn skip_item(&mut self) {
        while self.sign(self.at) == Some('#') {
            self.skip_attribute();
        }
        let mut depth = 0;
        while self.at < self.tokens.len() {
            let sign = self.sign(self.at);
            match sign {
                Some('(' | '[' | '{') => depth += 1,
                Some(')' | ']' | '}') => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth <= 0 && matches!(sign, Some(';' | '}' | ',')) {
                return;
            }
        }
    }

    /// The tree of a `use` after `prefix`, up to the `,`, `}` or `;` behind it.
    fn tree(&mut self, prefix: Vec<String>) {
        let mut path = prefix;
        let line = self.tokens.get(self.at).map_or(0, |(line, _)| *line);
        let mut known_as = None;
        loop {
            match self.tokens.get(self.at).map(|(_, token)| token.clone()) {
                Some(Token::Name(name)) if name == "as" => {
                    known_as = self.name(self.at + 1).map(str::to_owned);
                    self.at += 2;
                }
                Some(Token::Name(name)) => {
                    path.push(name);
                    self.at += 1;
                }
                Some(Token::Sign(':')) => self.at += 1,
                Some(Token::Sign('*')) => {
                    path.push("*".to_owned());
                    self.at += 1;
                }
                Some(Token::Sign('{')) => {
                    loop {
                        self.at += 1;
                        self.tree(path.clone());
                        if self.sign(self.at) != Some(',') {
                            break;
                        }
                    }
                    self.at += 1;
                    return;
                }
                _ => break,
            }
        }
        let Some(last) = path.last().cloned() else { return };
        let name = known_as.unwrap_or(last);
        if !["crate", "super", "self"].contains(&path[0].as_str()) {
            // A module of this one, or another crate: which it is, the list of modules tells.
            let own: Vec<String> = self.module.iter().cloned().chain(path).collect();
            self.passed_on.insert(name, own);
            return;
        }
        if let Some(import) = self.import(line, &path) {
            self.passed_on.insert(name, import.path);
        }
    }

    /// Keeps a path as an absolute one.
    fn import(&mut self, line: usize, path: &[String]) -> Option<Import> {
        let mut base = self.module.to_vec();
        let mut rest = path.iter().peekable();
        while let Some(step) =
            rest.next_if(|step| ["crate", "super", "self"].contains(&step.as_str()))
        {
            match step.as_str() {
                "crate" => base.clear(),
                "super" => drop(base.pop()),
                _ => {}
            }
        }
        base.extend(rest.cloned());
        let import = Import { line, path: base };
        self.imports.push(import.clone());
        Some(import)
    }
}

/// What the text of a module uses.
pub(crate) fn source(file: &Path, module: &[&str], text: &str) -> Source {
    let module: Vec<String> = module.iter().map(|name| (*name).to_owned()).collect();
    let tokens = tokens(text);
    let reader = Reader {
        tokens: &tokens,
        at: 0,
        module: &module,
        imports: Vec::new(),
        passed_on: BTreeMap::new(),
    };
    let (imports, passed_on) = reader.read();
    Source { file: file.to_owned(), module, imports, passed_on }
}
