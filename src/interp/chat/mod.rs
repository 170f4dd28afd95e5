//! A client of language models that answer chats, on any server with `POST {base}/chat/completions`.

mod ask;
mod cache;
mod ledger;
mod limits;
mod parallel;
mod retry;
#[cfg(test)]
mod tests;
mod throttle;
mod wire;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub use ledger::ChatUsage;
pub use limits::Limits;
pub use retry::Retries;
pub(super) use wire::BYTES_A_TOKEN;
pub use wire::{AnswerToken, ChatAnswer, ChatMessage, ChatRequest, ChatRole};

use cache::{AnswerCache, AskedKey};
use ledger::Ledger;
use throttle::{Clock, Throttle, WallClock};

use crate::check::check_not_negative;
use crate::display::show_as_text;
use crate::home::{data_folder, expand_home};
use crate::{Error, Result};

const BASE_URL: &str = "OPENAI_BASE_URL";
const KEY: &str = "OPENAI_API_KEY";
const MODEL: &str = "EIGENLENS_CHAT_MODEL";
/// The folder of the answers in that of all data.
const ANSWERS: &str = "answers";
/// What is added to the base URL.
const ENDPOINT: &str = "/chat/completions";

/// A language model that answers chats, on a server with `POST {base}/chat/completions`: vLLM,
/// llama.cpp, Ollama, OpenRouter and others.
///
/// An answer is kept on disk by what was asked, so the same request is sent once. Failures that may
/// pass are tried again ([`Retries`]): connections that break, answers that do not come in time or are
/// cut off, and the statuses 408, 425, 429, 500, 502, 503, 504 and 529. A quota that is used up does
/// not pass. A server that does not answer is an error and never an answer. [`Limits`] bound how much
/// is asked at once and a minute, and what it costs. Clones are cheap, and share limits and costs.
///
/// The key is read from an environment variable when a request is sent. It is in no file, error or
/// text that a cell shows.
///
/// ```
/// use eigenlens::interp::{ChatMessage, ChatModel, ChatRequest};
///
/// # fn main() -> eigenlens::Result<()> {
/// let folder = std::env::temp_dir().join("eigenlens-no-answers");
/// let chat = ChatModel::new("http://127.0.0.1:8000/v1", "a-model")?.answers(folder).only_cached();
/// let request = ChatRequest {
///     messages: vec![ChatMessage::user("What do Monday and Friday have in common?")],
///     max_tokens: 50,
///     log_probabilities: false,
///     version: "1",
/// };
/// assert!(chat.cached(&request)?.is_none());
/// assert!(chat.ask(&request).unwrap_err().to_string().contains("only_cached"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ChatModel {
    base_url: String,
    model: String,
    key_variable: Option<String>,
    /// Reads an environment variable.
    variables: fn(&str) -> Option<String>,
    retries: Retries,
    limits: Limits,
    folder: Option<PathBuf>,
    /// Of a million tokens of prompts, and of answers.
    prices: Option<[f64; 2]>,
    is_only_cached: bool,
    clock: Arc<dyn Clock>,
    throttle: Arc<Throttle>,
    ledger: Arc<Ledger>,
}

impl ChatModel {
    /// The model called `model` on the server at `base_url`, such as `http://127.0.0.1:8000/v1` or
    /// `https://openrouter.ai/api/v1`. No key is sent unless [`key_from`](Self::key_from) names one.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no name, and for a `base_url` that is no address with `http://` or
    /// `https://`, has a user name, a password or a query, or ends with `/chat/completions`, which is
    /// added.
    pub fn new(base_url: &str, model: &str) -> Result<Self> {
        Self::named("`base_url`", base_url, "`model`", model)
    }

    /// The model that environment variables describe: `OPENAI_BASE_URL`, `EIGENLENS_CHAT_MODEL`, and
    /// `OPENAI_API_KEY` for a server that asks for a key.
    ///
    /// # Errors
    /// [`Error::NotFound`] if one of the first two is not set; as [`ChatModel::new`].
    pub fn from_env() -> Result<Self> {
        Self::from_variables(environment)
    }

