//! Strangers in great numbers: they cost good callers nothing that these would notice.
//!
//! The numbers here are far from the product's (a debug build on a shared machine, and each request on a connection of its
//! own); they tell a gateway that stands still from one that works on. The numbers of a release build are those of
//! `cargo xtask bench`, "Strangers" on the page docs/src/numbers.md.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use quorate_tests::raw::gateway::Gateway;
use serde_json::json;

use crate::{
    caller::Caller,
    idp::{Idp, Outage},
    site::Site,
};

const PATH: &str = "/mcp/tools";

/// How long strangers go on.
const FLOOD: Duration = Duration::from_secs(3);

/// Strangers at once.
const STRANGERS: usize = 4;

/// What a good call may take meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the process may grow by meanwhile: caches are bounded, and a stranger's token is not kept.
const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Lets strangers show these tokens, one after the other, while a good caller calls. The number of refusals.
fn flood(
    gateway: &Gateway,
    good: &Caller,
    status: u16,
    token: impl Fn(usize) -> String + Sync,
) -> anyhow::Result<usize> {
    let (ends, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let stranger = |first: usize| {
        let mut at = first;
        while !ends.load(Ordering::Relaxed) {
            let answer = Caller::stranger().token(&token(at)).call(gateway.address, PATH, "now", &json!({}))?;
            ensure!(answer.status == status, "a stranger is answered {}: {}", answer.status, answer.message);
            refused.fetch_add(1, Ordering::Relaxed);
            at += STRANGERS;
        }
        anyhow::Ok(())
    };
    thread::scope(|scope| {
        let strangers: Vec<_> = (0..STRANGERS).map(|first| scope.spawn(move || stranger(first))).collect();
        let called = call_until(gateway, good, Instant::now() + FLOOD);
        ends.store(true, Ordering::Relaxed);
        for stranger in strangers {
            stranger.join().map_err(|_| anyhow::anyhow!("a stranger panicked"))??;
        }
        called
    })?;
    Ok(refused.into_inner())
}

fn call_until(gateway: &Gateway, good: &Caller, end: Instant) -> anyhow::Result<()> {
    while Instant::now() < end {
        let begun = Instant::now();
        let answer = good.call(gateway.address, PATH, "now", &json!({}))?;
        ensure!(answer.text() == Some("clock:now"), "{}: {}", answer.status, answer.message);
        ensure!(begun.elapsed() < PATIENCE, "a good call took {:?}", begun.elapsed());
    }
    Ok(())
}

#[test]
fn wrong_tokens_and_keys_are_refused_at_full_speed_beside_good_calls() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let site = Site::new().signed_by(&idp).policy("permit(principal, action, resource);");
    let (_clock, gateway, resource) = site.start_with_clock()?;
    let good = idp.token_of("alice", &resource, "mcp")?;
    let (head, signature) = good.rsplit_once('.').context("a token has parts")?;
    let other: String = signature.chars().rev().collect();
    let caller = Caller::stranger().token(&good);
    let forged = |at: usize| match at % 3 {
        0 => format!("qk_aaaaaaaaaaaa_{at:0>46}"),
        1 => format!("{head}.{other}"),
        _ => format!("nonsense-{at}"),
    };
    flood(&gateway, &caller, 401, forged)?;
    let before = gateway.memory()?;

    let refused = flood(&gateway, &caller, 401, forged)?;

    ensure!(refused > 100, "only {refused} were refused in {FLOOD:?}");
    let grown = gateway.memory()?.saturating_sub(before);
    ensure!(grown < GROWTH_BYTES_MAX, "{refused} refusals made the process {grown} bytes larger");
    Ok(())
}

#[test]
fn a_provider_that_hangs_delays_no_caller_of_another() -> anyhow::Result<()> {
    let [idp, hanging] = [Idp::start()?, Idp::start()?];
    hanging.outage(Outage::Hang)?;
    let site = Site::new()
        .signed_by(&idp)
        .with("Issuer", "others", json!({ "oidc": { "issuer": hanging.issuer } }))
        .policy("permit(principal, action, resource);");
    let (_clock, gateway, resource) = site.start_with_clock()?;
    let good = Caller::stranger().token(&idp.token_of("alice", &resource, "mcp")?);
    let unjudged = json!({
        "iss": hanging.issuer, "sub": "eve", "aud": resource, "iat": 1, "exp": 4_000_000_000_u32, "client_id": "desk",
    });
    let unjudged = hanging.mint("ES256", &json!({}), &unjudged)?;

    flood(&gateway, &good, 503, |_| unjudged.clone()).map(drop)
}
