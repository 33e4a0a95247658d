//! An answer of a model, whole and in pieces, as far as any shape can say it.
//!
//! ```text
//!  Begin ─▶ ( Text | Thought | ToolBegin ─▶ Arguments… | … )* ─▶ Stop ─▶ Usage? ─▶ End
//!    └──────────────────── Failed, in place of all that follows ───────────────────┘
//! ```
//!
//! A reader of a [`dialect`](crate::dialect) makes [`Delta`]s of the events that come, a writer makes events of another shape of
//! them; an [`Exchange`](crate::exchange::Exchange) holds both to the order above. Usage counts every token once: those that were
//! read from a cache are part of the input, those that were thought are part of the output.

use serde::de::IgnoredAny;

use crate::error::Fault;
use crate::message::{Content, Part, Signature, ToolCall};

/// The most answers to one request that come in pieces, as many as OpenAI gives.
pub(crate) const CHOICES_MAX: usize = 128;

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The provider's id of it; empty where it has none.
    pub id: String,
    /// The model that answered, as the provider calls it.
    pub model: String,
    /// When, in seconds since 1970; none where the provider does not say.
    pub created_s: Option<u64>,
    /// The answers, by their number.
    pub choices: Vec<Choice>,
    /// What it cost, where the provider says.
    pub usage: Option<Usage>,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What the model says, in order.
    pub parts: Vec<Part>,
    /// Why it says no more.
    pub stop: Stop,
}

/// Why a model says no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is done.
    End,
    /// It came to a text that ends the answer, this one where the provider tells.
    Text(Option<String>),
    /// It has said as much as it may.
    Length,
    /// It waits for the results of its calls.
    ToolCalls,
    /// Its provider let it say no more, or it refused.
    Filtered,
    /// It waits to be asked to go on (Anthropic: `pause_turn`).
    Paused,
}

/// Tokens of a request and its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All of the input, those from and for the cache included.
    pub input: u64,
    /// Of those, read from the provider's cache.
    pub cached: u64,
    /// Of those, written to the provider's cache.
    pub cache_written: u64,
    /// Of those, audio.
    pub input_audio: u64,
    /// All of the output, thoughts included.
    pub output: u64,
    /// Of those, thoughts.
    pub reasoning: u64,
    /// Of those, audio.
    pub output_audio: u64,
}

/// A piece of an answer that comes as it is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// The answer begins.
    Begin {
        /// The provider's id of it.
        id: String,
        /// The model that answers.
        model: String,
        /// When, in seconds since 1970.
        created_s: Option<u64>,
    },
    /// More text.
    Text {
        /// Of which answer.
        choice: u32,
        /// The text.
        text: String,
    },
    /// More of what the model thinks.
    Thought {
        /// Of which answer.
        choice: u32,
        /// The text.
        text: String,
    },
    /// By which the provider knows the thought that was told.
    Signature {
        /// Of which answer.
        choice: u32,
        /// The signature.
        signature: Signature,
    },
    /// A thought that is sealed.
    SealedThought {
        /// Of which answer.
        choice: u32,
        /// The thought.
        data: Signature,
    },
    /// More of what the model says instead of an answer.
    Refusal {
        /// Of which answer.
        choice: u32,
        /// The text.
        text: String,
    },
    /// The model calls a tool. Its arguments follow, and those of no other call until the next begins.
    ToolBegin {
        /// Of which answer.
        choice: u32,
        /// By which its result will be known.
        id: String,
        /// The tool.
        name: String,
        /// By which its provider knows the thought before it.
        signature: Option<Signature>,
    },
    /// More of the arguments of the call that began last.
    Arguments {
        /// Of which answer.
        choice: u32,
        /// JSON text.
        text: String,
    },
    /// An answer is over.
    Stop {
        /// Which.
        choice: u32,
        /// Why.
        stop: Stop,
    },
    /// What it cost so far; the last one counts.
    Usage(Usage),
    /// The provider failed in the midst of it.
    Failed(Fault),
    /// Everything was said.
    End,
}

// === impl Choice ===

impl Choice {
    /// What of it can be said in a shape whose calls have objects.
    ///
    /// A call in whose arguments the answer has reached its limit is none yet: without it the client knows the rest, and by the
    /// reason that there was more. An error in its place would take all of it away, and have others asked who reach the limit too.
    pub(crate) fn complete_parts(&self) -> &[Part] {
        match self.parts.split_last() {
            Some((Part { content: Content::ToolCall(call), .. }, before))
                if self.stop == Stop::Length && is_cut(call) =>
            {
                before
            }
            _ => &self.parts,
        }
    }
}

/// Whether arguments end before they are complete; others that are no object are not for want of tokens.
fn is_cut(call: &ToolCall) -> bool {
    let arguments = call.arguments.trim_ascii();
    arguments.is_empty() || serde_json::from_str::<IgnoredAny>(arguments).is_err_and(|error| error.is_eof())
}

// === impl Stop ===

impl Stop {
    /// The name under which spans have it.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::End | Self::Text(_) => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::Filtered => "content_filter",
            Self::Paused => "pause",
        }
    }
}

// === impl Usage ===

impl Usage {
    /// Whether it tells nothing, or not all: no model is asked with nothing.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.input == 0
    }

    /// Input and output.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// Adds what a later piece of the same answer tells: providers repeat the whole so far, and some tell the input first and the
    /// output last.
    pub fn update(&mut self, later: &Self) {
        let newest = |earlier: u64, later: u64| if later == 0 { earlier } else { later };
        self.input = newest(self.input, later.input);
        self.cached = newest(self.cached, later.cached);
        self.cache_written = newest(self.cache_written, later.cache_written);
        self.input_audio = newest(self.input_audio, later.input_audio);
        self.output = newest(self.output, later.output);
        self.reasoning = newest(self.reasoning, later.reasoning);
        self.output_audio = newest(self.output_audio, later.output_audio);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_later_counts_and_what_is_not_told_again_stays() {
        let mut usage = Usage { input: 10, cached: 4, output: 1, ..Usage::default() };

        usage.update(&Usage { output: 7, ..Usage::default() });

        assert_eq!(usage, Usage { input: 10, cached: 4, output: 7, ..Usage::default() });
        assert_eq!(usage.total(), 17);
    }
}
