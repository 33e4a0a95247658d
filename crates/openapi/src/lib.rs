//! OpenAPI documents as MCP tools: selection, schemas, requests and results, without IO.
//!
//! A [`Document`] of OpenAPI 3.0 or 3.1 and a [`Config`] go into [`compile()`]; an [`Api`] comes out, whose [`Tool`]s
//! are listed by their definitions and called by three pure steps:
//!
//! ```text
//!  arguments (JSON text) ──Tool::call──▶ http::Request ─ ─ ▶ the API ─ ─ ▶ Answer ──Tool::result──▶ CallToolResult
//!                              └─▶ Refusal ──failure()──▶ CallToolResult with isError
//! ```
//!
//! Invariants: where a request goes is fixed by document and configuration, and no argument changes it; what a
//! document or an answer can make us spend is bounded by [`Limits`]; a structured result fits the schema that was
//! promised. Whoever sends the request, and keeps credentials, is not known here.
//!
//! Specifications: <https://spec.openapis.org/oas/v3.1.1>, <https://spec.openapis.org/oas/v3.0.4>, MCP 2026-07-28.

#![warn(clippy::wildcard_enum_match_arm)]

mod argument;
mod body;
mod compile;
mod credential;
mod document;
mod echo;
mod encode;
mod kind;
pub mod limits;
mod multipart;
mod name;
mod next;
mod node;
mod operation;
mod parameter;
mod problem;
mod refusal;
mod request;
mod response;
mod result;
mod schema;
mod select;
mod server;
mod shape;
mod style;
mod text;
mod tool;

pub use compile::{Api, Compiled, Config, compile};
pub use credential::Credential;
pub use document::{Document, Format, Version};
pub use limits::Limits;
pub use problem::{Effect, Problem, Reason};
pub use quorate_types::Secret;
pub use refusal::{ArgumentProblem, Refusal};
pub use result::{Answer, failure};
pub use select::{Pattern, Rule, Selection};
pub use server::Server;
pub use tool::Tool;
