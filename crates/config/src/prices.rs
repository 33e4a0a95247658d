//! Files with what tokens of models cost, which providers name.
//!
//! ```yaml
//! gpt-5-mini: { input: 0.25, output: 2, cachedInput: 0.025 }
//! gpt-5*: { input: 1.25, output: 10 }
//! ```
//!
//! In: a file, YAML or JSON (`.json`). Out: a [`Catalog`] by the names that models have at the provider, or every problem of the file,
//! with its line, the model, the key, the value and what is allowed. The prices are those of a target's `price`, by the same schema.

use std::path::Path as FilePath;

use quorate_llm::classify::MODEL_CHARS_MAX;
use quorate_llm::price::{Catalog, Price};

use crate::compile::model::price;
use crate::error::{Errors, Place, Problem, Reason, shown};
use crate::form::model::PriceForm;
use crate::node::{self, Node, Path};
use crate::read::{self, problem};
use crate::report::Report;
use crate::secret::read_bounded;
use crate::{schema, shape};

/// The largest file: one with the most models, each with all prices, has 1.5 MiB.
pub const BYTES_MAX: u64 = 2 << 20;
/// The most models of a file; all that are sold today are some thousands.
pub const MODELS_MAX: usize = 10_000;

/// Reads a file. It blocks, and is called away from the threads that serve requests.
///
/// # Errors
/// [`Errors`] has every problem of the file.
pub fn load(file: &FilePath) -> Result<Catalog, Errors> {
    match read_bounded(file, BYTES_MAX) {
        Ok(text) => parse(file, &text),
        Err(message) => Err(one(problem(place(file), Reason::Unreadable { message }))),
    }
}

/// Reads the text of a file.
///
/// # Errors
/// [`Errors`] has every problem of it.
pub(crate) fn parse(file: &FilePath, text: &str) -> Result<Catalog, Errors> {
    let mut documents = node::parse(text, read::format_of(file)).into_iter();
    let root = match (documents.next(), documents.next()) {
        (Some(Ok(root)), None) => root,
        (Some(Err(error)), _) => {
            let place = Place { line: error.line, ..place(file) };
            return Err(one(problem(place, Reason::Syntax { message: error.message })));
        }
        (None, _) => {
            let message = "it has nothing in it: write {} for no prices".to_owned();
            return Err(one(problem(place(file), Reason::Syntax { message })));
        }
        (Some(Ok(_)), Some(_)) => {
            let message = "it has more than one document: prices are one object".to_owned();
            return Err(one(problem(place(file), Reason::Syntax { message })));
        }
    };
    let mut problems = Vec::new();
    let prices = prices(&root, &mut Report::new(place(file), &root, &mut problems));
    problems.sort_by_key(|problem| problem.place.line);
    Errors::of(problems).map_or_else(|| Ok(Catalog::new(prices)), Err)
}

fn prices(root: &Node, report: &mut Report<'_>) -> Vec<(String, Price)> {
    let checked = shape::check(root, schema::of_prices(), &Path::default(), report);
    let mut prices = Vec::new();
    let Some(serde_json::Value::Object(models)) = checked else { return prices };
    for (model, listed) in models {
        let at = Path::default().key(&model);
        check_name(&model, &at, report);
        // The shape has left nothing over that the form does not take.
        let form: Option<PriceForm> = serde_json::from_value(listed).ok();
        prices.extend(form.and_then(|form| price(&form, &at, report)).map(|price| (model, price)));
    }
    prices
}

fn check_name(model: &str, at: &Path, report: &mut Report<'_>) {
    let (prefix, characters) = (model.strip_suffix('*').unwrap_or(model), model.chars().count());
    let message = if prefix.contains('*') {
        "a * stands at the end alone, for whatever a name goes on with".to_owned()
    } else if model.is_empty() || characters > MODEL_CHARS_MAX {
        format!("the name of a model has 1 to {MODEL_CHARS_MAX} characters")
    } else {
        return;
    };
    report.push(at, Reason::Invalid { value: shown(model), message });
}

fn place(file: &FilePath) -> Place {
    Place { file: Some(file.to_path_buf()), ..Place::default() }
}

