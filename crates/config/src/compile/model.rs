//! What makes the spec of a `Model` valid.
//!
//! Whether its providers exist is the set's to check. A name that two models have is, too; here it is what a name may be, and that each
//! of a target's words has something to stand for.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use http::HeaderName;
use quorate_llm::classify::MODEL_CHARS_MAX;
use quorate_llm::edit::{Change, Edit};
use quorate_llm::price::{Listed, Price};
use quorate_mcp::curate::pattern::{Pattern, Renaming};
use quorate_types::{ByteSize, ResourceName};
use serde_json::{Number, Value};

use super::{Head, Order, Site, parsed};
use crate::error::{Reason, shown};
use crate::form::model::{
    ConditionForm, ModelForm, PRIORITY_MAX, ParametersForm, PriceForm, PromptForm, TargetForm, WEIGHT_MAX,
};
use crate::limits::{BreakerConfig, CacheConfig, Limit as _, ModelLimits};
use crate::node::Path;
use crate::report::Report;
use crate::resource::{Condition, Model, Prompt, Target, TargetModel};

/// The longest instructions that are added, in bytes: every call carries them.
const PROMPT_BYTES_MAX: usize = 64 << 10;
/// Parameters that say what is asked, and are nobody's to change.
const FIXED: [&str; 8] =
    ["model", "messages", "input", "contents", "stream", "stream_options", "system", "instructions"];

pub(super) fn compile(head: Head, form: &ModelForm, site: &Site<'_>, report: &mut Report<'_>) -> Option<Model> {
    let at = &site.at;
    let names = names(form, &head.name, &at.key("names"), report);
    let parameters = form.parameters.as_ref();
    let parameters = parameters.map(|given| self::parameters(given, &at.key("parameters"), report));
    let prompt = form.prompt.as_ref().map(|given| prompt(given, &at.key("prompt"), report));
    let cache = form.cache.as_ref().map(|given| cache(given, &at.key("cache"), report));
    let breaker = match &form.breaker {
        Some(given) => {
            let at = at.key("breaker");
            let mut breaker = BreakerConfig::compile(given, &at, report);
            let order = Order { lesser: "ejectBase", greater: "ejectMax", at: &at };
            order.check(&mut breaker.eject_base, given.eject_base.is_some(), breaker.eject_max, report);
            breaker
        }
        None => BreakerConfig::DEFAULTS,
    };
    let limits = form.limits.as_ref().map(|given| ModelLimits::compile(given, &at.key("limits"), report));
    let at = at.key("targets");
    let given = form.targets.as_ref()?.iter().enumerate();
    let targets = given.filter_map(|(index, form)| target(form.as_ref()?, &names, &at.index(index), report)).collect();
    Some(Model {
        name: head.name,
        tenant: head.tenant,
        names,
        targets,
        parameters: parameters.unwrap_or_default(),
        prompt: prompt.unwrap_or_default(),
        cache,
        breaker,
        limits: limits.unwrap_or(ModelLimits::DEFAULTS),
    })
}

fn names(form: &ModelForm, own: &ResourceName, at: &Path, report: &mut Report<'_>) -> Vec<Pattern> {
    let Some(given) = &form.names else { return Pattern::parse(own.as_str()).into_iter().collect() };
    let texts = given.iter().enumerate().filter_map(|(index, text)| Some((index, text.as_deref()?)));
    texts.filter_map(|(index, text)| report.accept(&at.index(index), parsed(text, Pattern::parse))).collect()
}

fn target(form: &TargetForm, names: &[Pattern], at: &Path, report: &mut Report<'_>) -> Option<Target> {
    let model = match form.model.as_deref() {
        None => Some(TargetModel::AsAsked),
        Some(text) => target_model(text, names, &at.key("model"), report),
    };
    let weight = whole(form.weight.as_ref(), 1, WEIGHT_MAX, &at.key("weight"), report);
    let priority = whole(form.priority.as_ref(), 0, PRIORITY_MAX, &at.key("priority"), report);
    let when = form.when.as_ref().map(|given| condition(given, &at.key("when"), report));
    let price = form.price.as_ref().map(|given| price(given, &at.key("price"), report));
    let provider = report.accept(&at.key("provider"), parsed(form.provider.as_deref()?, ResourceName::new))?;
    Some(Target {
        provider,
        model: model?,
        weight,
        priority: u8::try_from(priority).unwrap_or(u8::MAX),
        when: when.unwrap_or_default(),
        price: price.flatten(),
    })
}

fn target_model(text: &str, names: &[Pattern], at: &Path, report: &mut Report<'_>) -> Option<TargetModel> {
    let renaming = report.accept(at, parsed(text, Renaming::parse))?;
    if let Some(name) = renaming.as_name() {
        if name.chars().count() > MODEL_CHARS_MAX {
            let (found, max) = (format!("{} characters", name.chars().count()), MODEL_CHARS_MAX.to_string());
            report.push(at, Reason::TooMuch { what: "the name of a model", found, max });
        }
        return Some(TargetModel::Named(name.to_owned()));
    }
    let stars = renaming.wildcards();
    if let Some(name) = names.iter().find(|name| name.wildcards() != stars) {
        let (found, name) = (name.wildcards(), name.as_str());
        let message = format!("each * stands for what a * of the model's names is, of which {name:?} has {found}");
        report.push(at, Reason::Invalid { value: shown(text), message });
    }
    Some(TargetModel::Renamed(renaming))
}

fn whole(given: Option<&Number>, default: u32, max: u32, at: &Path, report: &mut Report<'_>) -> u32 {
    let Some(given) = given else { return default };
    report.accept(at, u32::read(given, 0, max)).unwrap_or(default)
}

