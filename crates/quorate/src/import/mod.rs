//! `quorate import`: resource files of what another gateway is configured with.
//!
//! ```text
//! FILE → source (a tree that is taken apart) → litellm | agentgateway → writer → stdout
//!                                                      └→ notes → stderr
//! ```
//!
//! What can be said in resources is; everything else is listed with its path, its value and what to do instead. Nothing is connected to,
//! and no secret is written that was not asked for. Of the environment only addresses are read, which resources have no variables for.
//!
//! Invariant: every key of the source is taken over or listed, and what is printed is valid.

mod agentgateway;
mod litellm;
mod notes;
mod parameters;
mod provider;
mod secrets;
mod source;
mod spans;
#[cfg(test)]
mod tests;
mod tool_server;
mod writer;

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::path::Path;

use serde_json::Value;

use self::notes::Notes;
use self::secrets::{Secrets, Syntax};
use self::writer::Documents;
use crate::cli::import::{ImportArgs, ImportCommand};
use crate::exit::{Exit, Failure};
use crate::output;

/// The largest source.
const BYTES_MAX: u64 = 4 << 20;
/// What standard input is called.
const STDIN: &str = "-";

/// Looks a variable up.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is made of a source, so far.
struct Import<'a> {
    documents: Documents,
    notes: Notes,
    secrets: Secrets,
    environment: Environment<'a>,
}

/// Whose configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Litellm,
    Agentgateway,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`] when the source is none, when nothing can be written, and with `--strict` when something is listed.
pub(crate) fn run(command: &ImportCommand) -> Result<(), Failure> {
    let (kind, args) = match command {
        ImportCommand::Litellm(args) => (Kind::Litellm, args),
        ImportCommand::Agentgateway(args) => (Kind::Agentgateway, args),
    };
    let text = read(&args.file)?;
    let name = args.file.file_name().map_or(STDIN.into(), |name| name.to_string_lossy());
    let variable = |name: &str| std::env::var(name).ok();
    let (text, notes) = import(kind, &text, &name, args.with_secrets, &variable)?;
    write(args, &text)?;
    if notes.len() == 0 {
        return Ok(());
    }
    let count = if notes.len() == 1 { "1 note".to_owned() } else { format!("{} notes", notes.len()) };
    output::note(&format!("{count}: what is not taken over, or is to be done\n"));
    output::note(output::visible(&notes.text()).trim_end());
    if args.strict { Err(Failure::silent()) } else { Ok(()) }
}

/// Makes the text of resource files of the text of a source.
fn import(
    kind: Kind,
    text: &str,
    name: &str,
    with_secrets: bool,
    environment: Environment<'_>,
) -> Result<(String, Notes), Failure> {
    let invalid = |message: String| Failure::new(Exit::Config, format!("{name}: {message}"));
    let value = source::parse(text).map_err(invalid)?;
    if !matches!(value, Value::Object(_)) {
        return Err(invalid("is no configuration, which is an object".to_owned()));
    }
    let Import { documents, mut notes, .. } = take(kind, value, with_secrets, environment);
    if documents.is_empty() {
        notes.say("(all)", "there is nothing in it that a resource can be made of");
    }
    let shown: String = name.chars().filter(|each| !each.is_control()).collect();
    let comment = format!("Made of {shown} by `quorate import {}`.\n{}", kind.word(), kind.advice());
    let text = documents.write(&comment, &mut notes)?;
    Ok((text, notes))
}

/// Makes documents of a source, which may not be valid yet.
fn take(kind: Kind, value: Value, with_secrets: bool, environment: Environment<'_>) -> Import<'_> {
    let syntax = match kind {
        Kind::Litellm => Syntax::OsEnviron,
        Kind::Agentgateway => Syntax::Dollar,
    };
    let secrets = Secrets::new(syntax, with_secrets);
    let mut import = Import { documents: Documents::default(), notes: Notes::default(), secrets, environment };
    match kind {
        Kind::Litellm => litellm::import(value, &mut import),
        Kind::Agentgateway => agentgateway::import(value, &mut import),
    }
    import
}

fn read(file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    let failed = |error: std::io::Error| Failure::new(Exit::Config, format!("{shown}: cannot be read: {error}"));
    let mut text = String::new();
    if file.as_os_str() == STDIN {
        std::io::stdin().lock().take(BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    } else {
        let file = std::fs::File::open(file).map_err(failed)?;
        file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    }
    if text.len() as u64 > BYTES_MAX {
        return Err(Failure::new(Exit::Config, format!("{shown}: is larger than {} MiB", BYTES_MAX >> 20)));
    }
    Ok(text)
}

/// Prints the text, or writes it to a new file, which only its owner reads: there may be secrets in it.
fn write(args: &ImportArgs, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let Some(file) = &args.output else { return output::print(text) };
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    opened.and_then(|mut opened| opened.write_all(text.as_bytes())).map_err(|error| {
        Failure::new(Exit::Failure, format!("cannot write {}: {error}", file.display()))
            .advise("name a file that does not exist yet: none is overwritten")
    })
}

// === impl Kind ===

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Litellm => "litellm",
            Self::Agentgateway => "agentgateway",
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Litellm => {
                "Serve it with `quorate serve -f FILE --listen 127.0.0.1:4000`; who may call is for API keys and policies."
            }
            Self::Agentgateway => "Serve it with `quorate serve -f FILE`; who may call is for API keys and policies.",
        }
    }
}
