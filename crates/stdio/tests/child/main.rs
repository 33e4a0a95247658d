//! Real processes: what becomes of good and bad children, and of everything that they start.
//!
//! The programs are system tools and scripts that the tests hand to `sh` themselves; Quorate starts no shell.

mod ending;
mod limits;
mod pipes;
mod support;
