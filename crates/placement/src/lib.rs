//! Where the replicas of each group are, and who leads it: pure solvers.
//!
//! [`solve()`] makes the groups whole, spreads each over racks, levels the nodes, and moves as little as it can. In flow the
//! nodes and what they hold, out the same with the moves that lead there; the same problem always has the same solution.
//! [`lead`] levels the leaders among the replicas that there are. Their laws are the properties in `tests/`:
//!
//! - a group has as many replicas as it shall, or as there are nodes that stay, each on a node of its own;
//! - a group spans as many racks as it can;
//! - no chain of moves levels the nodes further; without racks their loads differ by one at most;
//! - what is solved is left alone, and when a node takes another's place only what that one held moves.
//!
//! Knows nothing of consensus: moves are carried out one by one, by others, and the problem is posed anew after each.

#![warn(clippy::wildcard_enum_match_arm)]

mod chain;
mod leaders;
mod problem;
mod solve;

pub use leaders::lead;
pub use problem::{Move, Node, Problem, Rack, Solution};
pub use solve::solve;
