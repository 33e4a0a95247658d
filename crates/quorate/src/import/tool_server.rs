//! Tool servers as other gateways name them, and the `ToolServer` documents of them.
//!
//! In: parts of a source that say how a server is reached and what it is shown. Out: parts of specs.

use serde_json::{Map, Value, json};

use super::Import;
use super::source::Part;

/// Takes headers, whose values may be secrets; `wanted` is what variables are called like.
pub(super) fn headers(part: &mut Part, key: &str, wanted: &str, import: &mut Import<'_>) -> Map<String, Value> {
    let mut headers = Map::new();
    let Some(mut given) = part.part(key, &mut import.notes) else { return headers };
    for name in given.keys() {
        let at = given.path(&name);
        if let Some(text) = given.text(&name, &mut import.notes) {
            let value = import.secrets.write(&text, &at, &format!("{wanted} {name}"), &mut import.notes);
            headers.insert(name.to_ascii_lowercase(), value.into());
        }
    }
    headers
}

/// Takes a program: what is started, with which arguments and variables.
pub(super) fn program(part: &mut Part, command: &str, wanted: &str, import: &mut Import<'_>) -> Option<Value> {
    let mut words: Vec<String> = part.text(command, &mut import.notes).into_iter().collect();
    words.extend(part.texts("args", &mut import.notes));
    if words.first().is_none_or(String::is_empty) {
        import.notes.say(part.at(), "it names no program: it is left out");
        return None;
    }
    let mut stdio = json!({ "command": words });
    let (mut env, mut inherited) = (Map::new(), Vec::new());
    if let Some(mut given) = part.part("env", &mut import.notes) {
        for name in given.keys() {
            let at = given.path(&name);
            let Some(text) = given.text(&name, &mut import.notes) else { continue };
            match variable(&text, &name, import) {
                Some(()) => inherited.push(name),
                None if !import.secrets.are_kept() => {
                    let why = format!(
                        "the value is not written: set {name} in the environment of the node, which hands it on, or use `--with-secrets`"
                    );
                    import.notes.say(&at, why);
                    inherited.push(name);
                }
                None => {
                    env.insert(name, text.into());
                }
            }
        }
    }
    if !env.is_empty() {
        stdio["env"] = Value::Object(env);
    }
    if !inherited.is_empty() {
        // The list is instead of the variables that a program gets by default, which it needs as well.
        let all = ["HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER"].map(str::to_owned);
        let others = inherited.into_iter().filter(|name| !all.contains(name)).collect::<Vec<_>>();
        let all: Vec<String> = all.iter().cloned().chain(others).collect();
        stdio["inherit"] = json!(all);
    }
    import
        .notes
        .say(part.at(), format!("{wanted} is started by the node: in an empty folder, and with few of its variables"));
    Some(stdio)
}

/// Whether the value of a variable is what the node has in a variable of the same name.
fn variable(text: &str, name: &str, import: &Import<'_>) -> Option<()> {
    (import.secrets.variable(text)? == name).then_some(())
}