    fn from_variables(variables: fn(&str) -> Option<String>) -> Result<Self> {
        let needed = |name: &str, hint: &str| {
            variables(name).ok_or_else(|| Error::NotFound {
                what: format!("the environment variable `{name}`"),
                hint: hint.to_owned(),
            })
        };
        let base_url = needed(
            BASE_URL,
            "Set it to the address of a server with /chat/completions, such as \
             http://127.0.0.1:8000/v1.",
        )?;
        let model = needed(MODEL, "Set it to the name by which the server knows its model.")?;
        let named = |name: &str| format!("`{name}`");
        let own = Self::named(&named(BASE_URL), &base_url, &named(MODEL), &model)?;
        let key_variable = variables(KEY).map(|_| KEY.to_owned());
        Ok(Self { key_variable, variables, ..own })
    }

    fn named(url_name: &str, base_url: &str, model_name: &str, model: &str) -> Result<Self> {
        let base_url = checked_url(url_name, base_url)?;
        if model.trim().is_empty() {
            return Err(Error::invalid(model_name, "the name of a model", "an empty text"));
        }
        let clock: Arc<dyn Clock> = Arc::new(WallClock::new());
        let limits = Limits::default();
        Ok(Self {
            base_url,
            model: model.trim().to_owned(),
            key_variable: None,
            variables: environment,
            retries: Retries::default(),
            limits,
            folder: None,
            prices: None,
            is_only_cached: false,
            throttle: Arc::new(Throttle::new(&limits, Arc::clone(&clock))),
            clock,
            ledger: Arc::default(),
        })
    }

    /// The same with the key in the environment variable `variable`; none by default. It is read when
    /// a request is sent, and that it is not set is an error then.
    #[must_use]
    pub fn key_from(self, variable: &str) -> Self {
        Self { key_variable: Some(variable.to_owned()), ..self }
    }

    /// The same with other rules for trying again; six attempts by default.
    #[must_use]
    pub fn retries(self, retries: Retries) -> Self {
        Self { retries, ..self }
    }

