//! What does not work, or not any more: clients that leave, an engine that is lost, is not there, and comes back.
//!
//! What an engine does for somebody is seen in its slots, so that a client that leaves is seen to leave it. After the
//! loss of the engine every shape has an error of its own, and never an end that looks whole.

use std::fmt::Write as _;

use crate::{
    asks::Ask,
    ground::{Ground, PATIENCE},
};
use anyhow::{Context as _, ensure};
use quorate_tests::{
    raw::{
        client::Answer,
        shape::{SHAPES, Said, Shape},
    },
    wait,
};

/// More tokens than anybody waits for: all that a slot remembers.
const ENDLESS: u64 = 15_000;

/// Events after which a stream is well under way.
const EVENTS: usize = 8;

const fn ask(shape: Shape, tokens_max: u64) -> Ask<'static> {
    Ask { shape, model: "tiny", text: "Go on.", tokens_max, stop: None }
}

/// Begins a stream that would be long, and reads some of it.
fn begun(ground: &Ground, shape: Shape) -> anyhow::Result<Answer> {
    let mut answer = ask(shape, ENDLESS).send(ground, true)?;
    ensure!(answer.is_events(), "{shape:?}: {}", answer.status);
    for _ in 0..EVENTS {
        answer.next_event()?.with_context(|| format!("{shape:?}: it ended"))?;
    }
    Ok(answer)
}

/// Clients that leave in the middle of a stream.
pub(crate) fn leaving_streams(ground: &mut Ground) -> anyhow::Result<String> {
    for shape in SHAPES {
        let answer = begun(ground, shape)?;
        ground.engine.busy_until(1)?;
        let before = ground.engine.given_up();
        drop(answer);
        ground.engine.gives_up(before).with_context(|| format!("{shape:?}"))?;
        ground.engine.busy_until(0)?;
    }
    ground
        .gateway
        .metric_until("gen_ai_server_request_duration_seconds_count", "\"abandoned\"", |count| count >= 4.0)?;
    Ok("in each shape the engine gives the answer up, its slot is free again, and the gateway counts it as abandoned"
        .to_owned())
}

/// A client that leaves before its whole answer is there.
pub(crate) fn leaving_whole(ground: &mut Ground) -> anyhow::Result<String> {
    let (path, body) = ask(Shape::Chat, ENDLESS).request(false);
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        ground.gateway.address,
        body.len()
    );
    let mut socket = quorate_tests::raw::client::connect(ground.gateway.address)?;
    std::io::Write::write_all(&mut socket, [head, body].concat().as_bytes())?;
    ground.engine.busy_until(1)?;
    let before = ground.engine.given_up();
    drop(socket);
    ground.engine.gives_up(before)?;
    ground.engine.busy_until(0)?;
    Ok("the engine gives the answer up, and its slot is free again".to_owned())
}

/// The engine is killed under streams of every shape.
pub(crate) fn killed(ground: &mut Ground) -> anyhow::Result<String> {
    let mut streams = Vec::new();
    for shape in SHAPES {
        streams.push((shape, begun(ground, shape)?));
    }
    ground.engine.busy_until(SHAPES.len())?;
    ground.engine.kill();
    for (shape, answer) in streams {
        let Said { error, is_whole, raw, .. } = shape.read(answer)?;
        let error = error.with_context(|| format!("{shape:?}: no error: {raw}"))?;
        ensure!(!is_whole && !error.contains("127.0.0.1"), "{shape:?}: {raw}");
    }
    Ok("an error event in each of the four shapes, and no end that looks whole".to_owned())
}

/// Nobody answers at the engine's address.
pub(crate) fn gone(ground: &mut Ground) -> anyhow::Result<String> {
    let mut seen = String::new();
    for shape in SHAPES {
        for is_streamed in [false, true] {
            let answer = ask(shape, 4).send(ground, is_streamed)?;
            let (status, answer) = (answer.status, answer.message()?);
            let (kind, message) = shape.error(&answer).with_context(|| format!("{shape:?}: no error: {answer}"))?;
            ensure!(matches!(status, 502 | 503) && !message.contains("127.0.0.1"), "{shape:?}: {status} {answer}");
            if is_streamed {
                write!(seen, "{}{status} `{kind}`", if seen.is_empty() { "" } else { ", " })?;
            }
        }
    }
    Ok(seen)
}

/// The engine is started anew.
pub(crate) fn back(ground: &mut Ground) -> anyhow::Result<String> {
    ground.engine.begin()?;
    for shape in SHAPES {
        wait::until("an answer of the engine that is back", PATIENCE, || {
            let told = ask(shape, 4).whole(ground)?;
            ensure!(told.output == 4, "{told:?}");
            Ok(())
        })?;
        ask(shape, 4).streamed(ground)?;
    }
    Ok("answers and streams in each of the four shapes".to_owned())
}
