//! Providers and models as documents: what they say is what comes out, and what they leave out is the preset's.
//!
//! What is refused, and how, is among the documents of `documents/refused`.

use std::path::Path;

use quorate_config::{Condition, Credential, Model, Prompt, Provider, ResourceSet, TargetModel, load};
use quorate_llm::Api;
use quorate_llm::edit::{Change, Edit};
use quorate_llm::preset::Preset;
use quorate_types::ByteSize;

fn set() -> ResourceSet {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents/accepted/models.yaml");
    load(&[file]).unwrap_or_else(|errors| panic!("{errors}"))
}

fn provider<'a>(set: &'a ResourceSet, name: &str) -> &'a Provider {
    set.providers().iter().find(|one| one.name.as_str() == name).expect("it is there")
}

fn model<'a>(set: &'a ResourceSet, name: &str) -> &'a Model {
    set.models().iter().find(|one| one.name.as_str() == name).expect("it is there")
}

#[test]
fn a_preset_fills_in_what_a_provider_leaves_out() {
    let set = set();
    let openai = provider(&set, "openai");

    assert_eq!((openai.preset, openai.url.as_str()), (Preset::OpenAi, "https://api.openai.com/v1"));
    assert_eq!(openai.apis, [Api::Chat, Api::Responses, Api::Embeddings]);
    assert_eq!((openai.keys.len(), &openai.credential), (2, &Credential::None));
    assert_eq!(openai.path(Api::Chat, "any", true).as_deref(), Some("chat/completions"));
    assert_eq!(openai.path(Api::Messages, "any", false).as_deref(), Some("messages"));
}

#[test]
fn what_a_provider_says_comes_before_its_preset() {
    let set = set();
    let (gpus, azure) = (provider(&set, "gpus"), provider(&set, "azure"));

    assert_eq!(gpus.apis, [Api::Responses, Api::Chat]);
    assert!(gpus.tls.ca.as_ref().is_some_and(|ca| ca.is_absolute() || ca.ends_with("ca.pem")));
    let path = azure.path(Api::Chat, "mini model", false);
    assert_eq!(azure.url.as_str(), "https://mesh.openai.azure.com/openai");
    assert_eq!(path.as_deref(), Some("deployments/mini%20model/chat/completions?api-version=2026-01-01-preview"));
}

#[test]
fn what_a_model_says_is_what_comes_out() {
    let set = set();
    let fast = model(&set, "fast");
    let edit = |name: &str, change| Edit { name: name.to_owned(), change };

    let [openai, azure, claude] = &fast.targets[..] else { panic!("three targets") };
    assert_eq!((openai.weight, openai.priority, openai.price), (3, 0, None));
    assert_eq!(openai.model, TargetModel::Named("gpt-5.4-mini".to_owned()));
    assert_eq!((azure.weight, azure.when == Condition::default(), azure.price.is_some()), (0, true, true));
    assert_eq!((claude.priority, claude.when.images, claude.when.body_max), (1, Some(false), Some(ByteSize::mib(1))));
    assert!(claude.when.headers[0].1.matches("gold") && !claude.when.headers[0].1.matches("silver"));
    let changes = [
        edit("user", Change::Set("null".to_owned())),
        edit("reasoning.effort", Change::Default("\"low\"".to_owned())),
        edit("temperature", Change::Default("0.2".to_owned())),
        edit("logit_bias", Change::Remove),
    ];
    assert_eq!(fast.parameters, changes);
    let prompt = Prompt { before: Some("Be brief.".to_owned()), after: Some("Answer in English.".to_owned()) };
    assert_eq!(fast.prompt, prompt);
    assert_eq!(fast.cache.map(|cache| cache.ttl.as_secs()), Some(3600));
    assert_eq!((fast.breaker.failures, fast.limits.retries, fast.limits.body), (2, 0, ByteSize::mib(1)));
}

#[test]
fn a_name_fits_exactly_before_it_fits_a_pattern_and_stars_are_passed_on() {
    let set = set();
    let (plain, fast, own) = (model(&set, "plain"), model(&set, "fast"), model(&set, "own"));

    assert!(plain.fits("plain") > fast.fits("gpt-5") && fast.fits("gpt-5") > None);
    assert_eq!((fast.fits("claude"), own.fits("acme")), (None, None));
    let TargetModel::Renamed(renaming) = &own.targets[0].model else { panic!("it has a star") };
    let captured = own.names[0].captures("acme/llama").expect("it matches");
    assert_eq!(renaming.apply(&captured), "llama-instruct");
}

#[test]
fn files_that_providers_name_are_watched() {
    let files = set().named_files();
    let is_there = |name: &str| files.iter().any(|file| file.ends_with(name));

    assert!(is_there("run/secrets/openai") && is_there("run/secrets/claude") && is_there("ca.pem"), "{files:?}");
    assert!(is_there("prices.yaml"), "{files:?}");
}
