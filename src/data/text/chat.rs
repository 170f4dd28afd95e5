//! Conversations as tokens.

use super::Tokenizer;
use super::jinja::{ChatTemplate, Conversation, Message};
use super::pieces::Piece;
use crate::{Error, Result};

impl Tokenizer {
    /// The source of the chat template in use, if there is one: `chat_template.jinja` of the
    /// tokenizer's folder or repository, beside which `additional_chat_templates` may have named ones,
    /// else `chat_template` in `tokenizer_config.json`, else `chat_template.json`;
    /// `tokenizer.chat_template` of a GGUF file; or that of [`Tokenizer::with_chat_template`].
    pub fn chat_template(&self) -> Option<&str> {
        self.chat().template().map(|template| template.source.as_str())
    }

    /// The same tokenizer with a chat template, in Jinja as Python's `transformers` reads it.
    ///
    /// ```
    /// use eigenlens::data::text::Tokenizer;
    /// let template = "{% for message in messages %}{{ message.role }}: {{ message.content | trim }}\n\
    ///                 {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
    /// let tokenizer = Tokenizer::from_pretrained("eigenlens/classics")?.with_chat_template(template)?;
    /// let text = tokenizer.chat_text(&[("user", "Who was Emma? ")])?;
    /// assert_eq!(text, "user: Who was Emma?\nassistant:");
    /// # Ok::<(), eigenlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A template that is no Jinja, with its line and the cause.
    pub fn with_chat_template(&self, template: &str) -> Result<Self> {
        let chat = self.chat().with_given(template);
        if let Some(template) = chat.template() {
            template.check()?;
        }
        Ok(self.with_chat(chat))
    }

    /// The same tokenizer with another of the chat templates that its files name, such as `tool_use`
    /// or `rag`; `default` is the one in use otherwise.
    ///
    /// # Errors
    /// A name that its files do not have.
    pub fn with_chat_template_named(&self, name: &str) -> Result<Self> {
        let mut chat = self.chat().clone();
        chat.chosen = Some(name.to_owned());
        match chat.template() {
            Some(_) => Ok(self.with_chat(chat)),
            None => Err(self.without_template(Some(name))),
        }
    }

    /// The text that the chat template makes of messages, each a role and a text, with what begins a
    /// reply at its end: `apply_chat_template(messages, add_generation_prompt=True, tokenize=False)`
    /// of `transformers`.
    ///
    /// The template is given `messages`, `add_generation_prompt` (true), `bos_token`, `eos_token` and
    /// the other special tokens of `tokenizer_config.json`, `tools` and `documents` (none),
    /// `raise_exception` and `strftime_now`. Some templates leave out messages of roles that they do
    /// not know, and some write the date of today.
    ///
    /// # Errors
    /// - if the tokenizer has no chat template,
    /// - if there are no messages, or one has a role other than `system`, `developer`, `user`,
    ///   `assistant` and `tool` that the template does not name either,
    /// - if the template refuses the messages, with its words,
    /// - if it is no Jinja, fails, or does not end within a number of steps that grows with the
    ///   messages up to a bound, which some megabytes of text reach.
    pub fn chat_text(&self, messages: &[(impl AsRef<str>, impl AsRef<str>)]) -> Result<String> {
        let messages = messages.iter().map(|(role, text)| owned(role, text)).collect();
        self.rendered(messages, true)
    }

    /// The tokens of [`Tokenizer::chat_text`]. None are added at its ends: a first token (BOS) is
    /// there if the template writes it, and once.
    ///
    /// A special token that is written out in a message, such as `<|im_end|>`, is that token, as in
    /// `transformers`: who writes a message can end it and begin another. Ask
    /// [`Tokenizer::special_tokens_in`] about messages that are not trusted.
    ///
    /// # Errors
    /// As [`Tokenizer::chat_text`] and [`Tokenizer::encode`].
    pub fn chat_tokens(&self, messages: &[(impl AsRef<str>, impl AsRef<str>)]) -> Result<Vec<u32>> {
        self.encode_inside(&self.chat_text(messages)?)
    }

    /// The special tokens that are written out in a text, in their order; none for a text that is
    /// safe as a message of [`Tokenizer::chat_tokens`].
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn special_tokens_in(&self, text: &str) -> Result<Vec<String>> {
        let special = self.encode_inside(text)?.into_iter().filter_map(|token| self.special(token));
        // Letters without a token may be a special one, which is not written out.
        Ok(special.filter(|special| text.contains(special)).collect())
    }

    /// The special token that the chat template writes after a reply, if it does so.
    pub(crate) fn turn_end(&self) -> Option<u32> {
        const REPLY: &str = "The reply is 4711.";
        let messages = [("user", "What is the reply?"), ("assistant", REPLY)];
        let messages = messages.iter().map(|(role, text)| owned(role, text)).collect();
        let text = self.rendered(messages, false).ok()?;
        let after = text.rsplit_once(REPLY)?.1.trim_start();
        let first = self.encode_inside(after).ok()?.first().copied()?;
        self.special(first).is_some_and(|special| after.starts_with(&special)).then_some(first)
    }

    /// The text of a token, if it is special.
    fn special(&self, token: u32) -> Option<String> {
        match self.piece(token) {
            Ok(Piece::Special(text)) => Some(text),
            _ => None,
        }
    }

    fn rendered(&self, messages: Vec<Message>, prompts_reply: bool) -> Result<String> {
        let template: &ChatTemplate =
            self.chat().template().ok_or_else(|| self.without_template(None))?;
        template.render(Conversation { messages, special: self.special_texts(), prompts_reply })
    }

    fn without_template(&self, name: Option<&str>) -> Error {
        let hint = match self.chat().templates.is_empty() {
            true => "None of `chat_template.jinja`, `chat_template` in tokenizer_config.json and \
                 `chat_template.json` is there, as for models that were not trained on \
                 conversations: give one with `with_chat_template`."
                .to_owned(),
            false => format!(
                "There are {}: choose one with `with_chat_template_named`.",
                self.chat().names()
            ),
        };
        let named = name.map(|name| format!(" `{name}`")).unwrap_or_default();
        Error::NotFound { what: format!("the tokenizer's chat template{named}"), hint }
    }
}

fn owned(role: &impl AsRef<str>, text: &impl AsRef<str>) -> Message {
    (role.as_ref().to_owned(), text.as_ref().to_owned())
}

#[cfg(test)]
mod tests;
