//! Tokens of texts, counted here where a provider tells none.
//!
//! In: what was asked and what was answered. Out: how many tokens that is by a vocabulary of OpenAI's (`tiktoken`): by a model's own
//! where it is one of theirs, by the newest of theirs for all others, whose vocabularies are not public or not at hand; their counts
//! differ from it by a few per cent in prose, and by more in other scripts. Images, recordings and files have no count. Counting is slow
//! beside all else here (some MB of text per second), and what was not counted before loads the vocabulary first: it is nothing for a
//! task that others wait behind.

use std::fmt;

use tiktoken_rs::tokenizer::{Tokenizer, get_tokenizer};
use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton};

use crate::answer::{Choice, Delta};
use crate::error::Fault;
use crate::message::{Content, Format, Part, Request, Source, ToolCall};

/// The text of one request or answer that is counted; what is longer is estimated by its bytes.
const COUNTED_BYTES_MAX: usize = 1 << 20;

/// The text that is counted at once: what splits words looks ahead as far as there is white space.
const PIECE_BYTES: usize = 4096;

/// The text of an answer that is kept of a stream while it is not known whether its provider counts.
const SAMPLE_BYTES_MAX: usize = 16 << 10;

/// The tokens around each turn, by which a model tells turns apart, and those that begin its answer: of OpenAI's models.
const TOKENS_OF_TURN: u64 = 4;
const TOKENS_OF_START: u64 = 3;

/// A request for embeddings.
#[derive(serde::Deserialize)]
struct Embedded {
    input: Input,
}

/// What is to be embedded.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Tokens(Vec<u64>),
    Many(Vec<One>),
}

/// One of many.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum One {
    Text(String),
    Tokens(Vec<u64>),
}

/// Texts that are counted one after the other.
pub struct Count {
    vocabulary: &'static CoreBPE,
    tokens: u64,
    counted: usize,
    bytes: usize,
}

/// The beginning of what an answer says, and how long all of it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    text: String,
    bytes: usize,
}

/// The tokens of a request.
#[must_use]
pub fn of_request(model: &str, request: &Request) -> u64 {
    let mut count = Count::new(model);
    count.add_parts(&request.system);
    for turn in &request.turns {
        count.add_parts(&turn.parts);
    }
    for tool in &request.tools {
        count.add(&tool.name);
        count.add(tool.description.as_deref().unwrap_or_default());
        count.add(tool.schema.as_ref().map_or("", |schema| schema.get()));
    }
    if let Some(Format::Schema { schema, .. }) = &request.format {
        count.add(schema.get());
    }
    let turns = request.turns.len() as u64 + u64::from(!request.system.is_empty());
    count.total() + turns * TOKENS_OF_TURN + TOKENS_OF_START
}

/// The tokens of what is to be embedded: a text, texts, or tokens that the client has counted itself.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for a body without such an `input`.
pub fn of_embedded(model: &str, body: &str) -> Result<u64, Fault> {
    let asked: Embedded = serde_json::from_str(body)
        .map_err(|error| Fault::invalid("input", format!("it is nothing to embed: {error}")))?;
    let (mut count, mut counted) = (Count::new(model), 0);
    match asked.input {
        Input::Text(text) => count.add(&text),
        Input::Tokens(tokens) => counted = tokens.len() as u64,
        Input::Many(inputs) => {
            for one in inputs {
                match one {
                    One::Text(text) => count.add(&text),
                    One::Tokens(tokens) => counted += tokens.len() as u64,
                }
            }
        }
    }
    Ok(count.total() + counted)
}

/// The tokens of what was answered.
#[must_use]
pub fn of_sample(model: &str, sample: &Sample) -> u64 {
    let mut count = Count::new(model);
    count.add(&sample.text);
    count.bytes = sample.bytes;
    count.total()
}

// === impl Count ===

impl Count {
    /// Begins with nothing, in the vocabulary of a model. Loads it where it was not used before, which takes some tenths of a second.
    #[must_use]
    pub fn new(model: &str) -> Self {
        let vocabulary = match get_tokenizer(model) {
            Some(Tokenizer::Cl100kBase) => cl100k_base_singleton(),
            // Those of models that nobody sells any more are not worth their memory.
            _ => o200k_base_singleton(),
        };
        Self { vocabulary, tokens: 0, counted: 0, bytes: 0 }
    }

    /// Counts a text.
    pub fn add(&mut self, text: &str) {
        self.bytes += text.len();
        let mut rest = &text[..text.floor_char_boundary(COUNTED_BYTES_MAX - self.counted)];
        self.counted += rest.len();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(piece(rest));
            self.tokens += self.vocabulary.count_ordinary(piece) as u64;
            rest = after;
        }
    }

    /// All tokens so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        if self.counted == self.bytes {
            return self.tokens;
        }
        let share = u128::from(self.tokens) * self.bytes as u128 / (self.counted.max(1) as u128);
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    fn add_parts(&mut self, parts: &[Part]) {
        for part in parts {
            match &part.content {
                Content::Text(text) | Content::Thought { text, .. } | Content::Refusal(text) => self.add(text),
                Content::Document { source: Source::Text(text), .. } => self.add(text),
                Content::ToolCall(ToolCall { name, arguments, .. }) => {
                    self.add(name);
                    self.add(arguments);
                }
                Content::ToolResult { parts, .. } => self.add_parts(parts),
                Content::Image { .. }
                | Content::Document { .. }
                | Content::Audio { .. }
                | Content::SealedThought(_) => {}
            }
        }
    }
}

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Count").field("tokens", &self.tokens).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Where a piece of a text ends, between two words where one ends soon enough.
fn piece(text: &str) -> usize {
    if text.len() <= PIECE_BYTES {
        return text.len();
    }
    let end = text.floor_char_boundary(PIECE_BYTES);
    // White space belongs to the word after it.
    text[..end].rfind(char::is_whitespace).filter(|at| *at > PIECE_BYTES / 2).unwrap_or(end)
}

