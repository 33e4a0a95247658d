//! Texts of files within documents: what a cluster keeps instead of a path.
//!
//! A resource of a cluster must not depend on a file that only one node has. So what a document names by a relative path,
//! beside the operator's resource files, is taken along when it is applied: `inline:NAME`, a line end, and the text. Each
//! node puts it into a folder of its own, under a name that its content decides, and reads it there like any other file.
//!
//! It holds for what everybody may read: OpenAPI documents, key sets, authorities, revocation lists. A certificate stays
//! with its private key, which never leaves its node, and they and files with secrets are absolute paths on each node;
//! as is whatever an operator names by an absolute path.

use std::fmt::Write as _;
use std::path::{Path as FilePath, PathBuf};

use quorate_catalog::Digest;
use serde_json::Value as Json;

use crate::compile::Home;
use crate::error::Reason;
use crate::node::{Node, Path, Value};
use crate::read;

/// What a text begins with that is one of a file.
const PREFIX: &str = "inline:";
/// The longest name of such a file in bytes: it says where the text was from, no more.
const NAME_BYTES_MAX: usize = 64;
/// How much of the digest is part of the name of the file: 128 bits, which nobody finds twice.
const DIGEST_BYTES: usize = 16;
/// The largest text: it is part of a document, which has at most 256 KiB with everything else.
pub const TEXT_BYTES_MAX: usize = 224 << 10;
const _: () = assert!(TEXT_BYTES_MAX < quorate_catalog::DOCUMENT_BYTES_MAX);

/// A text of a file in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inline<'a> {
    name: &'a str,
    text: &'a str,
}

/// A file that a node has to have before it can run a set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct File {
    /// Where it is: a name that is another one when the text is.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

// === impl Inline ===

impl<'a> Inline<'a> {
    /// Reads a text that is one of a file; none when it is a path.
    pub(crate) fn of(text: &'a str) -> Option<Result<Self, &'static str>> {
        let (name, text) = match text.strip_prefix(PREFIX)?.split_once('\n') {
            Some(parts) => parts,
            None => return Some(Err("a file's name after inline: is followed by a line end and the text")),
        };
        Some(if is_name(name) { Ok(Self { name, text }) } else { Err(NAME_RULE) })
    }

    /// The name of its file.
    pub(crate) fn file_name(&self) -> String {
        let mut name = String::with_capacity(2 * DIGEST_BYTES + 1 + self.name.len());
        for byte in &Digest::of(self.text.as_bytes()).0[..DIGEST_BYTES] {
            write!(name, "{byte:02x}").expect("writing to a string does not fail");
        }
        format!("{name}-{}", self.name)
    }
}

const NAME_RULE: &str =
    "after inline: comes a name of 1 to 64 letters, digits, `.`, `_` and `-`, not beginning with `.`";

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}

/// Lists the files of a document, which has this schema.
pub(crate) fn files(node: &Node, schema: &Json, folder: &FilePath) -> Vec<File> {
    let mut files = Vec::new();
    each(node, schema, &mut |text| {
        // What is not well-formed is told of where the document is compiled.
        if let Some(Ok(inline)) = Inline::of(text) {
            files.push(File { path: folder.join(inline.file_name()), text: inline.text.to_owned() });
        }
    });
    files
}

/// Puts the texts of files into a document that names them by relative paths, which begin at a folder.
pub(crate) fn take_along(node: &mut Node, schema: &Json, folder: &FilePath, refuse: &mut impl FnMut(&Path, Reason)) {
    if !has_files(schema) {
        return;
    }
    each_mut(node, schema, &Path::default(), &mut |text, at| {
        let is_relative = !text.is_empty() && !text.starts_with(PREFIX) && !FilePath::new(text).is_absolute();
        if is_relative {
            match taken(folder, text) {
                Ok(inline) => *text = inline,
                Err(reason) => {
                    refuse(at, reason);
                    // So that the path is not told of again where the document is compiled.
                    text.insert(0, '/');
                }
            }
        }
    });
}

