//! The `ApiKey` document as `quorate keys` reads and writes it.
//!
//! Written in one form only, so that a file in that form can be replaced without losing anything of it. Texts that could
//! be read as numbers or times are quoted: other programs read YAML too.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use quorate_identity::api_key::{Config, Id, Mac, SECRETS_MAX, Secret};
use quorate_types::{ResourceName, TenantId, Timestamp, rfc3339};
use serde::{Deserialize, Deserializer, de};

const KIND: &str = "ApiKey";
/// The deepest value of such a document is at 4; other documents of the file may be deeper, as a node reads them.
const DEPTH_MAX: usize = 32;

/// An `ApiKey` document.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(rename = "kind")]
    _kind: String,
    name: ResourceName,
    #[serde(default)]
    tenant: TenantId,
    spec: Spec,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    agent: Option<ResourceName>,
    #[serde(default)]
    scopes: Vec<String>,
    keys: Vec<Key>,
}

/// One key of a document.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Key {
    #[serde(deserialize_with = "parsed")]
    pub(super) id: Id,
    #[serde(deserialize_with = "parsed")]
    pub(super) hmac: Mac,
    #[serde(default, deserialize_with = "time")]
    pub(super) expires: Option<Timestamp>,
    #[serde(default, deserialize_with = "time")]
    pub(super) not_before: Option<Timestamp>,
}

/// Finds the `ApiKey` document of a file, by its name where there are several.
pub(super) fn find(text: &str, name: Option<&ResourceName>) -> Result<Document, String> {
    let mut found = Vec::new();
    for (value, number) in documents(text)?.into_iter().zip(1..) {
        let named = name.is_none_or(|name| value["name"] == name.as_str());
        if value["kind"] == KIND && named {
            let document: Document =
                serde_json::from_value(value).map_err(|error| format!("document {number}: {error}"))?;
            found.push(document);
        }
    }
    match (found.len(), name) {
        (1, _) => found.pop().ok_or_else(String::new),
        (0, None) => Err(format!("there is no document of kind {KIND}")),
        (0, Some(name)) => Err(format!("there is no document {KIND}/{name}")),
        (count, None) => Err(format!("there are {count} documents of kind {KIND}: name one with `--name`")),
        (count, Some(name)) => Err(format!("there are {count} documents {KIND}/{name}")),
    }
}

fn documents(text: &str) -> Result<Vec<serde_json::Value>, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    let mut reader = text.as_bytes();
    let documents = serde_saphyr::read_with_options(&mut reader, options).collect::<Result<_, _>>();
    documents.map_err(|error| {
        let text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
        format!("is not valid YAML: {text}")
    })
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: std::fmt::Display>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| rfc3339::parse(&text)).transpose().map_err(de::Error::custom)
}

// === impl Document ===

impl Document {
    pub(super) fn new(
        name: &ResourceName,
        tenant: &TenantId,
        agent: Option<&ResourceName>,
        scopes: &[String],
        key: Key,
    ) -> Self {
        let spec = Spec { agent: agent.cloned(), scopes: scopes.to_vec(), keys: vec![key] };
        Self { _kind: KIND.to_owned(), name: name.clone(), tenant: tenant.clone(), spec }
    }

    /// Adds a key and gives the present ones an end; returns those that had ended, which are removed.
    pub(super) fn rotate(&mut self, key: Key, now: Timestamp, overlap: Duration) -> Result<Vec<Id>, String> {
        let has_ended = |key: &mut Key| key.expires.is_some_and(|expires| expires <= now);
        let removed = self.spec.keys.extract_if(.., has_ended).map(|key| key.id).collect();
        let count = self.spec.keys.len();
        if count >= SECRETS_MAX {
            let first = self.spec.keys.iter().filter_map(|key| key.expires).min();
            let first =
                first.map_or_else(String::new, |first| format!(", and the first ends at {}", rfc3339::format(first)));
            return Err(format!("{count} keys are good yet{first}; allowed are {SECRETS_MAX} with the new one"));
        }
        let end = now + overlap;
        for present in &mut self.spec.keys {
            present.expires = Some(present.expires.map_or(end, |expires| expires.min(end)));
        }
        self.spec.keys.push(key);
        Ok(removed)
    }

    pub(super) fn to_config(&self) -> Config {
        let secret = |key: &Key| Secret { id: key.id, mac: key.hmac, not_before: key.not_before, expires: key.expires };
        Config {
            name: self.name.clone(),
            tenant: self.tenant.clone(),
            agent: self.spec.agent.clone().unwrap_or_else(|| self.name.clone()),
            scopes: self.spec.scopes.iter().cloned().collect(),
            groups: std::collections::BTreeSet::new(),
            secrets: self.spec.keys.iter().map(secret).collect(),
        }
    }

    /// Writes the document.
    pub(super) fn to_yaml(&self) -> String {
        let mut yaml = format!("kind: {KIND}\nname: {}\n", quoted(self.name.as_str()));
        if self.tenant != TenantId::default() {
            yaml.push_str(&format!("tenant: {}\n", quoted(self.tenant.as_str())));
        }
        yaml.push_str("spec:\n");
        if let Some(agent) = &self.spec.agent {
            yaml.push_str(&format!("  agent: {}\n", quoted(agent.as_str())));
        }
        if !self.spec.scopes.is_empty() {
            let scopes: Vec<String> = self.spec.scopes.iter().map(|scope| quoted(scope)).collect();
            yaml.push_str(&format!("  scopes: [{}]\n", scopes.join(", ")));
        }
        yaml.push_str("  keys:\n");
        for key in &self.spec.keys {
            key.write(&mut yaml);
        }
        yaml
    }
}

