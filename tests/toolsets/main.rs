//! Tests of toolsets as clients see them: what is chosen, changed, held to limits, drawn, and found.
//!
//! One file per topic. Each test starts its own `quorate serve` in front of scripted servers, asks it in the
//! stateless revision and in sessions, and looks at what the servers got.

mod changes;
mod choices;
mod hearing;
mod instructions;
mod limits;
mod policies;
mod probe;
mod rules;
mod search;
mod support;
mod uris;
mod versions;
