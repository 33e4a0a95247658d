//! Laws of a session over random histories, seen from outside.
//!
//! A [`World`] stands around the session: a client that posts, reads, loses connections and comes
//! back with the last id it saw; a network that accepts bytes for clients that are gone; backends
//! that answer, ask, fail and forget. It knows the rules and nothing of the machine's inside, and
//! fails when an effect breaks one. What a failing case prints is the history, which replays it.

mod world;

use proptest::prelude::*;
use quorate_session::{Config, Delivery};

use crate::world::{Action, Deed, World, actions, actions_of_nodes, config};

fn run(config: Config, history: &[Action]) -> Result<World, TestCaseError> {
    run_on(World::new(config), history)
}

fn run_on(mut world: World, history: &[Action]) -> Result<World, TestCaseError> {
    for action in history {
        world.act(action)?;
    }
    Ok(world)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, max_shrink_iters: 600, ..ProptestConfig::default() })]

    #[test]
    fn every_message_arrives_exactly_once_and_in_order(
        priming: bool,
        history in prop::collection::vec(actions(), 1..150),
    ) {
        let mut world = run(config(priming), &history)?;
        world.quiesce()?;
        world.verify_answers()?;
    }

    #[test]
    fn every_message_of_an_http_sse_session_arrives_exactly_once_and_in_order(
        history in prop::collection::vec(actions(), 1..150),
    ) {
        let mut world = run(Config { delivery: Delivery::Single, ..config(false) }, &history)?;
        world.quiesce()?;
        world.verify_answers()?;
    }

    #[test]
    fn every_message_of_a_stateless_call_arrives_exactly_once_and_no_call_outlives_its_client(
        history in prop::collection::vec(actions(), 1..150),
    ) {
        let mut world = run(Config { delivery: Delivery::Calls, ..config(false) }, &history)?;
        world.quiesce()?;
        world.verify_answers()?;
        world.verify_owners()?;
    }

    #[test]
    fn what_was_promised_outlives_the_owner(
        priming: bool,
        history in prop::collection::vec(actions_of_nodes(), 1..200),
    ) {
        let mut world = run_on(World::of_nodes(config(priming)), &history)?;
        world.quiesce()?;
        world.verify_answers()?;
    }

    #[test]
    fn what_was_promised_to_an_http_sse_client_outlives_the_owner(
        history in prop::collection::vec(actions_of_nodes(), 1..200),
    ) {
        let config = Config { delivery: Delivery::Single, ..config(false) };
        let mut world = run_on(World::of_nodes(config), &history)?;
        world.quiesce()?;
        world.verify_answers()?;
    }

    #[test]
    fn a_parked_call_outlives_the_owner(history in prop::collection::vec(actions_of_nodes(), 1..200)) {
        let config = Config { delivery: Delivery::Calls, ..config(false) };
        let mut world = run_on(World::of_nodes(config), &history)?;
        world.quiesce()?;
        world.verify_answers()?;
        world.verify_owners()?;
    }

    #[test]
    fn a_session_that_was_its_record_alone_for_a_while_goes_on(
        priming: bool,
        before in prop::collection::vec(actions_of_nodes(), 1..60),
        after in prop::collection::vec(actions_of_nodes(), 1..60),
    ) {
        let mut world = run_on(World::of_nodes(config(priming)), &before)?;
        world.quiesce()?;
        world.leave()?;
        world.act(&Action::Rest)?;
        for action in &after {
            world.act(action)?;
        }
        world.quiesce()?;
        world.verify_answers()?;
    }

    #[test]
    fn a_session_can_end_at_any_moment(
        priming: bool,
        history in prop::collection::vec(actions(), 1..80),
        after in prop::collection::vec(actions(), 0..40),
    ) {
        let mut world = run(config(priming), &history)?;
        world.end()?;
        for action in &after {
            world.act(action)?;
        }
        world.finish()?;
    }
}

#[test]
fn a_call_whose_client_goes_while_its_stream_waits_for_the_quorum_ends_with_its_connection() {
    let history = [
        Action::Request { leg: 0, count: 1, token: false },
        Action::Request { leg: 1, count: 1, token: true },
        Action::SetLevel { severity: 0 },
        Action::LegOutcome { which: 1, opened: true },
        Action::Request { leg: 0, count: 1, token: false },
        Action::Prime { which: 3 },
        // What follows is carried out when the parking is committed.
        Action::Park { which: 0 },
        Action::Backend { which: 0, deed: Deed::Notify },
        Action::BreakPost { which: 1 },
        Action::Commit,
    ];
    let config = Config { delivery: Delivery::Calls, ..config(false) };

    let world = run_on(World::of_nodes(config), &history).and_then(|mut world| {
        world.quiesce()?;
        world.verify_answers()?;
        world.verify_owners()
    });

    world.expect("no law is broken");
}
