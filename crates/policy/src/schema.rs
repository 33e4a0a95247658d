//! The Cedar schema: entity types, attributes and actions, from one table.
//!
//! Validation, the published text ([`schema_text`]) and the page of the user guide ([`schema_page`]) are made from the
//! tables here and in [`crate::action`], so that they cannot differ. The schema of a document is the same but for
//! `context.arguments`, which has what the document declares. Text is the form of Cedar's own schema language
//! (<https://docs.cedarpolicy.com/schema/human-readable-schema.html>).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::action::{Action, Group, Knows};
use crate::document::ArgumentType;
use crate::resource::Kind;

/// The entity type of whoever calls.
pub(crate) const CALLER: &str = "Caller";
/// The entity types that a caller may be in.
pub(crate) const AGENT: &str = "Agent";
pub(crate) const GROUP: &str = "Group";
pub(crate) const TENANT: &str = "Tenant";
pub(crate) const USER: &str = "User";

/// What a caller may be in, with the form of its id and what it means.
const MEMBERSHIPS: &[(&str, &str, &str)] = &[
    (AGENT, "SPIFFE id, name, or ISSUER/SUBJECT", "the workload that calls"),
    (GROUP, "NAME", "a group that a token or the tenant puts the caller into, or a group around such a group"),
    (TENANT, "NAME", "the tenant of the caller"),
    (USER, "ISSUER/SUBJECT", "the user on whose behalf the workload calls; ISSUER is the name of the `Issuer`"),
];

