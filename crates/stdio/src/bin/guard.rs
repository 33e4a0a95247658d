//! The guard as a program of its own: it does what it is asked to, and nothing else.
//!
//! A node is its own guard. This one is for programs whose `main` is not theirs to write, such as test binaries;
//! it is not shipped.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate_stdio::guard::main_if_asked().unwrap_or_else(|| {
        eprintln!("quorate-stdio-guard is started by programs that supervise others, not by hand");
        ExitCode::from(2)
    })
}
