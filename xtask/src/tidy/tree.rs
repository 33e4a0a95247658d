//! The files of the checkout as text, without what git ignores.
//!
//! The walk reads `.gitignore` for what to leave out, so that new files are checked before they are committed and
//! no git is needed (an archive of the sources is checked like a clone). Only the two forms of pattern that this
//! repository uses are known, an anchored path and a name; any other form is an error rather than a guess. Symbolic
//! links are not followed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

/// Files by their path from the root, with `/` between folders.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, Option<String>>,
}

/// What `.gitignore` leaves out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ignored {
    anchored: Vec<String>,
    names: Vec<String>,
}

// === impl Tree ===

impl Tree {
    /// Reads the checkout.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let ignored = fs::read_to_string(root.join(".gitignore")).context("cannot read .gitignore")?;
        let mut tree = Self::default();
        tree.walk(root, "", &Ignored::parse(&ignored)?)?;
        Ok(tree)
    }

    /// A tree for a test.
    #[cfg(test)]
    pub(crate) fn of<const N: usize>(files: [(&str, &str); N]) -> Self {
        Self { files: files.into_iter().map(|(path, text)| (path.to_owned(), Some(text.to_owned()))).collect() }
    }

    /// Every path, sorted.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Every file that is text, sorted by path.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// The text of one file; `None` when there is no such file or it is not text.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Whether there is such a file, or a folder with a file in it.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.under(path).next().is_some()
    }

    /// The files below a folder, sorted.
    pub(crate) fn under(&self, folder: &str) -> impl Iterator<Item = &str> {
        let prefix = format!("{}/", folder.trim_end_matches('/'));
        self.files
            .range(prefix.clone()..)
            .map(|(path, _)| path.as_str())
            .take_while(move |path| path.starts_with(&prefix))
    }

    fn walk(&mut self, root: &Path, folder: &str, ignored: &Ignored) -> Result<()> {
        let here: PathBuf = root.join(folder);
        let entries = fs::read_dir(&here).with_context(|| format!("cannot read {}", here.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().context("a file name is not UTF-8")?;
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let kind = entry.file_type()?;
            if name == ".git" || ignored.matches(&path, &name) {
                continue;
            }
            if kind.is_dir() {
                self.walk(root, &path, ignored)?;
            } else if kind.is_file() {
                let bytes = fs::read(entry.path()).with_context(|| format!("cannot read {path}"))?;
                self.files.insert(path, String::from_utf8(bytes).ok());
            }
        }
        Ok(())
    }
}

// === impl Ignored ===

impl Ignored {
    fn parse(text: &str) -> Result<Self> {
        let mut ignored = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            ensure!(!line.contains(['*', '?', '[', '!']), ".gitignore: tidy knows no pattern like `{line}`");
            let pattern = line.trim_end_matches('/');
            match pattern.strip_prefix('/') {
                Some(path) => ignored.anchored.push(path.to_owned()),
                None => {
                    ensure!(!pattern.contains('/'), ".gitignore: begin `{line}` with a slash");
                    ignored.names.push(pattern.to_owned());
                }
            }
        }
        Ok(ignored)
    }

    fn matches(&self, path: &str, name: &str) -> bool {
        self.anchored.iter().any(|anchored| anchored == path) || self.names.iter().any(|ignored| ignored == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_paths_and_names_are_left_out() -> Result<()> {
        let ignored = Ignored::parse("# comment\n/target\nnode_modules/\n")?;

        assert!(ignored.matches("target", "target"));
        assert!(!ignored.matches("crates/target", "target"));
        assert!(ignored.matches("tests/node_modules", "node_modules"));
        Ok(())
    }

    #[test]
    fn an_unknown_pattern_is_an_error() {
        assert!(Ignored::parse("*.tmp").is_err());
        assert!(Ignored::parse("a/b").is_err());
    }

    #[test]
    fn the_walk_reads_text_and_keeps_the_paths_of_the_rest() -> Result<()> {
        let root = tempfile::tempdir()?;
        fs::write(root.path().join(".gitignore"), "/target\n")?;
        fs::create_dir_all(root.path().join("target"))?;
        fs::create_dir_all(root.path().join("a/b"))?;
        fs::write(root.path().join("target/x"), "built")?;
        fs::write(root.path().join("a/b/text.rs"), "fn main() {}")?;
        fs::write(root.path().join("a/bytes"), [0xff, 0xfe])?;

        let tree = Tree::load(root.path())?;

        assert_eq!(tree.paths().collect::<Vec<_>>(), [".gitignore", "a/b/text.rs", "a/bytes"]);
        assert_eq!(tree.text("a/b/text.rs"), Some("fn main() {}"));
        assert_eq!(tree.text("a/bytes"), None);
        Ok(())
    }

    #[test]
    fn a_folder_exists_by_its_files_and_not_by_the_beginning_of_a_name() {
        let tree = Tree::of([("crates/mcp/src/lib.rs", ""), ("crates/mcp-more/src/lib.rs", "")]);

        assert!(tree.has("crates/mcp/src"));
        assert!(!tree.has("crates/mc"));
        assert_eq!(tree.under("crates/mcp").count(), 1);
    }
}