/// An attribute: its name, its Cedar type, whether it may be absent, what it means.
struct Attribute(&'static str, &'static str, bool, &'static str);

const CALLER_ATTRIBUTES: &[Attribute] = &[
    Attribute("tenant", "String", false, "the tenant"),
    Attribute("agent", "String", true, "the workload, as `Agent` names it"),
    Attribute("user", "String", true, "the user, as `User` names it"),
    Attribute("groups", "Set<String>", false, "all groups, those around groups included"),
    Attribute("scopes", "Set<String>", false, "the OAuth scopes of the token or key"),
    Attribute("actor", "Actor", true, "who acts for the user now: the first link of the chain"),
    Attribute("delegation", "Set<Actor>", false, "everybody who acts for the user"),
    Attribute("delegations", "Long", false, "how many act for the user, one after the other"),
];

const TENANT_ATTRIBUTE: Attribute = Attribute("tenant", "String", false, "the tenant of the toolset");
const TOOLSET_ATTRIBUTE: Attribute = Attribute("toolset", "String", false, "the toolset through which it is reached");
const SERVER_ATTRIBUTE: Attribute = Attribute("server", "String", false, "the tool server that has it");
const TAGS_ATTRIBUTE: Attribute = Attribute("tags", "Set<String>", false, "the tags that the toolset gives it");

const NAMED_ATTRIBUTES: &[Attribute] = &[
    TENANT_ATTRIBUTE,
    TOOLSET_ATTRIBUTE,
    SERVER_ATTRIBUTE,
    Attribute("name", "String", false, "its name, as the server has it"),
    Attribute("exposed", "String", false, "its name, as the toolset exposes it"),
    TAGS_ATTRIBUTE,
];

const RESOURCE_ATTRIBUTES: &[Attribute] = &[
    TENANT_ATTRIBUTE,
    TOOLSET_ATTRIBUTE,
    SERVER_ATTRIBUTE,
    Attribute("uri", "String", false, "its URI, or the template of URIs, as the server has it"),
    Attribute("exposed", "String", false, "its URI, as the toolset exposes it"),
    TAGS_ATTRIBUTE,
];

const MODEL_ATTRIBUTES: &[Attribute] = &[
    Attribute("tenant", "String", false, "the tenant of the model"),
    Attribute("name", "String", false, "the name of the `Model`"),
    Attribute("asked", "String", false, "the name by which the client asks for it"),
];

/// What `context.request` has.
const REQUEST_ATTRIBUTES: &[Attribute] = &[
    Attribute(
        "api",
        "String",
        false,
        "the API: `chat`, `responses`, `embeddings`, `messages`, `count-tokens` or `generate`",
    ),
    Attribute("audio", "Bool", false, "whether there are recordings in it"),
    Attribute("bytes", "Long", false, "the bytes of its body"),
    Attribute("documents", "Bool", false, "whether there are documents in it"),
    Attribute("images", "Bool", false, "whether there are images in it"),
    Attribute("now", "datetime", false, "the time"),
    Attribute("outputTokensMax", "Long", true, "the most tokens of the answer, where the client says so"),
    Attribute("streamed", "Bool", false, "whether the answer is to come as it is made"),
    Attribute("tools", "Bool", false, "whether it has tools that may be called"),
];

/// Returns the schema as Cedar text; `arguments` is what `context.arguments` has.
#[must_use]
pub fn schema_text(arguments: &BTreeMap<String, ArgumentType>) -> String {
    let mut text = String::from("type Actor = { issuer: String, subject: String };\n\n");
    for (name, _, _) in MEMBERSHIPS {
        line(&mut text, format_args!("entity {name};"));
    }
    let memberships: Vec<&str> = MEMBERSHIPS.iter().map(|(name, _, _)| *name).collect();
    entity(&mut text, CALLER, &memberships, CALLER_ATTRIBUTES);
    for kind in Kind::ALL {
        let (parents, attributes) = shape(kind);
        entity(&mut text, kind.as_str(), parents, attributes);
    }
    for (index, group) in Group::ALL.into_iter().enumerate() {
        line(&mut text, format_args!("{}action {:?};", if index == 0 { "\n" } else { "" }, group.as_str()));
    }
    for action in Action::ALL {
        let kinds: Vec<&str> = action.applies_to().iter().map(|kind| kind.as_str()).collect();
        let group = action.group().as_str();
        line(&mut text, format_args!("action {:?} in [{group:?}] appliesTo {{", action.as_str()));
        line(&mut text, format_args!("    principal: [{CALLER}],\n    resource: [{}],", kinds.join(", ")));
        let context = match action.knows() {
            Knows::Nothing => "{}".to_owned(),
            Knows::Arguments => context(arguments),
            Knows::Request => request(),
        };
        line(&mut text, format_args!("    context: {context},\n}};"));
    }
    text
}

/// Returns the page of the user guide that shows the schema: `docs/src/policy-schema.md`.
#[must_use]
pub fn schema_page() -> String {
    let mut page = String::from(HEAD);
    for (name, id, meaning) in MEMBERSHIPS {
        line(&mut page, format_args!("| `{name}` | {id} | {meaning} |"));
    }
    line(&mut page, format_args!("\nAttributes of `principal`:\n\n| Attribute | Type | Meaning |\n|---|---|---|"));
    attributes(&mut page, CALLER_ATTRIBUTES);
    line(&mut page, format_args!("\n## Resources"));
    for kind in Kind::ALL {
        let (parents, of) = shape(kind);
        let within = if parents.is_empty() { String::new() } else { format!(", in {}", list(parents)) };
        line(&mut page, format_args!("\n`{}::\"{}\"`{within}:\n", kind.as_str(), id(kind)));
        line(&mut page, format_args!("| Attribute | Type | Meaning |\n|---|---|---|"));
        attributes(&mut page, of);
    }
    line(&mut page, format_args!("\n## Actions\n\n| Action | Done to | Meaning |\n|---|---|---|"));
    for action in Action::ALL {
        let kinds: Vec<&str> = action.applies_to().iter().map(|kind| kind.as_str()).collect();
        line(&mut page, format_args!("| `{}` | {} | {} |", action.as_str(), list(&kinds), action.meaning()));
    }
    let groups = Group::ALL.map(|group| format!("`action in Action::{:?}`", group.as_str()));
    line(&mut page, format_args!("\nThe actions of one protocol are a group: {}.", groups.join(", ")));
    line(&mut page, format_args!("\n## What a model is asked\n"));
    line(
        &mut page,
        format_args!("`context.request` of `llm:invoke`:\n\n| Attribute | Type | Meaning |\n|---|---|---|"),
    );
    attributes(&mut page, REQUEST_ATTRIBUTES);
    line(&mut page, format_args!("\n## Arguments\n\n| In the document | In policies | In the call |\n|---|---|---|"));
    for argument in ArgumentType::ALL {
        let row = (argument.as_str(), argument.cedar(), argument.meaning());
        line(&mut page, format_args!("| `{}` | `{}` | {} |", row.0, row.1, row.2));
    }
    let text = schema_text(&BTreeMap::new());
    line(&mut page, format_args!("\n## As Cedar's schema\n\n```cedarschema\n{text}```"));
    page
}

const HEAD: &str = "\
# The schema of policies

<!-- Generated from crates/policy/src/schema.rs (`cargo run -p quorate-policy --example schema-page`); do not edit. -->

What policies can speak of. How to write them is on the page [Policies](policy.md).

## Principals

`principal` is whoever calls, always a `Caller`. It has no id of its own that a policy could name: policies say what it is
`in`.

| `principal in` | Id | Meaning |
|---|---|---|
";

fn shape(kind: Kind) -> (&'static [&'static str], &'static [Attribute]) {
    match kind {
        Kind::Toolset => (&[], &[TENANT_ATTRIBUTE, TOOLSET_ATTRIBUTE]),
        Kind::ToolServer => (&["Toolset"], &[TENANT_ATTRIBUTE, TOOLSET_ATTRIBUTE, SERVER_ATTRIBUTE]),
        Kind::Tool | Kind::Prompt => (&["ToolServer", "Toolset"], NAMED_ATTRIBUTES),
        Kind::Resource => (&["ToolServer", "Toolset", "Resource"], RESOURCE_ATTRIBUTES),
        Kind::Model => (&[], MODEL_ATTRIBUTES),
    }
}

