//! Many streams at once, each over a connection of its own, that say when their chunks were sent.
//!
//! It opens them at a steady pace, so that their chunks do not come together, says `ready` when each has begun, waits for a line, watches
//! for a while, and prints one [`Watched`]. A stream that ends meanwhile fails it: there is no share of them that may.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use memchr::memchr_iter;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinSet;

use crate::client::{Connection, Target};
use crate::load::{READY, say};
use crate::prompt::Prompt;

/// What stands before the time in a chunk.
const MARK: u8 = b'@';
const NS_PER_US: u64 = 1000;

/// What to open.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where: a URL with a loopback address.
    #[arg(long)]
    url: String,
    /// How many streams.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    streams: u32,
    /// How many are opened in a second.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    per_second: u32,
    /// Seconds between two chunks of a stream.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=60))]
    gap: u32,
    /// Seconds for which delays are noted.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=300))]
    seconds: u32,
}

/// What was seen.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Watched {
    /// Chunks that came.
    pub(crate) chunks: usize,
    /// From the moment that the provider sent one until it was here, in milliseconds: median.
    pub(crate) p50_ms: f64,
    /// 99th percentile.
    pub(crate) p99_ms: f64,
    /// Largest.
    pub(crate) max_ms: f64,
}

/// Delays in microseconds; none are noted while there is no list.
type Delays = Arc<Mutex<Option<Vec<u64>>>>;

/// Runs the process.
///
/// # Errors
/// When a stream does not begin, or ends.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let target = Target::parse(&args.url)?;
    let delays: Delays = Arc::default();
    let mut streams = JoinSet::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / args.per_second);
    for number in 0..args.streams {
        pace.tick().await;
        let (connection, body) = open(&target, args.gap).await.with_context(|| format!("stream {number}"))?;
        streams.spawn(follow(connection, body, Arc::clone(&delays)));
    }
    say(READY)?;
    let mut line = String::new();
    if BufReader::new(tokio::io::stdin()).read_line(&mut line).await? == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    *delays.lock().expect("nobody panics with it") = Some(Vec::new());
    let watched = tokio::time::timeout(Duration::from_secs(args.seconds.into()), streams.join_next()).await;
    if let Ok(Some(ended)) = watched {
        ended.context("a stream")??;
        bail!("a stream ended");
    }
    let delays = delays.lock().expect("nobody panics with it").take().unwrap_or_default();
    say(&serde_json::to_string(&Watched::of(delays)?)?)?;
    Ok(ExitCode::SUCCESS)
}

async fn open(target: &Target, gap: u32) -> Result<(Connection, Incoming)> {
    let mut connection = Connection::open(target).await?;
    let body = format!(
        "{{\"model\":\"mock,endless,stamped,chunks=1,gap={gap}s\",\"stream\":true,\
         \"messages\":[{{\"role\":\"user\",\"content\":\"Tell on.\"}}]}}"
    );
    let answer = connection.begin(Method::POST, &Prompt::ChatStream.headers(), Bytes::from(body)).await?;
    ensure!(answer.status().is_success(), "{}", answer.status());
    Ok((connection, answer.into_body()))
}

/// Reads a stream, which has no end of its own. The connection goes with the stream.
async fn follow(_connection: Connection, mut body: Incoming, delays: Delays) -> Result<()> {
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let now = now_ns();
        if let Some(delays) = delays.lock().expect("nobody panics with it").as_mut() {
            delays.extend(stamps(&data).map(|stamp| now.saturating_sub(stamp) / NS_PER_US));
        }
    }
    Ok(())
}

/// The times in some bytes of a stream, but for that of the first chunk, which is 0.
fn stamps(data: &[u8]) -> impl Iterator<Item = u64> {
    memchr_iter(MARK, data).filter_map(|place| {
        let digits = data[place + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let stamp = std::str::from_utf8(&data[place + 1..place + 1 + digits]).ok()?.parse().ok()?;
        (stamp > 0).then_some(stamp)
    })
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

// === impl Watched ===

impl Watched {
    fn of(mut delays: Vec<u64>) -> Result<Self> {
        ensure!(!delays.is_empty(), "no chunk came");
        delays.sort_unstable();
        let at = |share: f64| {
            let rank = (delays.len() as f64 * share).ceil() as usize;
            delays[rank.clamp(1, delays.len()) - 1] as f64 / 1000.0
        };
        Ok(Self { chunks: delays.len(), p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_wherever_they_stand() {
        let data =
            b"data: {\"content\":\"@0000000000000000000\"}\n\ndata: {\"content\":\"@0000000000000000012\"}\n\n@7@x@";

        assert_eq!(stamps(data).collect::<Vec<_>>(), [12, 7]);
    }

    #[test]
    fn delays_are_told_in_milliseconds() {
        let watched = Watched::of((1..=1000).map(|delay| delay * 1000).collect()).unwrap();

        assert_eq!((watched.chunks, watched.p50_ms, watched.p99_ms, watched.max_ms), (1000, 500.0, 990.0, 1000.0));
        assert!(Watched::of(Vec::new()).is_err());
    }
}
