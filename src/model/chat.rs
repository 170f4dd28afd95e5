//! Conversations with models that were trained on them.

use candle_core::Tensor;

use super::{Decoder, Hooks, Sampling};
use crate::Result;
use crate::data::text::Tokenizer;

impl Decoder {
    /// The same model, sharing its weights, with a chat template in Jinja; see
    /// [`Tokenizer::with_chat_template`].
    ///
    /// # Errors
    /// As [`Decoder::tokenizer`]; a template that is no Jinja, with its line and the cause.
    pub fn with_chat_template(&self, template: &str) -> Result<Self> {
        self.with_tokenizer(&self.tokenizer()?.with_chat_template(template)?)
    }

    /// The text that the model's chat template makes of messages, each a role and a text, with what
    /// begins a reply at its end; see [`Tokenizer::chat_text`].
    ///
    /// # Errors
    /// As [`Decoder::tokenizer`] and [`Tokenizer::chat_text`].
    pub fn chat_prompt(&self, messages: &[(impl AsRef<str>, impl AsRef<str>)]) -> Result<String> {
        self.tokenizer()?.chat_text(messages)
    }

    /// The tokens of [`Decoder::chat_prompt`], `[1, positions]`, for [`Decoder::run`] and all that
    /// takes tokens. The first token (BOS) is there if the template writes it, and once.
    ///
    /// # Errors
    /// As [`Decoder::chat_prompt`]; a template that makes no text.
    pub fn chat_tokens(&self, messages: &[(impl AsRef<str>, impl AsRef<str>)]) -> Result<Tensor> {
        self.row(self.tokenizer()?.chat_tokens(messages)?)
    }

    /// The model's reply to messages, each a role and a text, of up to `count` tokens.
    ///
    /// It ends before one of [`Decoder::end_tokens`], or before the special token that the chat
    /// template writes after a reply, such as `<end_of_turn>`, because the files of some models name
    /// only the token that ends a text. After [`Decoder::with_end_tokens`] only those count. Special
    /// tokens within the reply are left out, as `skip_special_tokens=True` of `transformers` does.
    /// [`Decoder::generate_tokens`] of [`Decoder::chat_tokens`] has them all.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// // A model of novels, which was not trained on conversations, and a template of one's own.
    /// let template = "{% for message in messages %}\"{{ message.content }}\" {% endfor %}\
    ///                 {% if add_generation_prompt %}She answered: {% endif %}";
    /// let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    /// let model = model.with_chat_template(template)?;
    /// let messages = [("user", "Will you come to London?")];
    /// assert_eq!(model.chat_prompt(&messages)?, "\"Will you come to London?\" She answered: ");
    /// let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    /// println!("{}", model.chat(&messages, 8, greedy)?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Decoder::chat_tokens`] and [`Decoder::generate_tokens`].
    pub fn chat(
        &self,
        messages: &[(impl AsRef<str>, impl AsRef<str>)],
        count: usize,
        sampling: Sampling,
    ) -> Result<String> {
        self.chat_with(messages, count, sampling, &Hooks::new())
    }

    /// [`Decoder::chat`] with `hooks` acting on every position, those of the messages too.
    ///
    /// # Errors
    /// As [`Decoder::chat`] and [`Decoder::run`].
    pub fn chat_with(
        &self,
        messages: &[(impl AsRef<str>, impl AsRef<str>)],
        count: usize,
        sampling: Sampling,
        hooks: &Hooks,
    ) -> Result<String> {
        let tokenizer = self.tokenizer()?;
        let prompt = tokenizer.chat_tokens(messages)?;
        let speaker = self.ending_turns(&tokenizer)?;
        let all = speaker.generate_tokens_with(&prompt, count, sampling, hooks)?;
        let reply = match all[prompt.len()..].split_last() {
            Some((last, before)) if speaker.end_tokens()?.contains(last) => before,
            _ => &all[prompt.len()..],
        };
        tokenizer.decode(reply)
    }