fn condition(form: &ConditionForm, at: &Path, report: &mut Report<'_>) -> Condition {
    let mut headers = Vec::new();
    for (name, value) in form.headers.iter().flatten() {
        let at = at.key("headers").key(name);
        let header = HeaderName::from_str(name)
            .map_err(|_| Reason::Invalid { value: shown(name), message: "it is no name of a header".to_owned() });
        let (header, value) = (report.accept(&at, header), report.accept(&at, parsed(value, Pattern::parse)));
        headers.extend(header.zip(value));
    }
    let mut size = |key: &str, given: &Option<String>| {
        let read = |text: &String| ByteSize::read(text, ByteSize::kib(0), ByteSize::mib(64));
        given.as_ref().and_then(|text| report.accept(&at.key(key), read(text)))
    };
    let (body_min, body_max) = (size("bodyMin", &form.body_min), size("bodyMax", &form.body_max));
    if let (Some(min), Some(max)) = (body_min, body_max)
        && min > max
    {
        let message = format!("{min} is more than bodyMax ({max}): nothing is both");
        report.push(&at.key("bodyMin"), Reason::Conflict { message });
    }
    let ConditionForm { tools, images, audio, documents, .. } = *form;
    let condition = Condition { headers, body_min, body_max, tools, images, audio, documents };
    if condition.is_empty() && form.headers.is_none() && form.body_min.is_none() && form.body_max.is_none() {
        let message = "it says nothing, and would hold for everything: leave it away".to_owned();
        report.push(at, Reason::Invalid { value: "{}".to_owned(), message });
    }
    condition
}

pub(crate) fn price(form: &PriceForm, at: &Path, report: &mut Report<'_>) -> Option<Price> {
    let listed = Listed {
        input: form.input?,
        output: form.output?,
        cached_input: form.cached_input,
        cache_write: form.cache_write,
        input_audio: form.input_audio,
        output_audio: form.output_audio,
        reasoning: form.reasoning,
    };
    match Price::of("", &listed) {
        Ok(price) => Some(price),
        Err(error) => {
            let (value, max) = (error.found.to_string(), quorate_llm::price::DOLLARS_PER_MILLION_MAX.to_string());
            report.push(&at.key(error.field), Reason::OutOfRange { value, min: "0".to_owned(), max });
            None
        }
    }
}

fn parameters(form: &ParametersForm, at: &Path, report: &mut Report<'_>) -> Vec<Edit> {
    let mut edits: Vec<(Edit, Path)> = Vec::new();
    let mut add = |name: &str, change: Change, at: Path, report: &mut Report<'_>| {
        if let Err(message) = check_parameter(name) {
            report.push(&at, Reason::Invalid { value: shown(name), message });
        } else if let Some((_, first)) = edits.iter().find(|(edit, _)| edit.name == name) {
            report.push(&at, Reason::Repeated { value: shown(name), first: first.to_string() });
        } else {
            edits.push((Edit { name: name.to_owned(), change }, at));
        }
    };
    let values = |given: &Option<BTreeMap<String, Value>>| -> Vec<(String, String)> {
        given.iter().flatten().map(|(name, value)| (name.clone(), value.to_string())).collect()
    };
    for (name, value) in values(&form.overrides) {
        add(&name, Change::Set(value), at.key("overrides").key(&name), report);
    }
    for (name, value) in values(&form.defaults) {
        add(&name, Change::Default(value), at.key("defaults").key(&name), report);
    }
    for (index, name) in form.remove.iter().flatten().enumerate() {
        let Some(name) = name else { continue };
        add(name, Change::Remove, at.key("remove").index(index), report);
    }
    edits.into_iter().map(|(edit, _)| edit).collect()
}

/// Whether a name is one of a parameter that a `Model` changes: a name, or two with a dot between them.
///
/// # Errors
/// What is wrong with it.
pub fn check_parameter(name: &str) -> Result<(), String> {
    let (outer, inner) = name.split_once('.').map_or((name, None), |(outer, inner)| (outer, Some(inner)));
    if FIXED.contains(&outer) {
        return Err(format!("{outer} says what is asked, and is not a parameter"));
    }
    if outer.is_empty() || inner.is_some_and(|inner| inner.is_empty() || inner.contains('.')) {
        return Err("a parameter is a name, or two with a dot between them".to_owned());
    }
    Ok(())
}

fn prompt(form: &PromptForm, at: &Path, report: &mut Report<'_>) -> Prompt {
    let mut text = |key: &'static str, given: &Option<String>| {
        let text = given.as_ref()?;
        if text.trim().is_empty() {
            let message = "it says nothing: leave it away".to_owned();
            report.push(&at.key(key), Reason::Invalid { value: shown(text), message });
        }
        if text.len() > PROMPT_BYTES_MAX {
            let (found, max) = (format!("{} bytes", text.len()), PROMPT_BYTES_MAX.to_string());
            report.push(&at.key(key), Reason::TooMuch { what: "the text", found, max });
        }
        Some(text.clone())
    };
    Prompt { before: text("before", &form.before), after: text("after", &form.after) }
}

fn cache(form: &crate::limits::CacheForm, at: &Path, report: &mut Report<'_>) -> CacheConfig {
    let cache = CacheConfig::compile(form, at, report);
    if cache.answer > cache.total {
        let message = format!("{} is more than total ({}): nothing would be kept", cache.answer, cache.total);
        report.push(&at.key("answer"), Reason::Conflict { message });
    }
    cache
}
