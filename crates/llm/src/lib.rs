//! The shapes of model APIs: classification, views, translation of requests, answers and streams, without IO.
//!
//! ```text
//!  client's body ──read──▶ Request ──write──▶ provider's body
//!  client's answer ◀──write── Answer, Delta… ◀──read── provider's answer, events
//! ```
//!
//! Where both sides speak one shape, bytes pass as they are, and only what is counted is read of them.
//!
//! Shapes: OpenAI chat completions, responses and embeddings, Anthropic messages, Gemini `generateContent`, each as it was documented in
//! November 2026.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod answer;
pub mod api;
pub mod cache;
pub mod canonical;
pub mod classify;
pub mod codec;
pub mod dialect;
pub mod edit;
pub mod error;
pub mod exchange;
pub mod loss;
pub mod message;
pub mod meter;
mod order;
pub mod pieces;
pub mod preset;
pub mod price;
pub mod prompt;
pub mod tokens;

pub use answer::{Answer, Delta, Stop, Usage};
pub use api::{Api, Dialect, Family};
pub use classify::{Call, Has, classify};
pub use error::Fault;
pub use loss::{Feature, Loss, Losses};
pub use message::Request;
