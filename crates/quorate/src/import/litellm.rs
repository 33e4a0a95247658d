//! The configuration of a LiteLLM proxy: `config.yaml`.
//!
//! Entries of `model_list` with one name are targets of one `Model`, and where they are is a `Provider`, one for those that say the same.
//! What routers do about failures becomes priorities and limits ([`router`]). Tool servers are taken over as well. What the proxy keeps in its
//! database, and what it does with answers, has no place in resources.
//!
//! From the public documentation of LiteLLM's proxy, November 2026.

mod mcp;
mod model;
mod router;
mod target;

use serde_json::Value;

use self::model::Group;
use self::router::Router;
use super::Import;
use super::source::Part;

/// What is said of sections.
const SECTIONS: &[(&str, &str)] = &[
    ("include", "other files are not read: import them as well"),
    ("guardrails", "there are no guardrails for texts of models: tools and models are guarded by policies"),
    ("prompts", "prompts are not kept here: `spec.prompt` of a Model adds instructions"),
    ("vector_store_registry", "there are no vector stores"),
    ("credential_list", "name the variable of each key in `api_key` instead, and import again"),
    ("router_settings", "expected an object"),
    ("files_settings", "there is no API for files"),
    ("finetune_settings", "there is no API for fine-tuning"),
];

/// What is said of the settings of the server.
const GENERAL: &[(&str, &str)] = &[
    (
        "master_key",
        "there is no key for everything: make a key for each agent with `quorate keys new`, and a Policy for what it may do",
    ),
    ("database_url", "no database is needed: keys and models are resources"),
    ("database_type", "no database is needed"),
    ("database_connection_pool_limit", "no database is needed"),
    ("database_connection_timeout", "no database is needed"),
    ("store_model_in_db", "models are resources: `quorate apply` changes them while a cluster runs"),
    ("store_prompts_in_spend_logs", "prompts are not logged"),
    ("alerting", "use alerts on the metrics that a node has at /metrics"),
    ("alerting_threshold", "use alerts on the metrics that a node has at /metrics"),
    ("custom_auth", "callers are known by API keys, tokens of an Issuer or client certificates"),
    ("enable_jwt_auth", "make an Issuer with `oidc`"),
    ("litellm_jwtauth", "make an Issuer with `oidc`"),
    ("enable_oauth2_auth", "make an Issuer with `introspection`"),
    ("allowed_ips", "addresses are not checked: use a firewall, or client certificates"),
    ("allowed_routes", "use a Policy"),
    ("max_parallel_requests", "`spec.limits.concurrency` of a Listener bounds requests in progress"),
    ("global_max_parallel_requests", "`spec.limits.concurrency` of a Listener bounds requests in progress"),
    ("max_request_size_mb", "`spec.limits.body` of a Model bounds requests"),
    ("background_health_checks", "targets are judged by the calls that they get"),
    ("health_check_interval", "targets are judged by the calls that they get"),
];

/// What is said of a setting that nothing else is known of.
const SETTING: &str = "a setting of the other proxy that nothing here corresponds to";

/// Makes documents of a configuration.
pub(super) fn import(value: Value, import: &mut Import<'_>) {
    let Some(mut source) = Part::of(value, "", &mut import.notes) else { return };
    let router = Router::take(&mut source, import);
    let mut groups = Vec::<Group>::new();
    for entry in source.parts("model_list", &mut import.notes) {
        target::import(entry, &router, &mut groups, import);
    }
    router.apply(&mut groups, import);
    for group in groups {
        group.document(&router, import);
    }
    mcp::import(&mut source, import);
    if let Some(general) = source.part("general_settings", &mut import.notes) {
        general.end_with(GENERAL, SETTING, &mut import.notes);
    }
    if let Some(variables) = source.part("environment_variables", &mut import.notes) {
        for name in variables.keys() {
            // Variables hold secrets whatever they are called.
            import.notes.say(&variables.path(&name), "set it in the environment of the node");
        }
    }
    source.end(SECTIONS, &mut import.notes);
}