    /// The same with other limits; eight requests at once and 120 seconds for each by default. What
    /// was spent before counts towards `most_cost`.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        let throttle = Arc::new(Throttle::new(&limits, Arc::clone(&self.clock)));
        Self { limits, throttle, ..self }
    }

    /// The same with answers kept in `folder`; `data/answers` in [`home`](crate::home()) by default.
    /// What decides which answer is taken are model, messages, parameters and the version of the
    /// prompt; not the server.
    #[must_use]
    pub fn answers(self, folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(expand_home(&folder.into())), ..self }
    }

    /// The same with prices of a million tokens of prompts and of answers, in any currency; none by
    /// default.
    #[must_use]
    pub fn prices(self, input_per_million: f64, output_per_million: f64) -> Self {
        Self { prices: Some([input_per_million, output_per_million]), ..self }
    }

    /// The same, taking answers that were kept and asking no server; by default it asks.
    #[must_use]
    pub fn only_cached(self) -> Self {
        Self { is_only_cached: true, ..self }
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The server's address.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The answer to a request: the one that was kept, or the server's, which is kept then.
    ///
    /// # Errors
    /// [`Error::Io`] if the server gives no answer: it names the address, the last status or failure,
    /// the number of attempts and the beginning of what the server says. [`Error::Interrupted`] when
    /// Stop is pressed. [`Error::NotFound`] for an answer that was not kept after
    /// [`only_cached`](Self::only_cached), and for a variable of a key that is not set.
    /// [`Error::Invalid`] for limits, retries or prices that make no sense, and for a request that
    /// could cost more than `most_cost` leaves.
    pub fn ask(&self, request: &ChatRequest) -> Result<ChatAnswer> {
        let cache = self.cache()?;
        let key = AskedKey::of(&self.model, request)?;
        if let Some(answer) = cache.read(&key)? {
            self.ledger.count_cached();
            return Ok(answer);
        }
        if self.is_only_cached {
            return Err(Error::NotFound {
                what: format!("an answer of {} to this request", self.model),
                hint: format!(
                    "{} has none, and `only_cached` asks no server. Without it the server is asked.",
                    cache.folder().display()
                ),
            });
        }
        let answer = self.send(request, key.number)?;
        cache.write(&key, answer)
    }

    /// The answer to a request if it was kept; no server is asked.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder of answers cannot be read.
    pub fn cached(&self, request: &ChatRequest) -> Result<Option<ChatAnswer>> {
        self.cache()?.read(&AskedKey::of(&self.model, request)?)
    }

    /// What this handle and its clones have used so far.
    pub fn spent(&self) -> ChatUsage {
        self.ledger.usage(self.prices.is_some())
    }

    /// What so many tokens cost, if there are prices.
    pub(crate) fn price_of(&self, prompt_tokens: u64, answer_tokens: u64) -> Option<f64> {
        let cost = |[input, output]: [f64; 2]| {
            (prompt_tokens as f64 * input + answer_tokens as f64 * output) / 1e6
        };
        self.prices.map(cost)
    }

    pub(crate) fn limits_ref(&self) -> &Limits {
        &self.limits
    }

    fn cache(&self) -> Result<AnswerCache> {
        let folder = match &self.folder {
            Some(folder) => folder.clone(),
            None => data_folder(ANSWERS)?,
        };
        Ok(AnswerCache::new(folder))
    }

    /// Returns an error for settings that make no sense.
    fn check(&self) -> Result<()> {
        self.retries.check()?;
        self.limits.check(self.prices.is_some())?;
        let [input, output] = self.prices.unwrap_or_default();
        check_not_negative("`input_per_million`", input)?;
        check_not_negative("`output_per_million`", output)
    }

    /// The key, if one is to be sent.
    fn key(&self) -> Result<Option<String>> {
        let Some(variable) = &self.key_variable else { return Ok(None) };
        let key = (self.variables)(variable).ok_or_else(|| Error::NotFound {
            what: format!("the environment variable `{variable}`"),
            hint: format!("Set it to the key for {}.", self.base_url),
        })?;
        let key = key.trim();
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid(
                format!("the key in the environment variable `{variable}`"),
                "one word of letters, digits and signs",
                "another text, which is not shown here",
            ));
        }
        Ok(Some(key.to_owned()))
    }

    #[cfg(test)]
    fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        let throttle = Arc::new(Throttle::new(&self.limits, Arc::clone(&clock)));
        Self { clock, throttle, ..self }
    }

    #[cfg(test)]
    fn with_variables(self, variables: fn(&str) -> Option<String>) -> Self {
        Self { variables, ..self }
    }
}

/// The value of an environment variable, if it has one.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// A base URL without the slash at its end. Parts that may be secret are not in the errors.
fn checked_url(name: &str, base_url: &str) -> Result<String> {
    let url = base_url.trim().trim_end_matches('/');
    let invalid = |expected: &str, found: &str| Err(Error::invalid(name, expected, found));
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return invalid(
            "an address such as http://127.0.0.1:8000/v1",
            "a text that does not begin with http:// or https://",
        );
    }
    if url.contains(['@', '?', '#']) {
        return invalid(
            "an address without a user name, a password and a query; `key_from` names the variable \
             of a key",
            "one with `@`, `?` or `#`",
        );
    }
    if url.ends_with(ENDPOINT) {
        return invalid("an address without /chat/completions, which is added to it", url);
    }
    let uri = url.parse::<ureq::http::Uri>().ok();
    if uri.as_ref().and_then(ureq::http::Uri::host).is_none_or(str::is_empty) {
        return invalid("an address such as http://127.0.0.1:8000/v1", url);
    }
    Ok(url.to_owned())
}

impl fmt::Debug for ChatModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatModel")
            .field("base_url", &self.base_url)
            .field("model", &self.model)
            .field("key_variable", &self.key_variable)
            .field("retries", &self.retries)
            .field("limits", &self.limits)
            .field("folder", &self.folder)
            .field("prices", &self.prices)
            .field("is_only_cached", &self.is_only_cached)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ChatModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.model, self.base_url)?;
        match (self.is_only_cached, &self.key_variable) {
            (true, _) => f.write_str(", only answers that were kept")?,
            (false, Some(variable)) => write!(f, ", key from `{variable}`")?,
            (false, None) => f.write_str(", no key")?,
        }
        write!(f, "; so far {}", self.spent())
    }
}

show_as_text!(ChatModel);
