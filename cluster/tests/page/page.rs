//! The commands of a page: the lines of its indented blocks, as a shell takes them.
//!
//! A comment behind a command is for the reader and is left out. A document that follows a command (`<<'END'`) belongs to it.

use anyhow::{Context as _, bail, ensure};

/// How lines of a block begin.
const INDENT: &str = "    ";
/// What ends a document in a block.
const END: &str = "END";

/// A command of the page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Where it stands, from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The commands of a page, in its order.
///
/// # Errors
///
/// A block is written in another way, or a document has no end.
pub(crate) fn commands(page: &str) -> anyhow::Result<Vec<Command>> {
    let mut commands = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let line_number = at + 1;
        ensure!(!line.trim_start().starts_with("```"), "line {line_number}: blocks of this page are indented");
        let Some(command) = line.strip_prefix(INDENT) else { continue };
        if command.starts_with(' ') || command.is_empty() {
            bail!("line {line_number}: {command:?} is no command");
        }
        let mut text = command.split(" #").next().unwrap_or_default().trim_end().to_owned();
        if text.ends_with(&format!("<<'{END}'")) {
            loop {
                let (_, line) = lines.next().with_context(|| format!("line {line_number}: there is no {END}"))?;
                let line = line.strip_prefix(INDENT).unwrap_or_default();
                text = format!("{text}\n{line}");
                if line == END {
                    break;
                }
            }
        }
        commands.push(Command { line: line_number, text });
    }
    Ok(commands)
}

#[test]
fn commands_are_read_without_comments_and_with_their_documents() -> anyhow::Result<()> {
    let page = "# Title\n\n    one -a   # why\n    cat <<'END'\n    a:\n      b\n    END\n\nText, and `two`.\n";

    let read = commands(page)?;

    let expected = [(3, "one -a"), (4, "cat <<'END'\na:\n  b\nEND")];
    assert_eq!(read, expected.map(|(line, text)| Command { line, text: text.to_owned() }));
    assert!(commands("```sh\none\n```\n").is_err());
    assert!(commands("    cat <<'END'\n    a\n").is_err());
    Ok(())
}
