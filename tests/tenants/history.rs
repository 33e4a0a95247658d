//! Histories of attempts, and the law that holds for each: who tries learns nothing, and the other has what it had.

use anyhow::{Context as _, ensure};
use proptest::{
    collection::vec,
    option, sample,
    test_runner::{Config, TestCaseError, TestRunner},
};
use quorate_tests::{
    raw::{PATIENCE, client::Answer},
    wait,
};
use serde_json::json;

use crate::{
    attack::{Attacker, Attempt, attempts},
    party::{Party, Reply},
    victim::{Loot, Victim},
    world::{COMMON, World},
};

/// Histories of one run; each has up to [`ATTEMPTS_MAX`] attempts of two requests of a millisecond or two.
const HISTORIES: u32 = 20;
const ATTEMPTS_MAX: usize = 32;

/// A notification that everybody may hear; what was said before it is read before it.
const LAST: &str = "notifications/prompts/list_changed";

#[test]
fn nothing_of_a_tenant_is_told_to_another_or_changed_by_it() -> anyhow::Result<()> {
    let world = World::start()?;
    let config = Config { cases: HISTORIES, failure_persistence: None, max_shrink_iters: 8, ..Config::default() };
    let histories =
        (0..2_usize, vec(attempts(), 1..=ATTEMPTS_MAX), option::of(sample::select(vec!["0.0", "0.1", "0.9"])));

    let held = TestRunner::new(config).run(&histories, |(who, attempts, after)| {
        let (attacker, victim) = (&world.parties[who], &world.parties[1 - who]);
        let held = hold(&world, attacker, victim, &attempts, after);
        held.map_err(|error| TestCaseError::fail(format!("{} tries: {error:#}", attacker.tenant)))
    });

    held.map_err(|error| anyhow::anyhow!("{error}"))
}

/// Checks the law for one history.
fn hold(world: &World, one: &Party, other: &Party, attempts: &[Attempt], after: Option<&str>) -> anyhow::Result<()> {
    let (attacker, mut victim) = (Attacker::new(one)?, Victim::settle(other)?);
    let (stolen, counterfeit) = (victim.loot.clone(), victim.loot.counterfeit());
    let before = world.mentions(other.tenant);
    for attempt in attempts {
        let worthless = attacker.tries(*attempt, &counterfeit)?.timeless();
        let told = attacker.tries(*attempt, &stolen)?.timeless();
        ensure!(!worthless.text().contains(other.tenant), "{attempt:?} is told of another: {}", worthless.text());
        let expected = as_if(&worthless, &counterfeit, &stolen);
        ensure!(told == expected, "{attempt:?} tells them apart:\n{}\n{}", told.text(), expected.text());
    }

    let after_all = world.mentions(other.tenant);
    ensure!(after_all == before, "tool servers were asked {} times for what is another's", after_all - before);
    hears_nothing(world, &attacker, &mut victim, after)?;
    victim.has_all().context("the other lost something")?;
    attacker.leave()?;
    victim.leaves()
}

/// What an answer to a counterfeit is an answer of to what it stands for.
fn as_if(reply: &Reply, counterfeit: &Loot, stolen: &Loot) -> Reply {
    let replaced = |text: &str| {
        let pairs = counterfeit.texts().into_iter().zip(stolen.texts());
        pairs.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    };
    let headers = reply.headers.iter().map(|(name, value)| (name.clone(), replaced(value))).collect();
    Reply { status: reply.status, headers, body: replaced(&reply.body) }
}

/// Lets a server of both tell everybody of what is one's: that one hears it, and the other does not.
fn hears_nothing(
    world: &World,
    attacker: &Attacker<'_>,
    victim: &mut Victim<'_>,
    after: Option<&str>,
) -> anyhow::Result<()> {
    let (party, tenant) = (attacker.party, victim.party.tenant);
    // Opens its session at the desk, which a list that is there already would not.
    let subscription = json!({ "uri": format!("{}-desk://doc", party.tenant) });
    party.ask(COMMON, &attacker.common, "resources/subscribe", subscription)?.result()?;
    let mut stream = party.listen(COMMON, &attacker.common, after)?;
    if stream.status != 200 {
        let refused = Reply::of(stream)?;
        ensure!(!refused.text().contains(tenant), "a stream is refused so: {}", refused.text());
        stream = party.listen(COMMON, &attacker.common, None)?;
    }
    let news = victim.news(&world.desk.last_task(tenant).context("the other has a task at the desk")?);
    std::thread::scope(|scope| {
        let reads = scope.spawn(|| reads_nothing_of(tenant, stream));
        let hears = scope.spawn(|| victim.hears().context("the other does not hear its own"));
        wait::until("news for both", PATIENCE, || {
            news.iter().for_each(|news| world.desk.tell(news));
            world.desk.tell(&json!({ "jsonrpc": "2.0", "method": LAST }));
            ensure!(reads.is_finished() && hears.is_finished(), "somebody still reads");
            Ok(())
        })?;
        hears.join().expect("it does not panic")?;
        reads.join().expect("it does not panic")
    })
}

/// Reads a stream to the last of the news; nothing before may be of this tenant.
fn reads_nothing_of(tenant: &str, mut stream: Answer) -> anyhow::Result<()> {
    loop {
        let message = stream.next_message()?.context("the stream ended")?;
        ensure!(!message.to_string().contains(tenant), "a stream tells of another: {message}");
        if message["method"] == LAST {
            return Ok(());
        }
    }
}
