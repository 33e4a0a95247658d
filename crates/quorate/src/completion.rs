//! `quorate completion`: the script that completes the command line in a shell.
//!
//! Generated from the very command line that is parsed, so that no flag is missing.

use clap::CommandFactory as _;
use clap_complete::generate;

use crate::cli::{Cli, CompletionArgs, Shell};
use crate::exit::Failure;
use crate::output;

const NAME: &str = "quorate";

/// Prints the script.
///
/// # Errors
/// [`Failure`] when stdout cannot be written.
pub(crate) fn run(args: &CompletionArgs) -> Result<(), Failure> {
    output::print(&script(args.shell))
}

fn script(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut bytes = Vec::new();
    generate(shell, &mut Cli::command(), NAME, &mut bytes);
    String::from_utf8(bytes).expect("names and help are UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_the_script_of_every_shell() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell:?} lacks {}", command.get_name());
            }
            assert!(script.contains("--linearizable") || script.contains("linearizable"), "{shell:?} lacks flags");
        }
    }
}