    /// The same model, which also stops after what its chat template writes after a reply, unless its
    /// end tokens were chosen by hand.
    fn ending_turns(&self, tokenizer: &Tokenizer) -> Result<Self> {
        match tokenizer.turn_end().filter(|_| self.origin().chosen_ends.is_none()) {
            Some(end) => self.with_end_tokens(&[self.end_tokens()?, vec![end]].concat()),
            None => Ok(self.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::data::text::tests::word_level;
    use crate::model::Config;

    const CPU: &Device = &Device::Cpu;
    /// Turns as ChatML writes them, in words.
    const TURNS: &str = "{{ bos_token }} {% for message in messages %}<start> {{ message.role }} \
                         {{ message.content }} <end> {% endfor %}\
                         {% if add_generation_prompt %}<start> assistant{% endif %}";

    /// `<s>` 4 begins a text, `</s>` 3 ends one, `<end>` 6 a turn.
    fn tokenizer() -> Tokenizer {
        let vocab = serde_json::json!({"a": 0, "b": 1, "[UNK]": 2, "</s>": 3, "<s>": 4,
                                       "<start>": 5, "<end>": 6, "user": 7, "assistant": 8});
        word_level(vocab, &["</s>", "<s>", "<start>", "<end>"])
    }

    fn model() -> Decoder {
        let config = Config { vocab: 9, context: 80, ..Config::bilinear(1, 2, 8, 6) };
        Decoder::random(config, 0, CPU).unwrap().with_tokenizer(&tokenizer()).unwrap()
    }

    fn ids(tokens: &Tensor) -> Vec<u32> {
        tokens.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_reply_ends_before_the_token_that_ends_a_turn() {
        let model = model().with_chat_template(TURNS).unwrap();
        let messages = [("user", "a b")];
        let prompt = ids(&model.chat_tokens(&messages).unwrap());
        assert_eq!(prompt, [4, 5, 7, 0, 1, 6, 5, 8]);
        assert_eq!(model.end_tokens().unwrap(), [3], "those of a text alone");
        let mut ended = 0;
        for seed in 0..20 {
            let sampling = Sampling { seed, ..Sampling::default() };
            let on = model.with_end_tokens(&[]).unwrap();
            let all = on.generate_tokens(&prompt, 40, sampling).unwrap();
            let said = &all[prompt.len()..];
            let end = said.iter().position(|token| [3, 6].contains(token));
            let expected = tokenizer().decode(&said[..end.unwrap_or(said.len())]).unwrap();
            assert_eq!(model.chat(&messages, 40, sampling).unwrap(), expected);
            ended += usize::from(end.is_some_and(|end| said[end] == 6));
            // Without end tokens it goes on, and special tokens are left out.
            let long = on.chat(&messages, 40, sampling).unwrap();
            assert_eq!(long, tokenizer().decode(said).unwrap());
            assert!(!long.contains('<'), "{long}");
        }
        assert!(ended > 0);
        // Tokens that were chosen are the only ones.
        let chosen = model.with_end_tokens(&[1]).unwrap();
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        let all = chosen.generate_tokens(&prompt, 40, greedy).unwrap();
        let said = all[prompt.len()..].strip_suffix(&[1]).unwrap_or(&all[prompt.len()..]);
        assert_eq!(chosen.chat(&messages, 40, greedy).unwrap(), tokenizer().decode(said).unwrap());
    }

    #[test]
    fn hooks_act_on_a_reply() {
        use crate::model::HookPoint;
        let model = model().with_chat_template(TURNS).unwrap();
        // A last stream of zeros makes all logits equal: the first token is taken.
        let point = HookPoint::ResidPost(0);
        let hooks = Hooks::new().replace(point, |x| Ok(x.zeros_like()?));
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        let reply = model.chat_with(&[("user", "b")], 3, greedy, &hooks).unwrap();
        assert_eq!(reply, tokenizer().decode(&[0, 0, 0]).unwrap());
        let missing = Hooks::new().capture(HookPoint::ResidPost(5));
        assert!(model.chat_with(&[("user", "b")], 3, greedy, &missing).is_err());
    }

    #[test]
    fn a_conversation_of_owned_texts_and_its_limits() {
        let model = model();
        let messages = vec![("user".to_owned(), "a".to_owned())];
        let message = model.chat_prompt(&messages).unwrap_err().to_string();
        assert!(message.contains("with_chat_template"), "{message}");
        let model = model.with_chat_template(TURNS).unwrap();
        let text = "<s> <start> user a <end> <start> assistant";
        assert_eq!(model.chat_prompt(&messages).unwrap(), text);
        let long = model.chat(&messages, 80, Sampling::default()).unwrap_err().to_string();
        assert!(long.contains("at most 80"), "{long}");
        let silent = model.with_chat_template("{% if false %}{% endif %}").unwrap();
        let message = silent.chat(&messages, 3, Sampling::default()).unwrap_err().to_string();
        assert!(message.contains("at least one token"), "{message}");
        assert!(silent.chat_tokens(&messages).is_err());
    }

    #[test]
    fn a_template_is_saved_with_its_model() {
        let folder = tempfile::tempdir().unwrap();
        let model = model().with_chat_template(TURNS).unwrap();
        model.save(folder.path()).unwrap();
        let path = folder.path().to_str().unwrap();
        let loaded = Decoder::from_pretrained(path, CPU).unwrap();
        let messages = [("user", "a"), ("assistant", "b"), ("user", "b")];
        let tokens = |model: &Decoder| ids(&model.chat_tokens(&messages).unwrap());
        assert_eq!(tokens(&loaded), tokens(&model));
        assert_eq!(tokens(&loaded)[0], 4);
        assert_eq!(loaded.tokenizer().unwrap().chat_template(), Some(TURNS));
    }
}
