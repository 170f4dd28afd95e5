//! Prompts as they would go out.

use std::fmt::{self, Write as _};

use super::plan::Plan;
use super::planned::NOT_YET_KNOWN;
use crate::display::MimeBundle;
use crate::interp::chat::{ChatMessage, ChatRequest, ChatRole};
use crate::text::escape;

/// All prompts of the first feature of a plan, to be read before anything is sent. In those that score
/// an explanation there are words in its place. [`Plan::dry_run`] makes it; as the value of a cell it
/// is a page.
#[derive(Debug, Clone)]
pub struct DryRun {
    feature: usize,
    features: usize,
    prompts: Vec<DryPrompt>,
}

#[derive(Debug, Clone)]
struct DryPrompt {
    title: String,
    request: ChatRequest,
    /// Whether it is the first of its kind; all of a kind begin with the same messages.
    is_first: bool,
}

impl Plan {
    /// The prompts of the first feature, as they would go out.
    pub fn dry_run(&self) -> DryRun {
        let planned = self.planned();
        let mut prompts = Vec::new();
        for feature in planned.iter().take(1) {
            let title = format!("explain {} texts", feature.explained.len());
            prompts.push(DryPrompt { title, request: feature.explain_request(), is_first: true });
            for scoring in &self.options().scores {
                let batches = feature.batches(*scoring);
                for (at, places) in batches.iter().enumerate() {
                    let with = self.options().log_probabilities;
                    prompts.push(DryPrompt {
                        title: format!("{scoring}, {} of {}", at + 1, batches.len()),
                        request: feature.score_request(*scoring, places, NOT_YET_KNOWN, with),
                        is_first: at == 0,
                    });
                }
            }
        }
        let feature = planned.first().map_or(0, |own| own.feature);
        DryRun { feature, features: planned.len(), prompts }
    }
}

impl DryPrompt {
    /// The messages that are shown: the task alone, if the others were shown before.
    fn messages(&self) -> &[ChatMessage] {
        let all = &self.request.messages;
        if self.is_first { all } else { &all[all.len().saturating_sub(1)..] }
    }
}

impl DryRun {
    /// The requests: for an explanation, then those of each scoring.
    pub fn requests(&self) -> Vec<&ChatRequest> {
        self.prompts.iter().map(|prompt| &prompt.request).collect()
    }

    /// Shows the prompts as the value of a cell.
    pub fn evcxr_display(&self) {
        MimeBundle::text(self.to_string()).html(self.html()).show_as_result();
    }

    fn heading(&self) -> String {
        let Self { feature, features, prompts } = self;
        format!("{} prompts of feature {feature}, the first of {features}", prompts.len())
    }

    pub(super) fn html(&self) -> String {
        let mut html = format!(
            "<div style=\"font-size: 13px; line-height: 1.6\"><div><b>{}</b></div>",
            escape(&self.heading())
        );
        for prompt in &self.prompts {
            let open = if prompt.is_first { " open" } else { "" };
            let title = escape(&prompt.title);
            let _ = write!(html, "<details{open}><summary>{title}</summary>");
            for message in prompt.messages() {
                // Half-transparent grey leaves the page's own text readable, light and dark.
                let _ = write!(
                    html,
                    "<div style=\"opacity: 0.65\">{}</div><pre style=\"white-space: pre-wrap; margin: \
                     0 0 0.6em 0; padding: 0.4em 0.6em; color: inherit; background-color: rgba(128, \
                     128, 128, 0.14)\">{}</pre>",
                    role(message.role),
                    escape(&message.content)
                );
            }
            html.push_str("</details>");
        }
        html.push_str("</div>");
        html
    }
}

fn role(role: ChatRole) -> &'static str {
    match role {
        ChatRole::System => "system",
        ChatRole::User => "user",
        ChatRole::Assistant => "assistant",
    }
}

impl fmt::Display for DryRun {
    /// The first prompt of each kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.heading())?;
        for prompt in self.prompts.iter().filter(|prompt| prompt.is_first) {
            write!(f, "\n\n== {}", prompt.title)?;
            for message in prompt.messages() {
                write!(f, "\n-- {}\n{}", role(message.role), message.content)?;
            }
        }
        Ok(())
    }
}