// === impl Key ===

impl Key {
    fn write(&self, yaml: &mut String) {
        let mut line =
            |name: &str, value: &str| writeln!(yaml, "{name}: \"{value}\"").expect("a String takes all text");
        line("    - id", &self.id.to_string());
        line("      hmac", &self.hmac.to_string());
        if let Some(not_before) = self.not_before {
            line("      notBefore", &rfc3339::format(not_before));
        }
        if let Some(expires) = self.expires {
            line("      expires", &rfc3339::format(expires));
        }
    }
}

/// Writes a text as a JSON string, which is one of YAML too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn key(letter: char, expires: Option<Timestamp>) -> Key {
        let id = letter.to_string().repeat(12).parse().expect("an id");
        Key { id, hmac: Mac([7; 32]), expires, not_before: None }
    }

    fn name(text: &str) -> ResourceName {
        ResourceName::new(text).expect("a valid name")
    }

    fn document() -> Document {
        let tenant = TenantId::new("acme").expect("a valid name");
        let scopes = ["tools:read".to_owned(), "a'b".to_owned()];
        Document::new(&name("ci"), &tenant, Some(&name("builder")), &scopes, key('a', Some(NOW + DAY)))
    }

    #[test]
    fn a_document_is_written_as_the_documentation_shows() {
        let hmac = "07".repeat(32);
        let expected = format!(
            r#"kind: ApiKey
name: "ci"
tenant: "acme"
spec:
  agent: "builder"
  scopes: ["tools:read", "a'b"]
  keys:
    - id: "aaaaaaaaaaaa"
      hmac: "{hmac}"
      expires: "2027-01-16T08:00:00Z"
"#
        );
        assert_eq!(document().to_yaml(), expected);

        let small = Document::new(&name("ci"), &TenantId::default(), None, &[], key('b', None));
        let expected =
            format!("kind: ApiKey\nname: \"ci\"\nspec:\n  keys:\n    - id: \"bbbbbbbbbbbb\"\n      hmac: \"{hmac}\"\n");
        assert_eq!(small.to_yaml(), expected);
    }

    #[test]
    fn a_document_reads_back_also_among_others() {
        let mut written = document();
        written.spec.keys.push(Key { not_before: Some(NOW), ..key('b', None) });
        assert_eq!(find(&written.to_yaml(), None), Ok(written.clone()));

        let other = Document::new(&name("cron"), &TenantId::default(), None, &[], key('c', None));
        let file = format!("kind: Toolset\nname: ci\n---\n{}---\n# old\n{}", other.to_yaml(), written.to_yaml());
        assert_eq!(find(&file, Some(&name("ci"))), Ok(written));
        let several = find(&file, None).expect_err("there are two");
        assert_eq!(several, "there are 2 documents of kind ApiKey: name one with `--name`");
        assert!(find(&file, Some(&name("none"))).is_err_and(|error| error.contains("ApiKey/none")));
    }

    #[test]
    fn what_is_no_such_document_is_told_without_repeating_what_may_be_a_key() {
        let good = document().to_yaml();
        let cases = [
            (good.replace("aaaaaaaaaaaa", "qk_aaaaaaaaaaaa"), "the id of an API key has 12 characters"),
            (good.replace("0707", "secret"), "the HMAC of an API key has 64 hexadecimal digits"),
            (good.replace("2027-01-16T08", "tomorrow"), "is not a time"),
            (good.replace("expires", "expire"), "unknown field `expire`"),
            (good.replace("\"ci\"", "\"CI\""), "is not allowed"),
            (good.replace("kind: ApiKey", "kind: Apikey"), "there is no document of kind ApiKey"),
            (format!("{good}{good}"), "is not valid YAML"),
            ("a: [".to_owned(), "is not valid YAML"),
        ];
        for (text, expected) in cases {
            let error = find(&text, None).expect_err(expected);
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn rotation_ends_the_present_keys_and_removes_those_that_had_ended() {
        let mut rotated = document();
        rotated.spec.keys = vec![key('a', Some(NOW)), key('b', Some(NOW + DAY)), key('c', None)];

        let removed = rotated.rotate(key('d', None), NOW, 7 * DAY);

        assert_eq!(removed, Ok(vec![key('a', None).id]));
        let ends: Vec<Option<Timestamp>> = rotated.spec.keys.iter().map(|key| key.expires).collect();
        assert_eq!(ends, [Some(NOW + DAY), Some(NOW + 7 * DAY), None]);
    }

    #[test]
    fn a_document_has_no_more_keys_than_a_node_takes() {
        let mut full = document();
        full.spec.keys = ['a', 'b', 'c', 'd'].map(|letter| key(letter, Some(NOW + DAY))).into();
        let before = full.clone();
        let error = full.rotate(key('e', None), NOW, DAY).expect_err("there is no place");
        assert_eq!(
            error,
            "4 keys are good yet, and the first ends at 2027-01-16T08:00:00Z; allowed are 4 with the new one"
        );
        assert_eq!(full, before);
    }
}
