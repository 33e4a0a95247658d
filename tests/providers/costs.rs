//! What calls cost, in metrics and in the line that each leaves in the log.

use std::fs;

use anyhow::Context as _;
use quorate_tests::raw::gateway::{Gateway, OPEN, replace};
use serde_json::{Value, json};

use crate::ground::{Provider, Shape, model, post, recorded, text};

/// A gateway whose provider names a file with prices, in front of models of which one has a price of its own.
fn priced(provider: &Provider, prices: &str) -> anyhow::Result<Gateway> {
    let own = json!({ "provider": "p", "model": "mock,usage=1000/100", "price": { "input": 100, "output": 0 } });
    let documents = [
        provider.document("p", "openai-compatible", &json!({ "prices": "prices/p.yaml" })),
        model("any", &json!({ "names": ["mock*"], "targets": [{ "provider": "p" }] })),
        model("own", &json!({ "names": ["own"], "targets": [own] })),
    ];
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("prices"))?;
    fs::write(folder.path().join("prices/p.yaml"), prices)?;
    fs::write(folder.path().join("resources.yaml"), text(&documents))?;
    Gateway::start_in(folder, OPEN)
}

fn ask(gateway: &Gateway, name: &str, is_streamed: bool) -> anyhow::Result<()> {
    let (path, body): (String, Value) = Shape::Chat.request(name, "hi", is_streamed);
    let answer = post(gateway, &path, &body)?;
    anyhow::ensure!(answer.status == 200, "{name}: {}", answer.status);
    answer.text()?;
    Ok(())
}

#[test]
fn a_call_costs_what_its_target_says_or_else_the_file_of_its_provider() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let mut gateway = priced(&provider, "\"mock,usage=1*\": { input: 1, output: 10 }\n")?;
    let file = gateway.folder.path().join("prices/p.yaml");

    for is_streamed in [false, true] {
        ask(&gateway, "mock,usage=1000/100", is_streamed)?;
        recorded(&mut gateway, &[&format!("streamed={is_streamed}"), "price=file", "cost_nanodollars=2000000"])?;
    }
    ask(&gateway, "own", false)?;
    recorded(&mut gateway, &["asked=own", "price=target", "cost_nanodollars=100000000"])?;
    ask(&gateway, "mock,usage=7/1", false)?;
    let line = recorded(&mut gateway, &["usage=7/1", "price=unknown"])?;
    assert!(!line.contains("cost_nanodollars"), "{line}");
    gateway.metric_until("quorate_model_cost_unknown_total", "\"any\"", |count| (count - 1.0).abs() < 0.1)?;
    let spent = gateway.metric_until("quorate_model_cost_total", "\"any\"", |cost| cost > 0.0)?;
    assert!((spent - 0.004).abs() < 1e-9, "{spent}");

    replace(&file, "\"mock,usage=1*\": { input: 2, output: 10 }\n")?;
    gateway.logged("the changed resource files are in force")?;
    ask(&gateway, "mock,usage=1000/100", false)?;
    recorded(&mut gateway, &["price=file", "cost_nanodollars=3000000"])?;

    replace(&file, "\"mock,usage=1*\": { input: -2, output: 10 }\n")?;
    gateway.logged("[\\\"mock,usage=1*\\\"].input: -2 is out of range")?;
    ask(&gateway, "mock,usage=1000/200", false)?;
    recorded(&mut gateway, &["price=file", "cost_nanodollars=4000000"]).context("what ran before runs on")?;
    Ok(())
}
