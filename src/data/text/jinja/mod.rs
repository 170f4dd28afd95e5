//! Chat templates: Jinja, as Python's `transformers` renders it.
//!
//! The environment is that of `apply_chat_template`: blocks take the line feed behind them and the
//! spaces before them (`trim_blocks`, `lstrip_blocks`), loops have `break` and `continue`, strings
//! and dictionaries have the methods of Python, `tojson` writes as Python's `json.dumps`, and
//! `raise_exception` and `strftime_now` are there. A template comes from a file that somebody
//! published, so it is run with a bound on its work, away from the caller's stack.

mod clock;
mod json;

use std::path::PathBuf;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::{Error, Result};

/// A message of a conversation: its role and its text.
pub(super) type Message = (String, String);

/// Steps of a template without messages. One costs as much as 64 bytes of text; the longest published
/// templates take a few thousand.
const STEPS_OF_TEMPLATE: u64 = 60_000;
/// Steps that each message adds.
const STEPS_PER_MESSAGE: u64 = 5_000;
/// Steps of the longest conversation, whose stack has 1 GiB. They pay for 16 MiB of copied text.
const MOST_STEPS: u64 = 1 << 18;
/// Stack for each step: values can be nested as deeply as there are steps, and are written, compared
/// and dropped level by level. Only what is used takes memory.
const STACK_PER_STEP: usize = 4 << 10;
/// Roles that any template may be given.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// Where a template was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TemplateOrigin {
    /// In a field of a file, or a file of its own.
    File(PathBuf),
    /// In the program.
    Given,
}

/// A chat template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChatTemplate {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) origin: TemplateOrigin,
}

/// What a template makes a text of.
#[derive(Debug, Clone)]
pub(super) struct Conversation {
    pub(super) messages: Vec<Message>,
    /// Texts of special tokens by their keys: `bos_token`, `eos_token` and others.
    pub(super) special: Vec<(String, String)>,
    /// Whether the text ends with what begins a reply.
    pub(super) prompts_reply: bool,
}

/// What a template said when it called `raise_exception`.
#[derive(Debug)]
struct TemplateRefusal(String);

impl std::fmt::Display for TemplateRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateRefusal {}

impl ChatTemplate {
    /// Fails if the template is no Jinja.
    pub(super) fn check(&self) -> Result<()> {
        self.clone().on_deep_stack(STEPS_OF_TEMPLATE, |template| {
            let source = prepared(&template.source);
            let environment = environment(STEPS_OF_TEMPLATE)?;
            let compiled = environment.template_from_str(&source);
            compiled.map(drop).map_err(|reason| template.broken(reason))
        })
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// A template that is no Jinja, fails, or goes on for too long; messages that it refuses; no
    /// messages, and roles that are neither usual nor named in the template.
    pub(super) fn render(&self, conversation: Conversation) -> Result<String> {
        self.check_roles(&conversation.messages)?;
        let steps = steps(&conversation);
        self.clone().on_deep_stack(steps, move |template| {
            let source = prepared(&template.source);
            let environment = environment(steps)?;
            let compiled = environment.template_from_str(&source);
            let compiled = compiled.map_err(|reason| template.broken(reason))?;
            let rendered = compiled.render(variables(conversation));
            rendered.map_err(|reason| template.failed(steps, reason))
        })
    }

    fn check_roles(&self, messages: &[Message]) -> Result<()> {
        if messages.is_empty() {
            return Err(Error::invalid("the messages", "at least one", "none"));
        }
        let named = |role: &str| {
            let quoted = [format!("'{role}'"), format!("\"{role}\"")];
            quoted.iter().any(|quoted| self.source.contains(quoted))
        };
        let known = |role: &str| ROLES.contains(&role) || named(role);
        let Some((role, _)) = messages.iter().find(|(role, _)| !known(role)) else {
            return Ok(());
        };
        let usual: Vec<String> = ROLES.iter().map(|role| format!("`{role}`")).collect();
        let expected = format!("{}, or one that the chat template names", usual.join(", "));
        Err(Error::invalid("the role of a message", expected, format!("{role:?}")))
    }

    /// Does work of the template engine on a thread with a stack for values that are nested as deeply
    /// as so many steps allow.
    fn on_deep_stack<T: Send + 'static>(
        self,
        steps: u64,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let template = self.clone();
        let thread = std::thread::Builder::new()
            .name("chat template".to_owned())
            .stack_size(STACK_PER_STEP.saturating_mul(steps as usize))
            .spawn(move || work(&template));
        let thread = thread.map_err(|reason| {
            let expected = "a machine with room for another thread";
            Error::invalid("the chat template's stack", expected, &reason).caused_by(reason)
        })?;
        thread.join().unwrap_or_else(|_| {
            Err(self.wrong("a Jinja template", "one that the template engine cannot run"))
        })
    }

