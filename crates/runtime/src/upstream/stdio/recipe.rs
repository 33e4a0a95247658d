//! How a tool server's process is made, anew each time.
//!
//! The environment is put together at each start: a variable of the node, or the content of a file, is what it is
//! then. So a rotated secret reaches the next process without a change of the configuration.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_stdio::{Folder, Program, Resources, environment};
use tokio::io::AsyncReadExt;

/// The most bytes of a file that becomes a variable: 64 KiB; certificates are the largest things that do.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// What is run, with what.
#[derive(Clone)]
pub struct Recipe {
    /// The tool server's name, for logs.
    pub name: Arc<str>,
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// The node's variables that it gets.
    pub inherit: Vec<OsString>,
    /// Variables of its own, which win over inherited ones.
    pub environment: Vec<(OsString, Value)>,
    /// Where it works.
    pub folder: Folder,
    /// What it may use.
    pub resources: Resources,
    /// What we spend on it.
    pub limits: quorate_stdio::Limits,
}

/// The value of a variable. It is a secret: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// As configured.
    Text(OsString),
    /// The content of a file, without a line end behind it.
    File(PathBuf),
}

/// A variable's file cannot be used.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) variable: OsString,
    pub(super) file: PathBuf,
    pub(super) reason: String,
}

// === impl Recipe ===

impl Recipe {
    /// Puts a program together.
    pub(super) async fn program(&self) -> Result<Program, Unreadable> {
        let mut set = Vec::with_capacity(self.environment.len());
        for (name, value) in &self.environment {
            let value = match value {
                Value::Text(text) => text.clone(),
                Value::File(file) => read(name, file).await?,
            };
            set.push((name.clone(), value));
        }
        Ok(Program {
            name: Arc::clone(&self.name),
            argv: self.argv.clone(),
            environment: environment(&self.inherit, set),
            folder: self.folder.clone(),
            resources: self.resources,
            limits: self.limits,
        })
    }
}

impl std::fmt::Debug for Recipe {
    /// Writes no values and no arguments.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recipe").field("name", &self.name).field("program", &self.argv.first()).finish_non_exhaustive()
    }
}

// === impl Value ===

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("(hidden)"),
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
        }
    }
}

async fn read(variable: &OsStr, file: &Path) -> Result<OsString, Unreadable> {
    let unreadable = |reason: String| Unreadable { variable: variable.to_owned(), file: file.to_owned(), reason };
    let opened = tokio::fs::File::open(file).await.map_err(|error| unreadable(error.to_string()))?;
    let mut content = Vec::new();
    let read = opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).await;
    read.map_err(|error| unreadable(error.to_string()))?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    let end = content.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    content.truncate(end);
    if content.contains(&0) {
        return Err(unreadable("it has a NUL byte, which no variable can have".to_owned()));
    }
    Ok(OsString::from_vec(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(environment: Vec<(OsString, Value)>) -> Recipe {
        Recipe {
            name: "files".into(),
            argv: vec!["server".into(), "--key=hunter2".into()],
            inherit: Vec::new(),
            environment,
            folder: Folder::Private,
            resources: Resources::default(),
            limits: quorate_stdio::Limits::default(),
        }
    }

    #[tokio::test]
    async fn a_variable_is_what_its_file_holds_when_the_process_starts() {
        let file = std::env::temp_dir().join(format!("quorate-recipe-{}", std::process::id()));
        let recipe = recipe(vec![("KEY".into(), Value::File(file.clone()))]);
        for content in ["first", "second\n", "third\r\n\n"] {
            std::fs::write(&file, content).unwrap();
            let program = recipe.program().await.expect("the file is there");
            let key = program.environment.iter().find(|(name, _)| name == "KEY").map(|(_, value)| value.clone());
            assert_eq!(key, Some(content.trim_end().into()));
        }
        std::fs::write(&file, "a\0b").unwrap();
        assert!(recipe.program().await.is_err_and(|unreadable| unreadable.reason.contains("NUL")));
        std::fs::write(&file, "x".repeat(70_000)).unwrap();
        assert!(recipe.program().await.is_err_and(|unreadable| unreadable.reason.contains("65536")));
        std::fs::remove_file(&file).unwrap();
        assert!(recipe.program().await.is_err_and(|unreadable| unreadable.variable == "KEY"));
    }

    #[test]
    fn a_recipe_shows_no_arguments_and_no_values() {
        let shown = format!("{:?} {:?}", recipe(Vec::new()), Value::Text("hunter2".into()));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
