//! What a model of Anthropic takes of thinking and sampling, as its name tells.
//!
//! Up to 4.5 a model thinks within a budget of tokens; from 4.6 on it decides itself how much, and is told an effort; after 4.6 it takes
//! neither a budget nor parameters of sampling, and answers 400 where it gets one. The list of those that know budgets alone is closed.
//! Models of others that speak this shape do as the first did.
//!
//! <https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking>

/// What of a name tells that a model knows budgets alone: all are of 2025 or before.
const BUDGETS: [&str; 10] =
    ["claude-2", "claude-instant", "claude-3", "-4-0", "-4-1", "-4-5", "-4-2025", "-4@2025", "4.1", "4.5"];

/// What a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Whatever the API has; another vendor's.
    All,
    /// Budgets, and one parameter of sampling.
    Budgets,
    /// Efforts, and one parameter of sampling.
    Efforts,
    /// Efforts alone.
    EffortsAlone,
}

// === impl Takes ===

impl Takes {
    pub(super) fn of(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| model.contains(word));
        if !model.contains("claude") {
            Self::All
        } else if has(&BUDGETS) || model.ends_with("-4") {
            Self::Budgets
        } else if has(&["4-6", "4.6"]) {
            Self::Efforts
        } else {
            Self::EffortsAlone
        }
    }

    /// Whether it is told an effort and not a budget.
    pub(super) const fn efforts(self) -> bool {
        matches!(self, Self::Efforts | Self::EffortsAlone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_age_wherever_it_is_served() {
        let cases = [
            ("claude-3-7-sonnet-20250219", Takes::Budgets),
            ("claude-opus-4-20250514", Takes::Budgets),
            ("anthropic.claude-haiku-4-5-20251001-v1:0", Takes::Budgets),
            ("claude-opus-4-1@20250805", Takes::Budgets),
            ("anthropic/claude-sonnet-4.5", Takes::Budgets),
            ("anthropic/claude-sonnet-4", Takes::Budgets),
            ("claude-opus-4-6", Takes::Efforts),
            ("claude-opus-4-7", Takes::EffortsAlone),
            ("anthropic/claude-opus-5.5", Takes::EffortsAlone),
            ("anthropic.claude-opus-5", Takes::EffortsAlone),
            ("MiniMax-M2", Takes::All),
        ];
        for (model, takes) in cases {
            assert_eq!(Takes::of(model), takes, "{model}");
        }
    }
}