    fn broken(&self, reason: minijinja::Error) -> Error {
        self.wrong("a Jinja template", told(&reason)).caused_by(reason)
    }

    fn failed(&self, steps: u64, reason: minijinja::Error) -> Error {
        if let Some(refusal) = find_in(&reason, |cause| {
            cause.downcast_ref::<TemplateRefusal>().map(|refusal| refusal.0.clone())
        }) {
            let found = format!("its refusal{}: {refusal}", at_line(&reason));
            return Error::invalid("the messages", "ones that the chat template takes", found);
        }
        let is_out = |cause: &(dyn std::error::Error + 'static)| {
            let cause = cause.downcast_ref::<minijinja::Error>()?;
            (cause.kind() == ErrorKind::OutOfFuel).then_some(())
        };
        if find_in(&reason, is_out).is_some() {
            let expected = format!("a template that ends within {steps} steps");
            return self.wrong(expected, format!("one that goes on{}", at_line(&reason)));
        }
        self.wrong("a template that these messages fit", told(&reason)).caused_by(reason)
    }

    fn wrong(&self, expected: impl Into<String>, found: impl Into<String>) -> Error {
        let what = match self.name.as_str() {
            DEFAULT => String::new(),
            name => format!(" (`{name}`)"),
        };
        match &self.origin {
            TemplateOrigin::File(path) => {
                Error::format(path, format!("{} as `chat_template`{what}", expected.into()), found)
            }
            TemplateOrigin::Given => Error::invalid("the chat template", expected, found.into()),
        }
    }
}

/// The name of the template that is used unless another is asked for.
pub(super) const DEFAULT: &str = "default";

/// How many steps a conversation may take.
fn steps(conversation: &Conversation) -> u64 {
    let bytes: usize = conversation.messages.iter().map(|(_, text)| text.len()).sum();
    let messages = conversation.messages.len() as u64;
    (STEPS_OF_TEMPLATE + STEPS_PER_MESSAGE * messages + bytes as u64).min(MOST_STEPS)
}

fn environment<'source>(steps: u64) -> Result<Environment<'source>> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|reason| {
        Error::invalid("the syntax of chat templates", "Jinja", &reason).caused_by(reason)
    })?);
    environment.set_fuel(Some(steps));
    environment.set_unknown_method_callback(python_method);
    environment.add_filter("tojson", json::to_json);
    environment.add_filter("default", or_default);
    environment.add_filter("d", or_default);
    environment.add_test("sequence", is_sequence);
    environment.add_function(
        "raise_exception",
        |message: Value| -> Result<Value, minijinja::Error> {
            let refusal = TemplateRefusal(message.to_string());
            Err(minijinja::Error::from(ErrorKind::InvalidOperation).with_source(refusal))
        },
    );
    environment.add_function(
        "strftime_now",
        |format: String| -> Result<String, minijinja::Error> {
            clock::strftime(&format, &clock::Moment::now()).map_err(|unknown| {
                let detail = format!("strftime_now does not know {unknown:?}");
                minijinja::Error::new(ErrorKind::InvalidOperation, detail)
            })
        },
    );
    Ok(environment)
}

