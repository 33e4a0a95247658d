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
            match import.secrets.variable(&text) {
                Some(same) if same == name => inherited.push(name),
                Some(other) => {
                    let why = format!(
                        "a program has the node's variables by their own names: set {name} there to what {other} is"
                    );
                    import.notes.say(&at, why);
                    inherited.push(name);
                }
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

#[cfg(test)]
mod tests {
    use super::super::{Kind, take};
    use super::*;

    #[test]
    fn a_variable_of_another_name_is_no_value() {
        let env = json!({ "SAME": "os.environ/SAME", "OTHER": "os.environ/NAME", "CLEAR": "1" });
        let source = json!({ "mcp_servers": { "files": { "command": "x", "env": env } } });

        for with_secrets in [false, true] {
            let import = take(Kind::Litellm, source.clone(), with_secrets, &|_| None);

            let (text, notes) = (import.documents.draft(), import.notes);
            assert!(text.contains("- SAME") && text.contains("- OTHER") && !text.contains("os.environ"), "{text}");
            assert_eq!(text.contains("CLEAR: \"1\""), with_secrets, "{text}");
            assert!(notes.covers("mcp_servers.files.env.OTHER"), "{}", notes.text());
            assert!(!notes.text().contains("env.SAME"), "{}", notes.text());
        }
    }
}
