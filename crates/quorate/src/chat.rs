//! `quorate chat`: a conversation with a model, on a terminal or through a pipe.
//!
//! ```text
//! lines of stdin ─▶ Talk (the conversation, bounded) ─▶ /v1/chat/completions ─▶ stdout, as it comes
//! ```
//!
//! Answers go to stdout, everything about them (tokens, why they ended early, errors) to stderr. Ctrl-C gives up the answer in progress;
//! where there is none, it ends the command. On a terminal a failed question is told of and taken back, and the conversation goes on; in a
//! pipe and with `--message` it ends the command, so that scripts notice.

mod lines;
mod talk;

use std::io::IsTerminal as _;

use tokio::signal::unix::{Signal, SignalKind, signal};

use self::lines::Lines;
use self::talk::{Answer, Talk};
use crate::cli::chat::ChatArgs;
use crate::exit::{Exit, Failure};
use crate::output;

/// What is shown where a line is expected.
const PROMPT: &str = "> ";

/// What a line of standard input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'t> {
    Empty,
    Reset,
    Quit,
    Help,
    Said(&'t str),
}

/// How asking ended.
enum Asked {
    Answered(Answer),
    Failed(Failure),
    GivenUp,
}

/// Runs the command: to `/quit`, the end of standard input, or Ctrl-C.
///
/// # Errors
/// [`Failure`] when nobody answers, or an answer is refused or cut.
pub(crate) async fn run(args: ChatArgs) -> Result<(), Failure> {
    let mut talk = Talk::new(&args)?;
    let failed = |error| Failure::new(Exit::Failure, format!("cannot hear signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    if let Some(message) = &args.message {
        return match ask(&mut talk, message, &mut interrupt).await? {
            Asked::Answered(answer) => told(&answer),
            Asked::Failed(failure) => Err(failure),
            Asked::GivenUp => Err(Failure::new(Exit::Failure, "the answer was given up")),
        };
    }
    converse(&mut talk, &mut interrupt).await
}

async fn converse(talk: &mut Talk, interrupt: &mut Signal) -> Result<(), Failure> {
    let is_watched = std::io::stdin().is_terminal();
    let prompt = if is_watched && std::io::stdout().is_terminal() { PROMPT } else { "" };
    if !prompt.is_empty() {
        output::note("/reset begins anew, /quit ends; Ctrl-C gives up an answer");
    }
    let mut lines = Lines::of_stdin();
    loop {
        output::draw(prompt)?;
        let line = tokio::select! {
            line = lines.next() => line?,
            _ = interrupt.recv() => None,
        };
        let Some(line) = line else { return output::draw(if prompt.is_empty() { "" } else { "\n" }) };
        match Line::of(&line) {
            Line::Empty => {}
            Line::Quit => return Ok(()),
            Line::Reset => {
                talk.reset();
                output::note("the conversation begins anew");
            }
            Line::Help => output::note("what there is: /reset and /quit; anything else is said to the model"),
            Line::Said(text) => match ask(talk, text, interrupt).await? {
                Asked::Answered(answer) => told(&answer)?,
                Asked::Failed(failure) if is_watched => output::report(&failure),
                Asked::Failed(failure) => return Err(failure),
                Asked::GivenUp => output::note("(given up)"),
            },
        }
    }
}

/// Says something, and prints the answer as it comes.
async fn ask(talk: &mut Talk, text: &str, interrupt: &mut Signal) -> Result<Asked, Failure> {
    let (mut printed, mut ends_line) = (Ok(()), true);
    let mut print = |piece: &str| {
        if printed.is_ok() && !piece.is_empty() {
            ends_line = piece.ends_with('\n');
            printed = output::draw(&output::visible(piece));
        }
    };
    let asked = tokio::select! {
        answer = talk.ask(text, &mut print) => answer.map_or_else(Asked::Failed, Asked::Answered),
        _ = interrupt.recv() => Asked::GivenUp,
    };
    printed?;
    if matches!(asked, Asked::GivenUp) {
        talk.take_back();
    }
    if !ends_line {
        output::draw("\n")?;
    }
    Ok(asked)
}

/// Tells on stderr what an answer took, where somebody watches, and why it ended early.
fn told(answer: &Answer) -> Result<(), Failure> {
    if let Some(reason) = answer.ended_early() {
        output::note(&format!("(it ended early: {})", output::visible(reason)));
    }
    if let (Some((input, spent)), true) = (answer.tokens, std::io::stderr().is_terminal()) {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let (dim, plain) = if refused { ("", "") } else { ("\u{1b}[2m", "\u{1b}[0m") };
        output::note(&format!("{dim}{input} tokens in, {spent} out{plain}"));
    }
    Ok(())
}

// === impl Line ===

impl<'t> Line<'t> {
    fn of(text: &'t str) -> Self {
        match text.trim() {
            "" => Self::Empty,
            "/reset" => Self::Reset,
            "/quit" | "/exit" => Self::Quit,
            "/help" | "/?" => Self::Help,
            said => Self::Said(said),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_command_or_is_said() {
        let cases = [
            ("  \n", Line::Empty),
            ("/reset\r", Line::Reset),
            ("/quit", Line::Quit),
            ("/help", Line::Help),
            (" /resets ", Line::Said("/resets")),
            ("well met", Line::Said("well met")),
        ];
        for (text, line) in cases {
            assert_eq!(Line::of(text), line, "{text:?}");
        }
    }
}
