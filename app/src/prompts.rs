//! Prompts that were computed not long ago.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eigenlens::multilayer::LayerPrompt;

use crate::fault::Fault;

/// Bytes of prompts that are kept.
const ROOM: usize = 256 << 20;

/// The last prompts, as many as there is room for. The same text has the same id.
#[derive(Debug)]
pub(crate) struct Prompts {
    room: usize,
    own: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The one that was asked for last comes last.
    prompts: VecDeque<KeptPrompt>,
    /// How many there were.
    count: u64,
}

#[derive(Debug, Clone)]
struct KeptPrompt {
    id: String,
    bytes: usize,
    prompt: Arc<LayerPrompt>,
}

impl Default for Prompts {
    fn default() -> Self {
        Self { room: ROOM, own: Mutex::default() }
    }
}

impl Prompts {
    /// The prompt of a text, and its id, if it is still here.
    pub(crate) fn of_text(&self, text: &str) -> Option<(String, Arc<LayerPrompt>)> {
        self.find(|own| own.prompt.text() == text)
    }

    /// The prompt with an id.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<LayerPrompt>, Fault> {
        let found = self.find(|own| own.id == id).map(|own| own.1);
        found.ok_or_else(|| {
            let fault = Fault::missing("the prompt", "one of the last ones");
            fault.hint("Submit it again.")
        })
    }

    /// Keeps a prompt, and returns its id.
    pub(crate) fn keep(&self, prompt: Arc<LayerPrompt>) -> String {
        let bytes = prompt.bytes() + prompt.text().len();
        let mut own = self.lock();
        own.count += 1;
        let id = format!("p{}", own.count);
        own.prompts.push_back(KeptPrompt { id: id.clone(), bytes, prompt });
        let mut sum: usize = own.prompts.iter().map(|own| own.bytes).sum();
        // The newest stays, whatever its size: it is about to be asked for.
        while sum > self.room && own.prompts.len() > 1 {
            sum -= own.prompts.pop_front().map_or(0, |own| own.bytes);
        }
        id
    }

    fn find(&self, is_it: impl Fn(&KeptPrompt) -> bool) -> Option<(String, Arc<LayerPrompt>)> {
        let mut own = self.lock();
        let at = own.prompts.iter().position(is_it)?;
        let found = own.prompts.remove(at)?;
        own.prompts.push_back(found.clone());
        Some((found.id, found.prompt))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use eigenlens::prelude::*;

    use super::*;

    #[test]
    fn the_oldest_prompts_make_room() {
        let mlsae = Mlsae::from_pretrained("eigenlens/classics-mlsae", &Device::Cpu).unwrap();
        let prompt = |text: &str| Arc::new(mlsae.prompt(text).unwrap());
        let size = |text: &str| prompt(text).bytes() + text.len();
        let most = size("one two").max(size("two one"));
        let prompts = Prompts { room: size("one two") + most, own: Mutex::default() };
        let first = prompts.keep(prompt("one two"));
        let second = prompts.keep(prompt("one two"));
        assert!(prompts.get(&first).is_ok(), "asked for, so it is younger than the second");
        let third = prompts.keep(prompt("two one"));
        assert!(prompts.get(&second).unwrap_err().json().to_string().contains("Submit"));
        assert_eq!(prompts.of_text("two one").unwrap().0, third);
        assert!(prompts.get(&first).is_ok() && prompts.of_text("other").is_none());
    }
}
