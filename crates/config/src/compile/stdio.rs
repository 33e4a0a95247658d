//! What makes `spec.stdio` of a `ToolServer` valid.
//!
//! A program that is named by a path begins, like every relative path, at the folder of the document's file; one
//! that is named without a slash is looked up when a process starts. Whether it exists, and whether a folder or file
//! does, is not checked here: it may come and go while the node runs. Values of variables are never shown.

use std::collections::BTreeMap;
use std::path::PathBuf;

use quorate_types::Secret;

use super::{Order, Site};
use crate::error::{Reason, shown};
use crate::form::StdioForm;
use crate::limits::{StdioLimits, optional};
use crate::node::Path;
use crate::report::Report;
use crate::resource::Connection;
use crate::stdio::{CPU_RANGE, MEMORY_RANGE, StdioConnection};

/// The longest argument in bytes: what systems take of one is 128 KiB, and nobody reads that much.
const ARGUMENT_BYTES_MAX: usize = 8192;
/// The longest name of a variable in bytes.
const NAME_BYTES_MAX: usize = 128;
/// The longest value of a variable in bytes: systems take 128 KiB of one.
const VALUE_BYTES_MAX: usize = 64 << 10;

pub(super) fn compile(form: StdioForm, at: &Path, site: &Site<'_>, report: &mut Report<'_>) -> Option<Connection> {
    let limits = limits(&form, &at.key("limits"), report);
    let memory = optional(form.memory.as_ref(), MEMORY_RANGE, &at.key("memory"), report);
    let cpu = optional(form.cpu.as_ref(), CPU_RANGE, &at.key("cpu"), report);
    let env = variables(form.env.unwrap_or_default(), &at.key("env"), report, value);
    let env_files = variables(form.env_files.unwrap_or_default(), &at.key("envFiles"), report, |file| {
        path(&file, site).map_err(|message| Reason::Invalid { value: shown(&file), message: message.to_owned() })
    });
    for name in env_files.keys().filter(|name| env.contains_key(*name)) {
        let message = "the variable is in env, too: keep one of them".to_owned();
        report.push(&at.key("envFiles").key(name), Reason::Conflict { message });
    }
    let inherit = form.inherit.map(|given| inherited(given, &at.key("inherit"), report));
    let folder = form.folder.as_ref().and_then(|given| {
        let valid = path(given, site).map_err(|message| invalid(given, message));
        report.accept(&at.key("folder"), valid)
    });
    let command = command(form.command?, &at.key("command"), site, report)?;
    let isolation = form.isolation.map(Into::into).unwrap_or_default();
    let connection = StdioConnection { command, env, env_files, inherit, folder, isolation, memory, cpu, limits };
    Some(Connection::Stdio(Box::new(connection)))
}

fn command(given: Vec<Option<String>>, at: &Path, site: &Site<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    for (index, argument) in given.iter().enumerate() {
        let Some(argument) = argument else { continue };
        if let Err(message) = check_argument(argument, index == 0) {
            report.push(&at.index(index), invalid(argument, message));
        }
    }
    let mut command = given.into_iter().collect::<Option<Vec<String>>>()?;
    let program = command.first_mut()?;
    // One with a NUL was told of.
    if program.contains('/') && !program.contains('\0') {
        let found = path(program, site).map_err(|message| invalid(program, message));
        *program = report.accept(&at.index(0), found)?.into_os_string().into_string().ok()?;
    }
    Some(command)
}

fn check_argument(argument: &str, is_program: bool) -> Result<(), &'static str> {
    if argument.contains('\0') {
        return Err("an argument cannot have a NUL character");
    }
    if argument.len() > ARGUMENT_BYTES_MAX {
        return Err("an argument has at most 8192 bytes");
    }
    if is_program && (argument.is_empty() || argument.contains(char::is_whitespace) && !argument.contains('/')) {
        return Err("the first item is the program alone; each argument is an item of its own");
    }
    Ok(())
}

/// Takes over variables whose names can be ones.
fn variables<T>(
    given: BTreeMap<String, String>,
    at: &Path,
    report: &mut Report<'_>,
    value: impl Fn(String) -> Result<T, Reason>,
) -> BTreeMap<String, T> {
    let mut variables = BTreeMap::new();
    for (name, text) in given {
        let at = at.key(&name);
        let named = check_name(&name).map_err(|message| invalid(&name, message));
        let (named, value) = (report.accept(&at, named), report.accept(&at, value(text)));
        if let (Some(()), Some(value)) = (named, value) {
            variables.insert(name, value);
        }
    }
    variables
}

fn value(text: String) -> Result<Secret, Reason> {
    let hidden =
        |message: &str| Reason::Invalid { value: "its value (hidden)".to_owned(), message: message.to_owned() };
    if text.contains('\0') {
        return Err(hidden("a variable cannot have a NUL character"));
    }
    if text.len() > VALUE_BYTES_MAX {
        return Err(hidden("a variable has at most 65536 bytes"));
    }
    Ok(Secret::new(text))
}

fn inherited(given: Vec<Option<String>>, at: &Path, report: &mut Report<'_>) -> Vec<String> {
    for (index, name) in given.iter().enumerate() {
        let Some(name) = name else { continue };
        if let Err(message) = check_name(name) {
            report.push(&at.index(index), invalid(name, message));
        }
    }
    given.into_iter().flatten().collect()
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let is_letter = |char: char| char.is_ascii_alphabetic() || char == '_';
    let valid = name.starts_with(is_letter)
        && name.chars().all(|char| is_letter(char) || char.is_ascii_digit())
        && name.len() <= NAME_BYTES_MAX;
    if valid { Ok(()) } else { Err("a variable's name has letters, digits and `_`, and begins with no digit") }
}

/// Makes a path absolute: a relative one begins at the document's folder.
fn path(text: &str, site: &Site<'_>) -> Result<PathBuf, &'static str> {
    if text.is_empty() || text.contains('\0') {
        return Err("it is not a path");
    }
    std::path::absolute(site.home.path(text)?).map_err(|_| "there is no current folder to begin at")
}

fn limits(form: &StdioForm, at: &Path, report: &mut Report<'_>) -> StdioLimits {
    let Some(given) = &form.limits else { return StdioLimits::DEFAULTS };
    let mut limits = StdioLimits::compile(given, at, report);
    let order = Order { lesser: "backoff", greater: "backoffMax", at };
    order.check(&mut limits.backoff, given.backoff.is_some(), limits.backoff_max, report);
    if limits.spares > limits.children {
        let message = format!("{} is more than children ({}): it must not be", limits.spares, limits.children);
        report.push(&at.key("spares"), Reason::Conflict { message });
    }
    limits
}

fn invalid(value: &str, message: &str) -> Reason {
    Reason::Invalid { value: shown(value), message: message.to_owned() }
}
