//! Whether a change of the configuration changes who is known, or what they may do.
//!
//! In: the set of resources before, and the one of now. Out: whether streams and sessions that the first let in have to be
//! judged anew. What is new in the second (another toolset, another listener) has let nobody in yet, and what is gone ends
//! by itself.
//! Knows nothing of what resources name and is read from files: issuers compare that themselves.

use std::collections::HashMap;

use quorate_config::{Listener, ResourceSet, Toolset};
use quorate_types::ResourceName;

/// Tells whether the same callers are known to both, and whether what was there before lets the same ones in now.
pub(super) fn are_same(before: &ResourceSet, now: &ResourceSet) -> bool {
    before.issuers() == now.issuers()
        && before.api_keys() == now.api_keys()
        && before.tenants() == now.tenants()
        && before.policies() == now.policies()
        && toolsets_are_same(before.toolsets(), now.toolsets())
        && listeners_are_same(before.listeners(), now.listeners())
}

fn toolsets_are_same(before: &[Toolset], now: &[Toolset]) -> bool {
    let now: HashMap<&ResourceName, &Toolset> = now.iter().map(|toolset| (&toolset.name, toolset)).collect();
    let is_same = |one: &Toolset, other: &Toolset| one.tenant == other.tenant && one.access == other.access;
    before.iter().all(|before| now.get(&before.name).is_none_or(|now| is_same(before, now)))
}

fn listeners_are_same(before: &[Listener], now: &[Listener]) -> bool {
    let now: HashMap<&ResourceName, &Listener> = now.iter().map(|listener| (&listener.name, listener)).collect();
    let is_same = |one: &Listener, other: &Listener| {
        one.requires == other.requires && one.tenant == other.tenant && one.toolsets == other.toolsets
    };
    before.iter().all(|before| now.get(&before.name).is_none_or(|now| is_same(before, now)))
}

#[cfg(test)]
mod tests {
    use quorate_config::Source;

    use super::*;

    const LISTENER: &str = "kind: Listener\nname: data\nspec: { address: 127.0.0.1:0 }";
    const SERVER: &str = "kind: ToolServer\nname: files\nspec: { urls: [http://127.0.0.1:1/mcp] }";
    const TOOLSET: &str = "kind: Toolset\nname: tools\nspec: { servers: [files] }";
    const POLICY: &str = "kind: Policy\nname: access\nspec: { cedar: 'permit(principal, action, resource);' }";

    fn set(documents: &[&str]) -> ResourceSet {
        let source = Source { file: "resources.yaml".into(), text: documents.join("\n---\n") };
        quorate_config::parse(&[source]).expect("good documents")
    }

    #[test]
    fn rules_are_others_when_anything_does_that_decides_on_whoever_is_there() {
        let before = set(&[LISTENER, SERVER, TOOLSET, POLICY]);
        let policy = POLICY.replace("permit", "forbid");
        let with_spec = |text: &str, more: &str| text.replace("spec: {", &format!("spec: {{ {more},"));
        let tenant = TOOLSET.replace("spec", "tenant: acme\nspec");

        assert!(are_same(&before, &before));
        for (what, now, same) in [
            ("no policy", set(&[LISTENER, SERVER, TOOLSET]), false),
            ("another policy", set(&[LISTENER, SERVER, TOOLSET, &policy]), false),
            ("scopes", set(&[LISTENER, SERVER, &with_spec(TOOLSET, "scopes: [a]"), POLICY]), false),
            ("requires", set(&[LISTENER, SERVER, &with_spec(TOOLSET, "requires: [user]"), POLICY]), false),
            ("tenant", set(&[LISTENER, SERVER, &tenant, POLICY]), false),
            (
                "the listener's requires",
                set(&[&with_spec(LISTENER, "requires: [agent]"), SERVER, TOOLSET, POLICY]),
                false,
            ),
            (
                "the listener's toolsets",
                set(&[&with_spec(LISTENER, "toolsets: [tools]"), SERVER, TOOLSET, POLICY]),
                false,
            ),
            ("naming", set(&[LISTENER, SERVER, &with_spec(TOOLSET, "naming: bare"), POLICY]), true),
            ("no toolset", set(&[LISTENER, SERVER, POLICY]), true),
            ("another toolset", set(&[LISTENER, SERVER, TOOLSET, &TOOLSET.replace("tools", "more"), POLICY]), true),
        ] {
            assert_eq!(are_same(&before, &now), same, "{what}");
        }
    }
}
