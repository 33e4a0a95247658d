//! What a request says that its target cannot be told.
//!
//! A writer of a [`dialect`](crate::dialect) notes here what it leaves out, so that the client is told and the documentation's tables
//! can be made. Only what a model answers well without is left out; what changes the meaning of the answer is refused instead.

use std::collections::BTreeSet;

/// Members of requests that are named at most; more are counted as one.
const UNKNOWN_MAX: usize = 16;

/// What was left out, by the names of the client's API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(BTreeSet<Loss>);

/// One thing that was left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// Something that both sides of a translation have a word for, and the target has not.
    Feature(Feature),
    /// A member of the request that the view does not have.
    Member(String),
    /// More members.
    More,
}

/// What a request can have, as the documentation's tables name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Marks up to which the provider caches.
    CacheMarks,
    /// How closely to look at an image.
    ImageDetail,
    /// The name of a document.
    DocumentName,
    /// Whether a tool failed.
    ToolError,
    /// What the model thought before.
    Thoughts,
    /// By which a provider knows a thought for its own.
    ThoughtSignatures,
    /// Whether several tools may be called at once.
    ParallelTools,
    /// Whether arguments have to obey their schema.
    StrictTools,
    /// How tokens are drawn, while the model thinks.
    Temperature,
    /// Of the likeliest tokens, so many.
    TopK,
    /// From which randomness is drawn.
    Seed,
    /// Penalties for what was said before.
    Penalties,
    /// Texts that end the answer.
    Stops,
    /// That the answer is JSON, without a schema.
    JsonFormat,
    /// The name of the answer's schema, and what it is for.
    FormatName,
    /// How much the model thinks.
    Reasoning,
    /// Who asks.
    User,
}

// === impl Losses ===

impl Losses {
    /// Notes that a feature is left out.
    pub fn add(&mut self, feature: Feature) {
        self.0.insert(Loss::Feature(feature));
    }

    /// Notes that a feature is left out if it is there.
    pub fn add_if(&mut self, is_there: bool, feature: Feature) {
        if is_there {
            self.add(feature);
        }
    }

    /// Notes that a member is left out, as it is called.
    pub fn add_member(&mut self, name: &str) {
        let members = self.0.iter().filter(|loss| matches!(loss, Loss::Member(_))).count();
        let loss = if members < UNKNOWN_MAX { Loss::Member(name.chars().take(64).collect()) } else { Loss::More };
        self.0.insert(loss);
    }

    /// Whether everything was kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was left out, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Loss> {
        self.0.iter()
    }
}

// === impl Loss ===

impl Loss {
    /// Its name, in a header and in a log.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Feature(feature) => feature.name(),
            Self::Member(name) => name,
            Self::More => "more",
        }
    }
}

// === impl Feature ===

impl Feature {
    /// Its name, in a header, a log and a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CacheMarks => "cache_marks",
            Self::ImageDetail => "image_detail",
            Self::DocumentName => "document_name",
            Self::ToolError => "tool_error",
            Self::Thoughts => "thoughts",
            Self::ThoughtSignatures => "thought_signatures",
            Self::ParallelTools => "parallel_tools",
            Self::StrictTools => "strict_tools",
            Self::Temperature => "temperature",
            Self::TopK => "top_k",
            Self::Seed => "seed",
            Self::Penalties => "penalties",
            Self::Stops => "stops",
            Self::JsonFormat => "json_format",
            Self::FormatName => "format_name",
            Self::Reasoning => "reasoning",
            Self::User => "user",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_sends_cannot_make_it_long() {
        let mut losses = Losses::default();
        for number in 0..100 {
            losses.add_member(&format!("member-{number}-{}", "x".repeat(1_000)));
        }

        assert_eq!(losses.iter().count(), UNKNOWN_MAX + 1);
        assert!(losses.iter().all(|loss| loss.name().len() <= 64));
    }
}
