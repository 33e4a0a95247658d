//! What a principal may do: Cedar policies over our schema, indexed by scope, deny by default.
//!
//! ```text
//!  Document, Group ──Policies::compile──▶ Policies ──subject(Principal)──▶ Subject
//!                          └─▶ Problem       ├── decide(Subject, Question) ─▶ Decision
//!                                            ├── may(Subject, …) ──────────▶ Verdict, for lists
//!                                            ├── explain(Subject, …) ──────▶ Explanation, for people and for Cases
//!                                            ├── mentions() ───────────────▶ what the configuration has to have
//!                                            └── doubts(Offered) ──────────▶ Doubt, where servers have something else
//! ```
//!
//! Invariants: what no policy permits is denied; what a policy cannot be evaluated for is denied; a caller reaches
//! resources of its own tenant and of the operator only, whatever policies say; forbids win over permits; the index
//! decides as Cedar decides over all policies. No IO, no clock, no locks: a set is immutable, and who holds it shares it.
//!
//! Cedar: <https://docs.cedarpolicy.com/>. The page for operators is `docs/src/policy.md`.

#![warn(clippy::wildcard_enum_match_arm)]

mod action;
mod arguments;
mod bounds;
mod case;
mod check;
mod compile;
mod decision;
mod document;
mod entity;
mod evaluate;
mod explain;
mod fit;
mod group;
mod index;
pub mod limits;
mod mention;
mod operator;
mod policies;
mod problem;
mod resource;
mod rule;
mod scan;
mod schema;
mod subject;
mod templates;
mod view;

pub use action::Action;
pub use case::{Case, Expected, InvalidTarget, Judgement, Target, judge};
pub use decision::{Decision, Denial, ModelRequest, Question, Verdict};
pub use document::{ArgumentType, Document, Mode, PolicyRef};
pub use explain::{Considered, Explanation, Finding};
pub use fit::{Doubt, Misfit, Offered};
pub use group::Group;
pub use mention::{Mention, Thing};
pub use operator::{AdminAction, OperatorRole, Operators, operator_schema_text};
pub use policies::Policies;
pub use problem::{Place, Problem};
pub use resource::{Item, Kind, Named, Resource};
pub use schema::{schema_page, schema_text};
pub use subject::Subject;
