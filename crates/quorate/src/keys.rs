//! `quorate keys new` and `quorate keys rotate`: API keys and their documents, without a node; `quorate keys list`: those of
//! a running one. With a context they are made, listed and revoked by the cluster ([`remote`]).
//!
//! The key is shown once and kept nowhere; what goes into a file is its HMAC, made with the nodes' root key. Whatever is
//! printed was looked up in a table of its own first, as a node would do it. The order matters: the key is put where it
//! goes before the document is, so that no document is left whose key nobody has.

mod document;
mod list;
mod remote;

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use quorate_identity::api_key::{Fresh, Keys, MacKey};
use quorate_runtime::{clock, entropy};
use quorate_types::Timestamp;

use self::document::{Document, Key};
use crate::cli::keys::{KeyArgs, KeysCommand, NewArgs, RootArgs, RotateArgs};
use crate::exit::{Exit, Failure};
use crate::run::shown;
use crate::{key, output, target};

/// The largest file that is read: as large as a node reads one.
const FILE_BYTES_MAX: u64 = quorate_config::FILE_BYTES_MAX.0;

/// Runs the command.
///
/// # Errors
/// [`Failure`] when there is no root key, the document is none or cannot have another key, a file cannot be written,
/// or the node to list those of does not answer.
pub(crate) async fn run(context: Option<&Path>, command: &KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::New(args) if args.key.root.is_given() => new(args),
        KeysCommand::New(args) => match target::context_if_any(context)? {
            Some(context) => remote::new(&context, args).await,
            None => new(args),
        },
        KeysCommand::Rotate(args) => rotate(args),
        KeysCommand::List(args) if args.admin.is_some() => list::run(args).await,
        KeysCommand::List(args) => match target::context_if_any(context)? {
            Some(context) => remote::list(&context, args).await,
            None => list::run(args).await,
        },
        KeysCommand::Revoke(args) => remote::revoke(&target::context(context)?, args).await,
    }
}

fn new(args: &NewArgs) -> Result<(), Failure> {
    let made = Made::new(&args.key, root(&args.key.root)?);
    let document = Document::new(&args.name, &args.tenant, args.agent.as_ref(), &args.scopes, made.key());
    made.check(&document)?;
    made.hand_out(&args.key)?;
    output::print(&document.to_yaml())
}

fn rotate(args: &RotateArgs) -> Result<(), Failure> {
    let file = shown(&args.file);
    let invalid = |message: String| Failure::new(Exit::Config, format!("{file}: {message}"));
    let text = read(&args.file)?;
    let mut document = document::find(&text, args.name.as_ref()).map_err(invalid)?;
    let is_ours = document.to_yaml() == text;
    if args.write && !is_ours {
        return Err(invalid("the file has comments, other documents or another form, which would be lost".to_owned())
            .advise("leave `--write` out and put the document in its place yourself"));
    }
    // There was a root key when the document was made: another would make its present keys good for nothing.
    let made = Made::new(&args.key, present_root(&args.key.root)?);
    let removed = document.rotate(made.key(), made.now, args.overlap).map_err(|error| {
        invalid(error).advise("remove a key that nobody uses any more, or wait until one has ended")
    })?;
    made.check(&document)?;
    made.hand_out(&args.key)?;
    for id in removed {
        output::note(&format!("the key {id} had ended and is removed"));
    }
    if args.write { replace(&args.file, &document.to_yaml()) } else { output::print(&document.to_yaml()) }
}

impl RootArgs {
    /// Tells whether one is named.
    fn is_given(&self) -> bool {
        self.data_dir.is_some() || self.key_file.is_some()
    }
}

type RootKey = [u8; quorate_types::seal::KEY_BYTES];

/// A key that was just made, with what a node needs to know it.
struct Made {
    fresh: Fresh,
    mac_key: MacKey,
    now: Timestamp,
    expires: Option<Timestamp>,
}

// === impl Made ===

impl Made {
    fn new(args: &KeyArgs, root: RootKey) -> Self {
        let mac_key = MacKey::of_root(&root);
        // Documents have whole seconds.
        let now = Timestamp::from_millis(clock::now().as_millis() / 1_000 * 1_000);
        let fresh = Fresh::new(entropy::secret(), entropy::secret());
        Self { fresh, mac_key, now, expires: args.expires.map(|expires| now + expires) }
    }

    fn key(&self) -> Key {
        Key { id: self.fresh.id, hmac: self.mac_key.mac(&self.fresh), expires: self.expires, not_before: None }
    }

