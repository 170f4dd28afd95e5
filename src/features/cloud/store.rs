//! A cloud from the codes of a store.

use super::{CloudOptions, FeatureCloud, Filing};
use crate::data::text::Contexts;
use crate::harvest::{Occurrences, Store};
use crate::sae::Sae;
use crate::{Error, Result};

impl FeatureCloud {
    /// The cloud of the features `members` of `sae`, whose codes are in a store under the name `key`,
    /// with the text that was harvested. No model is needed: [`Store::occurrences`] finds the tokens.
    ///
    /// # Errors
    /// - No such autoencoder or feature in the store, none given, or codes that were not kept.
    /// - An autoencoder of another number of features, or contexts of another length or number.
    /// - [`Filing::Original`], which needs all features; a `checkpoint`.
    /// - [`Error::Interrupted`] when Stop is pressed.
    pub fn from_store(
        store: &Store,
        key: &str,
        sae: &Sae,
        contexts: &Contexts,
        members: &[usize],
        options: &CloudOptions,
    ) -> Result<Self> {
        if options.filing != Filing::Own {
            let expected = "`Filing::Own`: the tokens of other features are not read";
            return Err(Error::invalid("`filing` of a cloud of a store", expected, "another"));
        }
        options.check_not_kept()?;
        let run = store.run();
        let wanted = (run.dataset.contexts, run.dataset.length);
        if (contexts.len(), contexts.length()) != wanted {
            let expected = format!("{} of {} tokens, as harvested", wanted.0, wanted.1);
            let found = format!("{} of {}", contexts.len(), contexts.length());
            return Err(Error::invalid("the contexts", expected, found));
        }
        let mut collector = options.collector(sae.features(), &[members])?;
        let Occurrences { codes, contexts: own, positions } = store.occurrences(key, members)?;
        if codes.width() != sae.features() {
            let expected = format!("{}, as harvested", codes.width());
            return Err(Error::invalid("the number of features", expected, sae.features()));
        }
        let length = contexts.length();
        for (row, (context, position)) in own.iter().zip(&positions).enumerate() {
            let token = *context as usize * length + *position as usize;
            let id = contexts.as_slice().get(token);
            if id.is_some_and(|id| !options.skip_tokens.contains(id)) {
                collector.take(token, codes.row(row));
            }
            if collector.is_full() {
                break;
            }
        }
        let rows = collector.finish()?.swap_remove(0);
        Self::new(&sae.w_dec().t()?, members, rows, false)?.with_text(contexts, None)
    }
}