/// Reads the file of a relative path.
fn taken(folder: &FilePath, path: &str) -> Result<String, Reason> {
    let file = Home::Folder(folder).path(path).map_err(|message| Reason::Conflict { message: message.to_owned() })?;
    let text = read::read_file(&file)?;
    if text.len() > TEXT_BYTES_MAX {
        return Err(Reason::TooMuch {
            what: "a file that a cluster keeps (an absolute path names one that each node has)",
            found: format!("{} bytes", text.len()),
            max: format!("{TEXT_BYTES_MAX} bytes"),
        });
    }
    let named = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plain = |char: char| if char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-') { char } else { '_' };
    let name: String = named.trim_start_matches('.').chars().map(plain).collect();
    // Its end says what is in it.
    let name = &name[name.len().saturating_sub(NAME_BYTES_MAX)..];
    let name = name.trim_start_matches('.');
    Ok(format!("{PREFIX}{}\n{text}", if name.is_empty() { "file" } else { name }))
}

/// Whether documents of a schema can name files that are taken along.
fn has_files(schema: &Json) -> bool {
    match schema {
        Json::Object(members) => members.get("x-file").is_some() || members.values().any(has_files),
        Json::Array(items) => items.iter().any(has_files),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

/// Visits the texts that name a file.
fn each(node: &Node, schema: &Json, take: &mut impl FnMut(&str)) {
    if let Some(options) = schema["anyOf"].as_array() {
        return options.iter().for_each(|option| each(node, option, take));
    }
    match &node.value {
        Value::Text(text) if schema["x-file"] == true => take(text),
        Value::List(items) if schema["x-file"] == true => items.iter().filter_map(Node::as_text).for_each(take),
        Value::List(items) => items.iter().for_each(|item| each(item, &schema["items"], take)),
        Value::Object(members) => {
            for (key, member) in members {
                if let Some(schema) = member_schema(schema, key) {
                    each(member, schema, take);
                }
            }
        }
        Value::Text(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Visits the texts that name a file, to change them.
fn each_mut(node: &mut Node, schema: &Json, at: &Path, take: &mut impl FnMut(&mut String, &Path)) {
    if let Some(options) = schema["anyOf"].as_array() {
        return options.iter().for_each(|option| each_mut(node, option, at, take));
    }
    let is_file = schema["x-file"] == true;
    match &mut node.value {
        Value::Text(text) if is_file => take(text, at),
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                match &mut item.value {
                    Value::Text(text) if is_file => take(text, &at.index(index)),
                    _ => each_mut(item, &schema["items"], &at.index(index), take),
                }
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                if let Some(schema) = member_schema(schema, key) {
                    each_mut(member, schema, &at.key(key), take);
                }
            }
        }
        Value::Text(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn member_schema<'a>(schema: &'a Json, key: &str) -> Option<&'a Json> {
    let others = Some(&schema["additionalProperties"]).filter(|others| others.is_object());
    schema["properties"].get(key).or(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_file_has_a_name_and_a_line_end() {
        let inline = Inline::of("inline:ca.pem\na\nb").expect("it is one").expect("it is well-formed");
        assert_eq!((inline.name, inline.text), ("ca.pem", "a\nb"));
        assert!(inline.file_name().ends_with("-ca.pem") && inline.file_name().len() == 32 + 7);
        assert_eq!(Inline::of("ca.pem"), None);
        for wrong in ["inline:", "inline:a", "inline:\na", "inline:../a\nb", "inline:.a\nb", "inline:a b\nc"] {
            assert!(Inline::of(wrong).expect("it means to be one").is_err(), "{wrong}");
        }
        let long = format!("inline:{}\na", "a".repeat(NAME_BYTES_MAX + 1));
        assert!(Inline::of(&long).expect("it means to be one").is_err());
    }

    #[test]
    fn another_text_is_another_file() {
        let name = |text| Inline::of(text).expect("it is one").expect("it is well-formed").file_name();
        assert_ne!(name("inline:a\nb"), name("inline:a\nc"));
        assert_eq!(name("inline:a\nb"), name("inline:a\nb"));
    }

    #[test]
    fn whatever_a_file_is_called_its_text_can_be_taken_along() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["ca.pem", "a b.json", ".hidden", "\u{e4}.yaml", &format!("{}.json", "x".repeat(100))] {
            std::fs::write(folder.path().join(name), "text").expect("writes");
            let taken = taken(folder.path(), name).unwrap_or_else(|reason| panic!("{name}: {reason}"));
            let inline = Inline::of(&taken).expect("it is one").unwrap_or_else(|message| panic!("{name}: {message}"));
            assert_eq!(inline.text, "text");
            assert_eq!(inline.name.ends_with(".json"), name.ends_with(".json"), "{name}");
        }
    }
}
