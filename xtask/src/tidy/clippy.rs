//! Clippy's settings of the pure crates: the rules of the house plus those against clocks, randomness and IO.
//!
//! Clippy reads the clippy.toml nearest to a crate and no other, so each crate of layers 0 and 1 needs a whole one.
//! It is composed here from the root's and [`METHODS`] and [`TYPES`]; `cargo xtask fix` writes it into the crates, and
//! tidy finds one that differs. A test in a pure crate that must read a file says `#[expect]` with its reason.

use std::fs;

use anyhow::{Context as _, Result};

use super::{Finding, tree::Tree};
use crate::{output, repo::Repo};

const RULE: &str = "pure clippy.toml";

/// Where the root's disallowed methods begin.
const METHODS_BEGIN: &str = "\ndisallowed-methods = [\n";

/// Functions of std that look at, or change, something outside a call's arguments; with what to do instead.
const METHODS: &[(&str, &str)] = &[
    ("std::env::args", ENVIRONMENT),
    ("std::env::args_os", ENVIRONMENT),
    ("std::env::current_dir", ENVIRONMENT),
    ("std::env::temp_dir", ENVIRONMENT),
    ("std::env::var", ENVIRONMENT),
    ("std::env::var_os", ENVIRONMENT),
    ("std::env::vars", ENVIRONMENT),
    ("std::env::vars_os", ENVIRONMENT),
    ("std::fs::copy", FILES),
    ("std::fs::create_dir", FILES),
    ("std::fs::create_dir_all", FILES),
    ("std::fs::metadata", FILES),
    ("std::fs::read", FILES),
    ("std::fs::read_dir", FILES),
    ("std::fs::read_to_string", FILES),
    ("std::fs::remove_dir_all", FILES),
    ("std::fs::remove_file", FILES),
    ("std::fs::rename", FILES),
    ("std::fs::write", FILES),
    ("std::io::stderr", FILES),
    ("std::io::stdin", FILES),
    ("std::io::stdout", FILES),
    ("std::path::Path::exists", FILES),
    ("std::process::id", ENVIRONMENT),
    ("std::thread::available_parallelism", ENVIRONMENT),
    ("std::thread::current", THREADS),
    ("std::thread::spawn", THREADS),
    ("std::time::Instant::elapsed", CLOCK),
    ("std::time::Instant::now", CLOCK),
    ("std::time::SystemTime::elapsed", CLOCK),
    ("std::time::SystemTime::now", CLOCK),
];

/// Types of std that exist for nothing else.
const TYPES: &[(&str, &str)] = &[
    ("std::fs::File", FILES),
    ("std::fs::OpenOptions", FILES),
    ("std::net::TcpListener", NETWORK),
    ("std::net::TcpStream", NETWORK),
    ("std::net::UdpSocket", NETWORK),
    ("std::process::Command", ENVIRONMENT),
    ("std::sync::Condvar", THREADS),
    ("std::sync::Mutex", THREADS),
    ("std::sync::RwLock", THREADS),
    ("std::time::Instant", CLOCK),
    ("std::time::SystemTime", CLOCK),
];

const CLOCK: &str = "layer 1 has no clock: take `now: Timestamp`";
const ENVIRONMENT: &str = "layer 1 does not look around: take a Config";
const FILES: &str = "layer 1 has no IO: take the contents";
const NETWORK: &str = "layer 1 has no IO: take events, return effects";
const THREADS: &str = "layer 1 runs on its caller's thread and owns its state";

/// Writes the settings into every pure crate of the workspace.
pub(crate) fn write_all(repo: &Repo) -> Result<()> {
    let root = repo.root().join("clippy.toml");
    let root = fs::read_to_string(&root).with_context(|| format!("cannot read {}", root.display()))?;
    let text = compose(&root).context("clippy.toml has no `disallowed-methods = [` list")?;
    for package in super::layers::pure(&repo.metadata().packages) {
        let path = package.manifest_path.with_file_name("clippy.toml");
        if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
            output::line(&format!("wrote {}", path.display()));
        }
    }
    Ok(())
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(expected) = tree.text("clippy.toml").and_then(compose) else {
        return vec![Finding::new(RULE, "clippy.toml", "is missing, or has no `disallowed-methods = [` list")];
    };
    let crates = tree.paths().filter_map(|path| path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"));
    crates
        .filter(|name| super::layers::is_pure(&format!("quorate-{name}")))
        .map(|name| format!("crates/{name}/clippy.toml"))
        .filter(|path| tree.text(path) != Some(&expected))
        .map(|path| Finding::new(RULE, path, "is missing or differs from what the house asks: run `cargo xtask fix`"))
        .collect()
}

/// The root's settings with the additions; `None` when the root's have no list of methods to add to.
fn compose(root: &str) -> Option<String> {
    let begin = root.find(METHODS_BEGIN)? + METHODS_BEGIN.len();
    let end = begin + root[begin..].find("\n]")? + 1;
    let settings = root.find("\n\n")?;

    let mut text =
        "# Written by `cargo xtask fix`: the root's clippy.toml, and no clock, randomness or IO.\n".to_owned();
    text.push_str(&root[settings + 1..end]);
    text.push_str(&entries(METHODS));
    text.push_str(&root[end..]);
    text.push_str("\ndisallowed-types = [\n");
    text.push_str(&entries(TYPES));
    text.push_str("]\n");
    Some(text)
}

fn entries(list: &[(&str, &str)]) -> String {
    list.iter().map(|(path, reason)| format!("    {{ path = \"{path}\", reason = \"{reason}\" }},\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str =
        "# Header.\n\nlimit = 1\n\ndisallowed-methods = [\n    { path = \"a::b\", reason = \"c\" },\n]\n";

    #[test]
    fn the_composed_settings_keep_the_roots_and_add_the_pure_ones() -> Result<()> {
        let text = compose(ROOT).context("the root has a list")?;

        let settings: toml::Table = text.parse()?;
        assert_eq!(settings["limit"].as_integer(), Some(1));
        assert_eq!(settings["disallowed-methods"].as_array().map(Vec::len), Some(1 + METHODS.len()));
        assert_eq!(settings["disallowed-types"].as_array().map(Vec::len), Some(TYPES.len()));
        Ok(())
    }

    #[test]
    fn a_pure_crate_without_the_settings_or_with_others_is_a_finding() -> Result<()> {
        let text = compose(ROOT).context("the root has a list")?;
        let manifests = [("clippy.toml", ROOT), ("crates/http/Cargo.toml", ""), ("crates/mcp/Cargo.toml", "")];
        let with = |own: &str| {
            let [root, http, mcp] = manifests;
            check(&Tree::of([root, http, mcp, ("crates/mcp/clippy.toml", own)])).len()
        };

        assert_eq!(check(&Tree::of(manifests)).len(), 1);
        assert_eq!(with("too-many-lines-threshold = 700\n"), 1);
        assert_eq!(with(&text), 0);
        Ok(())
    }

    #[test]
    fn a_root_without_the_list_is_a_finding() {
        assert_eq!(check(&Tree::of([("clippy.toml", "# Header.\n\nlimit = 1\n")])).len(), 1);
    }
}