fn one(problem: Problem) -> Errors {
    Errors::of(vec![problem]).expect("there is one")
}

#[cfg(test)]
mod tests {
    use quorate_llm::answer::Usage;
    use quorate_llm::price::Cost;

    use super::*;

    fn parsed(file: &str, text: &str) -> Result<Catalog, String> {
        parse(FilePath::new(file), text).map_err(|errors| errors.to_string())
    }

    #[test]
    fn prices_are_by_name_in_either_form() {
        let yaml =
            "gpt-5-mini: { input: 0.25, output: 2, cachedInput: 0.025 }\n\"gpt-5*\": { input: 1.25, output: 10 }\n";
        let json =
            r#"{"gpt-5-mini":{"input":0.25,"output":2,"cachedInput":0.025},"gpt-5*":{"input":1.25,"output":10}}"#;
        let usage = Usage { input: 1_000, output: 100, ..Usage::default() };

        for (file, text) in [("prices.yaml", yaml), ("prices.json", json)] {
            let catalog = parsed(file, text).expect("they are prices");
            let cost = |model: &str| catalog.price(model).map(|price| price.cost(&usage));
            assert_eq!(cost("gpt-5-mini"), Some(Cost(450_000)), "{file}");
            assert_eq!(cost("gpt-5-nano"), Some(Cost(2_250_000)), "{file}");
            assert_eq!(cost("gpt-4"), None, "{file}");
        }
        assert_eq!(parsed("none.yaml", "{}"), Ok(Catalog::default()));
    }

    #[test]
    fn what_is_no_price_is_named_with_its_model_and_what_is_allowed() {
        for (text, expected) in [
            ("a: { input: 1, output: -2 }", "p.yaml:1: a.output: -2 is out of range: allowed is 0 to 100000"),
            ("a: { input: 1, output: .inf }", "p.yaml:1: is not valid YAML: value `.inf` is not a finite number"),
            ("\na-b: { input: 1 }", "p.yaml:2: [\"a-b\"].output: is missing: Of output."),
            (
                "a: { input: 1, output: 2, cached: 1 }",
                "p.yaml:1: a.cached: unknown key \"cached\"; allowed here: input, output, cachedInput, cacheWrite, inputAudio, outputAudio, reasoning",
            ),
            (
                "a: { input: 1, output: much }",
                "p.yaml:1: a.output: expected a number, found \"much\": write it without quotes",
            ),
            ("a: 1", "p.yaml:1: a: expected an object, found 1"),
            (
                "\"a*b\": { input: 1, output: 1 }",
                "p.yaml:1: [\"a*b\"]: \"a*b\" is not valid: a * stands at the end alone",
            ),
            ("\"\": { input: 1, output: 1 }", "the name of a model has 1 to 256 characters"),
            ("[]", "p.yaml:1: expected an object, found a list"),
            ("", "p.yaml: it has nothing in it"),
            ("{}\n---\n{}", "p.yaml: it has more than one document"),
            ("a: { input: 1, output: 1 }\na: { input: 1, output: 1 }", "p.yaml:"),
        ] {
            let found = parsed("p.yaml", text).expect_err(text);
            assert!(found.contains(expected), "{text}\n{found}");
        }
    }

    #[test]
    fn files_have_a_largest_size_and_number_of_models() {
        let models: Vec<String> = (0..=MODELS_MAX).map(|n| format!("\"m{n}\":{{\"input\":1,\"output\":1}}")).collect();
        let text = |models: &[String]| format!("{{{}}}", models.join(","));

        assert!(parsed("p.json", &text(&models[1..])).is_ok());
        let found = parsed("p.json", &text(&models)).expect_err("it is one too many");
        assert_eq!(found, "p.json: the object has 10001 entries, the most allowed is 10000");

        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("p.yaml");
        std::fs::write(&file, " ".repeat(BYTES_MAX as usize + 1)).expect("writes");
        assert!(load(&file).expect_err("it is too large").to_string().contains("more than 2097152 bytes"));
        assert!(
            load(&folder.path().join("none.yaml")).expect_err("it is not there").to_string().contains("cannot be read")
        );
    }
}