/// Methods of Python's values. What a dictionary lists is a list, so that a loop knows its last item.
fn python_method(
    state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, minijinja::Error> {
    let answer = unknown_method_callback(state, value, method, arguments)?;
    match method {
        "items" | "keys" | "values" => Ok(answer.try_iter()?.collect()),
        _ => Ok(answer),
    }
}

/// The filter `default` with the names that its arguments have in Jinja.
fn or_default(
    value: &Value,
    arguments: Rest<Value>,
    named: Kwargs,
) -> Result<Value, minijinja::Error> {
    if arguments.len() > 2 {
        return Err(ErrorKind::TooManyArguments.into());
    }
    let argument = |place: usize, name: &str| match arguments.get(place) {
        Some(value) => Ok(Some(value.clone())),
        None if named.has(name) => named.get::<Value>(name).map(Some),
        None => Ok(None),
    };
    let other = argument(0, "default_value")?.unwrap_or_else(|| Value::from(""));
    let replaces_false = argument(1, "boolean")?.is_some_and(|on| on.is_true());
    named.assert_all_used()?;
    let is_replaced = value.is_undefined() || (replaces_false && !value.is_true());
    Ok(if is_replaced { other } else { value.clone() })
}

/// The test `sequence`: in Jinja, whatever has a length and items, as texts and dictionaries have.
fn is_sequence(value: &Value) -> bool {
    use ValueKind::{Iterable, Map, Seq, String, Undefined};
    matches!(value.kind(), Undefined | String | Seq | Map | Iterable)
}

fn variables(conversation: Conversation) -> Value {
    let messages = conversation.messages.into_iter().map(|(role, text)| {
        Value::from_pairs([("role", Value::from(role)), ("content", Value::from(text))])
    });
    let mut all: Vec<(String, Value)> =
        conversation.special.into_iter().map(|(key, text)| (key, Value::from(text))).collect();
    let none = || Value::from(());
    all.extend([
        ("messages".to_owned(), messages.collect()),
        ("tools".to_owned(), none()),
        ("documents".to_owned(), none()),
        ("add_generation_prompt".to_owned(), conversation.prompts_reply.into()),
    ]);
    Value::from_pairs(all)
}

/// The template as the engine takes it: line ends of all systems as line feeds, as Jinja reads them,
/// and `{% generation %}` and `{% endgeneration %}`, by which `transformers` marks what a model says,
/// as `with` blocks: they keep variables apart as well, and write nothing.
fn prepared(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut changed = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        changed.push_str(before);
        rest = tag;
        let inside = tag.strip_prefix(['-', '+']).unwrap_or(tag).trim_start();
        let word = inside.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
        let after = &inside[word.len()..];
        let ends = after.trim_start();
        let ends = ends.strip_prefix(['-', '+']).unwrap_or(ends).starts_with("%}");
        let block = match word {
            "generation" if ends => "with",
            "endgeneration" if ends => "endwith",
            _ => continue,
        };
        changed.push_str(&tag[..tag.len() - inside.len()]);
        changed.push_str(block);
        rest = after;
    }
    changed.push_str(rest);
    changed
}

/// What went wrong in a template, and in which line.
fn told(reason: &minijinja::Error) -> String {
    let mut causes = vec![cause_in_words(reason)];
    let mut next = std::error::Error::source(reason);
    while let Some(cause) = next {
        let text = match cause.downcast_ref::<minijinja::Error>() {
            Some(cause) => format!("{}{}", cause_in_words(cause), at_line(cause)),
            None => cause.to_string(),
        };
        causes.push(text);
        next = cause.source();
    }
    let line = reason.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    format!("{line}{}", causes.join(": "))
}

fn cause_in_words(reason: &minijinja::Error) -> String {
    match reason.detail() {
        Some(detail) => format!("{}: {detail}", reason.kind()),
        None => reason.kind().to_string(),
    }
}

fn at_line(reason: &minijinja::Error) -> String {
    reason.line().map(|line| format!(" in line {line}")).unwrap_or_default()
}

/// The first thing that `find` sees in an error and its causes.
fn find_in<T>(
    reason: &minijinja::Error,
    find: impl Fn(&(dyn std::error::Error + 'static)) -> Option<T>,
) -> Option<T> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(reason);
    while let Some(cause) = next {
        if let Some(found) = find(cause) {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

#[cfg(test)]
mod tests;
