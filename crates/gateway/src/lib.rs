//! The request pipeline: listener, authenticate, classify, authorize, route, admit, inspect,
//! dispatch, respond.
//!
//! One file per stage, in this order; [`pipeline`] calls them. A stage's output has a private
//! constructor, so that a later stage cannot be called without the evidence of the earlier one:
//! no [`authorize::Permitted`] without [`authenticate::Authenticated`]. The tables that stages
//! read are immutable [`snapshot`]s; [`node`] compiles them from validated resources and swaps
//! them in. This crate alone maps errors to HTTP and JSON-RPC ([`respond`]).

pub mod admit;
mod ask;
mod audit;
pub mod authenticate;
pub mod authorize;
mod behalf;
mod callers;
pub mod classify;
pub mod credentials;
pub mod dispatch;
mod fetch;
#[cfg(test)]
mod ground;
pub mod handle;
mod hearing;
pub mod held;
pub mod inspect;
pub mod judge;
pub mod listener;
pub mod llm;
mod located;
pub mod named;
pub mod node;
mod parking;
pub mod pipeline;
pub mod protected;
mod relay;
pub mod resolve;
pub mod respond;
mod revive;
pub mod route;
pub mod snapshot;
pub mod standing;
mod stdio;
pub mod survey;
pub mod tasks;
pub mod toolset;
mod translate;
