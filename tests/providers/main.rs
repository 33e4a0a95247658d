//! Models behind a gateway, whose providers are as good and as bad as real ones are.
//!
//! One file per topic. Each test starts its own gateway, in front of providers that do what the name of a model says
//! (`quorate-bench provider`), speaks plain bytes to it, and looks into the ledgers of the providers.

mod collector;
mod costs;
mod counts;
mod failover;
mod faults;
mod ground;
mod input;
mod kept;
mod nodes;
mod observed;
mod rules;
mod shapes;
mod streams;
