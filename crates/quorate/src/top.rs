//! `quorate top`: what goes on in a cluster, on a terminal, again and again; or once, as text.
//!
//! ```text
//!   status, busy sessions ─▶ History ─▶ frame ─▶ the terminal's other screen, which is left as it was
//! ```
//!
//! One node is asked: each tells all others once a second what it does. A node that does not answer is told of in the frame,
//! and another one is asked.

mod frame;
mod screen;

use std::path::Path;
use std::time::Duration;

use quorate_client::Client;
use quorate_proto::admin::v1 as proto;
use quorate_runtime::clock;
use tokio::signal::unix::{SignalKind, signal};

use self::frame::{History, Seen};
use self::screen::{Screen, Size};
use crate::cli::top::TopArgs;
use crate::exit::{Exit, Failure};
use crate::{output, target};

/// Busy sessions that are asked for: more than a terminal has lines for.
const SESSIONS_MAX: i32 = 50;
/// Lines of sessions without a terminal.
const ONCE: Size = Size { columns: crate::table::WIDTH, lines: 60 };

/// Runs the command: to Ctrl-C or `q`.
///
/// # Errors
/// [`Failure`] when nobody answers at first, or there is no terminal.
pub(crate) async fn run(context: Option<&Path>, args: &TopArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let mut history = History::default();
    history.see(look(&client).await.map_err(target::of_client)?);
    if args.once {
        tokio::time::sleep(args.interval).await;
        history.see(look(&client).await.map_err(target::of_client)?);
        return output::print(&history.frame(ONCE, None));
    }
    let Some(screen) = Screen::open()? else {
        return Err(Failure::new(Exit::Usage, "stdout is no terminal").advise("print one frame with `--once`"));
    };
    let followed = follow(&client, history, args.interval, &screen).await;
    // Before anything is said of how it ended.
    drop(screen);
    followed
}

async fn follow(client: &Client, mut history: History, interval: Duration, screen: &Screen) -> Result<(), Failure> {
    let failed = |error| Failure::new(Exit::Failure, format!("cannot hear signals: {error}"));
    let (mut ended, mut resized) =
        (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::window_change()).map_err(failed)?);
    let mut trouble = None;
    loop {
        screen.draw(&history.frame(screen.size(), trouble.as_deref()))?;
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            _ = resized.recv() => continue,
            _ = ended.recv() => return Ok(()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = screen.quits() => return Ok(()),
        }
        trouble = tokio::select! {
            seen = look(client) => match seen {
                Ok(seen) => {
                    history.see(seen);
                    None
                }
                Err(error) => Some(error.to_string()),
            },
            _ = ended.recv() => return Ok(()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = screen.quits() => return Ok(()),
        };
    }
}

/// Asks for everything that a frame shows.
async fn look(client: &Client) -> Result<Seen, quorate_client::Error> {
    let busy = proto::ListSessionsRequest { busy: true, page_size: SESSIONS_MAX, ..Default::default() };
    let (status, busy) =
        tokio::join!(Box::pin(client.call(proto::GetStatusRequest::default())), Box::pin(client.call(busy)));
    // A node that begins has no sessions to list yet.
    Ok(Seen { status: status?, busy: busy.unwrap_or_default(), at: clock::now() })
}
