//! The rules of the machine, one by one: what each command takes, refuses and changes.

#[path = "../support/mod.rs"]
mod support;

mod documents;
mod keys;
mod nodes;
mod operators;
mod recover;
mod shards;
mod snapshots;
mod stages;
mod tokens;