    /// Makes sure that a node with this root key will take the key for what the document says.
    fn check(&self, document: &Document) -> Result<(), Failure> {
        let refused = |what: String| Failure::new(Exit::Config, what);
        let keys = Keys::new(&[document.to_config()], self.mac_key.clone()).map_err(|e| refused(e.to_string()))?;
        let known = keys.lookup(self.fresh.expose(), self.now).map(drop);
        known
            .map_err(|error| refused(format!("the key would be of no use: {error}")).advise("give it a second or more"))
    }

    /// Shows the key, or puts it into a file.
    fn hand_out(&self, args: &KeyArgs) -> Result<(), Failure> {
        hand_out(self.fresh.expose(), args.secret_out.as_deref())
    }
}

/// Shows a key, or puts it into a file that is not there yet.
fn hand_out(key: &str, file: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = file else {
        output::note("the API key, shown this once (its document has no secret):");
        output::note(key);
        return Ok(());
    };
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).and_then(|mut file| {
        writeln!(file, "{key}")?;
        file.sync_all()
    });
    match written {
        Ok(()) => {
            output::note(&format!("the API key is in {} and nowhere else", shown(path)));
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Failure::new(Exit::Failure, format!("{} is there already and is not replaced", shown(path)))
                .advise("name another file with `--secret-out`"))
        }
        Err(error) => Err(Failure::new(Exit::Failure, format!("cannot write {}: {error}", shown(path)))),
    }
}

/// Reads the root key, making that of a data directory where there is none, which is said: it may be a mistake.
fn root(args: &RootArgs) -> Result<RootKey, Failure> {
    let Some(dir) = &args.data_dir else { return present_root(args) };
    let root = key::of_data_dir(dir)?;
    if root.is_new {
        let path = dir.join(key::FILE);
        let metadata = fs::metadata(&path)
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot look at {}: {error}", shown(&path))))?;
        output::note(&format!(
            "there was no root key: {} was made and is that of user {} alone. The API key is good only for a node with \
             this data directory that runs as that user, or with a copy of the file",
            shown(&path),
            metadata.uid()
        ));
    }
    Ok(root.key)
}

/// Reads the root key, and makes none.
fn present_root(args: &RootArgs) -> Result<RootKey, Failure> {
    match (&args.data_dir, &args.key_file) {
        (Some(dir), _) => {
            let path = dir.join(key::FILE);
            match path.try_exists() {
                Ok(false) => Err(Failure::new(Exit::Failure, format!("there is no root key {}", shown(&path)))
                    .advise("name the data directory of the node that takes the document's present keys")),
                Ok(true) | Err(_) => key::of_file(&path),
            }
        }
        (None, Some(file)) => key::of_file(file),
        (None, None) => {
            Err(Failure::new(Exit::Usage, "there is no root key: name one with `--data-dir` or `--key-file`").advise(
                "`quorate keys new` and `keys list` work with a cluster when there is a context (`--context FILE`)",
            ))
        }
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Config, format!("cannot read {}: {error}", shown(path)));
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let message = format!("{} is larger than {}", shown(path), quorate_config::FILE_BYTES_MAX);
        return Err(Failure::new(Exit::Config, message));
    }
    Ok(text)
}

/// Replaces a file whole: a node that watches it never reads a part. It keeps its owner, group and mode, so that whoever
/// could read it still can; where it is a symbolic link, what that points to is replaced.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |what: &str, error: &std::io::Error| {
        Failure::new(Exit::Failure, format!("cannot {what} {}: {error}", shown(path)))
            .advise("the document did not change, and the key that was just made is good for nothing")
    };
    let file = fs::canonicalize(path).map_err(|error| failed("find", &error))?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    // Hidden: a node that reads the folder passes it over.
    name.push(format!(".{}.new", std::process::id()));
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let draft = file.with_file_name(hidden);
    let replaced = draw(&draft, text, &file).and_then(|()| fs::rename(&draft, &file).map_err(|error| ("write", error)));
    replaced.map_err(|(what, error)| {
        // It may never have been made.
        let _left = fs::remove_file(&draft);
        failed(what, &error)
    })?;
    output::note(&format!("{} has the new key", shown(path)));
    Ok(())
}

/// Writes a draft that may take the place of `file`; an error has what could not be done to that.
fn draw(draft: &Path, text: &str, file: &Path) -> Result<(), (&'static str, std::io::Error)> {
    let write = |error| ("write", error);
    let metadata = fs::metadata(file).map_err(write)?;
    // Nobody else's until it has its owner; the mode is last, since a change of owner takes some of its bits away.
    let mut draft = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft).map_err(write)?;
    draft.write_all(text.as_bytes()).map_err(write)?;
    fchown(&draft, Some(metadata.uid()), Some(metadata.gid())).map_err(|e| ("keep the owner and group of", e))?;
    draft.set_permissions(metadata.permissions()).map_err(write)?;
    draft.sync_all().map_err(write)
}