// === impl Sample ===

impl Sample {
    /// What an answer says.
    #[must_use]
    pub fn of<'a>(choices: impl IntoIterator<Item = &'a Choice>) -> Self {
        let mut sample = Self::default();
        for part in choices.into_iter().flat_map(|choice| &choice.parts) {
            match &part.content {
                Content::Text(text) | Content::Thought { text, .. } | Content::Refusal(text) => sample.add(text),
                Content::ToolCall(ToolCall { name, arguments, .. }) => {
                    sample.add(name);
                    sample.add(arguments);
                }
                Content::Image { .. }
                | Content::Document { .. }
                | Content::Audio { .. }
                | Content::SealedThought(_)
                | Content::ToolResult { .. } => {}
            }
        }
        sample
    }

    /// Whether nothing was said.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Adds what a piece of an answer says.
    pub fn note(&mut self, delta: &Delta) {
        match delta {
            Delta::Text { text, .. }
            | Delta::Thought { text, .. }
            | Delta::Refusal { text, .. }
            | Delta::Arguments { text, .. } => self.add(text),
            Delta::ToolBegin { name, .. } => self.add(name),
            Delta::Begin { .. }
            | Delta::Signature { .. }
            | Delta::SealedThought { .. }
            | Delta::Stop { .. }
            | Delta::Usage(_)
            | Delta::Failed(_)
            | Delta::End => {}
        }
    }

    fn add(&mut self, text: &str) {
        self.bytes += text.len();
        let room = SAMPLE_BYTES_MAX - self.text.len();
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{Role, Turn};

    fn count(model: &str, text: &str) -> u64 {
        let mut count = Count::new(model);
        count.add(text);
        count.total()
    }

    #[test]
    fn words_count_as_their_vendor_counts_them() {
        // Of OpenAI's page about its tokenizer, and of its cookbook.
        assert_eq!(count("gpt-4o", "tiktoken is great!"), 6);
        assert_eq!(count("gpt-4", "antidisestablishmentarianism"), 6);
        assert_eq!(count("Qwen/Qwen3-8B", ""), 0);
        assert_eq!(count("gpt-4", "お誕生日おめでとう"), 9);
        assert_eq!(count("gpt-4o", "お誕生日おめでとう"), 8);
    }

    #[test]
    fn a_request_counts_what_is_around_its_turns() {
        let hello = Turn { role: Role::User, parts: vec![Part::text("hello")] };
        let request = Request { turns: vec![hello], ..Request::default() };

        // What OpenAI's models tell of a request that says hello.
        assert_eq!(of_request("gpt-4o", &request), 8);
    }

    #[test]
    fn what_is_to_be_embedded_counts_as_text_or_as_tokens() {
        for (input, tokens) in [
            (r#""tiktoken is great!""#, 6),
            (r#"["tiktoken is great!","hello"]"#, 7),
            ("[1,2,3]", 3),
            ("[[1,2],[3]]", 3),
            ("[]", 0),
        ] {
            let body = format!(r#"{{"model":"gpt-4o","input":{input},"x":1}}"#);
            assert_eq!(of_embedded("gpt-4o", &body), Ok(tokens), "{input}");
        }
        for input in ["7", "null", "{}", "[null]", "[-1]"] {
            let body = format!(r#"{{"input":{input}}}"#);
            assert_eq!(
                of_embedded("gpt-4o", &body).expect_err("it is none").field.as_deref(),
                Some("input"),
                "{input}"
            );
        }
    }

    #[test]
    fn a_long_text_is_counted_in_pieces_that_lose_nothing() {
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(1_000);
        let exact = count("gpt-4o", &text);

        assert!((9_990..=10_020).contains(&exact), "{exact}");
    }

    #[test]
    fn what_is_too_long_is_estimated_by_its_bytes() {
        let line = "alpha beta gamma ";
        let one = count("gpt-4o", &line.repeat(COUNTED_BYTES_MAX / line.len()));
        let four = count("gpt-4o", &line.repeat(4 * (COUNTED_BYTES_MAX / line.len())));

        assert!(four.abs_diff(4 * one) <= 16, "{four} and {one}");
    }

    #[test]
    fn white_space_and_letters_without_end_are_counted_soon() {
        for letter in [" ", "\n", "a", "\u{a0}", "é", "😀", "<|endoftext|>"] {
            let text = letter.repeat((256 << 10) / letter.len());
            assert!(count("gpt-4o", &text) > 0, "{letter:?}");
        }
    }

    #[test]
    fn a_sample_knows_how_long_the_answer_is() {
        let mut sample = Sample::default();
        for _ in 0..10_000 {
            sample.note(&Delta::Text { choice: 0, text: "one two three ".to_owned() });
        }

        assert_eq!((sample.text.len(), sample.bytes), (SAMPLE_BYTES_MAX, 140_000));
        let tokens = of_sample("gpt-4o", &sample);
        assert!((29_500..=40_500).contains(&tokens), "{tokens}");
    }

    proptest! {
        #[test]
        fn any_text_is_counted_and_has_no_more_tokens_than_bytes(text in "\\PC{0,200}|[ \\n\\t]{0,6000}|\\p{Han}{0,3000}") {
            prop_assert!(count("gpt-4o", &text) <= text.len() as u64);
        }
    }
}