const fn id(kind: Kind) -> &'static str {
    match kind {
        Kind::Toolset => "TOOLSET",
        Kind::ToolServer => "SERVER",
        Kind::Tool | Kind::Prompt => "SERVER/NAME",
        Kind::Resource => "SERVER/URI",
        Kind::Model => "NAME",
    }
}

fn entity(text: &mut String, name: &str, parents: &[&str], attributes: &[Attribute]) {
    let within = if parents.is_empty() { String::new() } else { format!(" in [{}]", parents.join(", ")) };
    line(text, format_args!("entity {name}{within} {{"));
    for Attribute(name, of, optional, _) in attributes {
        line(text, format_args!("    {name}{}: {of},", if *optional { "?" } else { "" }));
    }
    line(text, format_args!("}};"));
}

fn context(arguments: &BTreeMap<String, ArgumentType>) -> String {
    let declared: Vec<String> =
        arguments.iter().map(|(name, argument)| format!("{name:?}?: {}", argument.cedar())).collect();
    if declared.is_empty() {
        "{ arguments: {} }".to_owned()
    } else {
        format!("{{ arguments: {{ {} }} }}", declared.join(", "))
    }
}

fn request() -> String {
    let attribute =
        |Attribute(name, of, optional, _): &Attribute| format!("{name}{}: {of}", if *optional { "?" } else { "" });
    let attributes: Vec<String> = REQUEST_ATTRIBUTES.iter().map(attribute).collect();
    format!("{{ request: {{ {} }} }}", attributes.join(", "))
}

fn attributes(page: &mut String, attributes: &[Attribute]) {
    for Attribute(name, of, optional, meaning) in attributes {
        let absent = if *optional { "; may be absent" } else { "" };
        line(page, format_args!("| `{name}` | `{of}` | {meaning}{absent} |"));
    }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}
