//! Nodes that are lost or drained while sessions are under load: how long clients hear nothing, and whether anything is lost.
//!
//! A client's session is owned by the node at which it was opened, and it calls at the next one: a killed node is the owner for
//! some clients, whose connections last, and the ingress of others, which come back elsewhere. How late an event is counts from
//! when it was due, or from the fault where that came later.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::crowd;
use super::nodes::{NODES, Nodes};
use super::{Args, Crowd, flag};
use crate::cluster::report::{Report, Row, Spread};
use crate::load::say;

/// Between two events of a call: those of a thousand calls keep two cores busy.
const EVERY: Duration = Duration::from_secs(1);
/// After a fault, before its effects are read: longer than a client waits before it comes back.
const AFTER: Duration = Duration::from_secs(5);
/// After everything is where it should be, before the next fault.
const CALM: Duration = Duration::from_secs(2);
/// How long clients that lost their node may be away.
const AWAY_MAX: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

/// Kills nodes in turn.
///
/// # Errors
/// When something cannot be measured, or an event is lost or comes twice.
pub(super) async fn kills(args: &Args, program: &Path, place: &Path, report: &mut Report) -> Result<()> {
    let (nodes, mut crowd) = loaded(args, program, place).await?;
    let (mut paused, mut back) = (Vec::new(), Vec::new());
    for kill in 0..args.kills {
        let victim = usize::try_from(kill)? % NODES;
        crowd.mark().await?;
        nodes.kill(victim);
        tokio::time::sleep(AFTER).await;
        let seen = crowd.report().await?;
        nothing_is_wrong(&seen)?;
        ensure!(seen.away == 0, "{} clients are not back {AFTER:?} after the loss of their node", seen.away);
        tell(&format!("kill {} of node-{}", kill + 1, victim + 1), &seen)?;
        paused.push(seen.paused.p99);
        back.push(seen.back.p99);
        nodes.restart(victim).await?;
        tokio::time::sleep(CALM).await;
    }
    let last = crowd.report().await?;
    crowd.end().await?;
    let with = format!("{} sessions under load", args.sessions);
    let name = format!("Kill of the owner to the next event, p99 of its clients, {with}");
    report.rows.push(Row::plain(name, "ms", Spread::of(paused)).at_most(400.0, 1_000.0));
    let name = "Kill of the ingress: from the first retry to the next event, p99".to_owned();
    report.rows.push(Row::plain(name, "ms", Spread::of(back)).at_most(300.0, 1_000.0));
    verdict(&last, &format!("{} kills", args.kills), report);
    Ok(())
}

/// Drains nodes in turn.
///
/// # Errors
/// When something cannot be measured, or an event is lost or comes twice.
pub(super) async fn drains(args: &Args, program: &Path, place: &Path, report: &mut Report) -> Result<()> {
    const NAMES: [&str; NODES] = ["node-1", "node-2", "node-3"];
    const DRAIN: [[&str; 3]; NODES] =
        [["cluster", "drain", NAMES[0]], ["cluster", "drain", NAMES[1]], ["cluster", "drain", NAMES[2]]];
    const UNDRAIN: [[&str; 3]; NODES] =
        [["cluster", "undrain", NAMES[0]], ["cluster", "undrain", NAMES[1]], ["cluster", "undrain", NAMES[2]]];
    let (nodes, mut crowd) = loaded(args, program, place).await?;
    let (mut late, mut broken) = (Vec::new(), 0);
    for drain in 0..args.drains {
        let place = usize::try_from(drain)? % NODES;
        crowd.mark().await?;
        nodes.operate(&DRAIN[place]).await?;
        nodes.drained(NAMES[place]).await?;
        tokio::time::sleep(CALM).await;
        let seen = crowd.report().await?;
        nothing_is_wrong(&seen)?;
        tell(&format!("drain {} of {}", drain + 1, NAMES[place]), &seen)?;
        late.push(seen.late.p99);
        broken += seen.back.count + seen.away;
        nodes.operate(&UNDRAIN[place]).await?;
        nodes.settled().await?;
        tokio::time::sleep(CALM).await;
    }
    let last = crowd.report().await?;
    crowd.end().await?;
    let name = format!("Drain: longest pause, p99 of {} sessions under load", args.sessions);
    report.rows.push(Row::plain(name, "ms", Spread::of(late)).at_most(150.0, 400.0));
    report.rows.push(Row::plain("Drain: connections that broke", "", Spread::of([broken as f64])).at_most(0.0, 0.0));
    verdict(&last, &format!("{} drains", args.drains), report);
    Ok(())
}

/// Has many clients lose their node at the same moment.
///
/// # Errors
/// When something cannot be measured, or an event is lost or comes twice.
pub(super) async fn back(args: &Args, program: &Path, place: &Path, report: &mut Report) -> Result<()> {
    let nodes = Nodes::start(program, place, 3).await?;
    let flags =
        [flag("sessions", args.back).to_vec(), flag("every-us", 5_000_000).to_vec(), vec!["--by-first".to_owned()]];
    let mut many = Crowd::open(&nodes, 3, &flags.concat()).await?;
    // They live at the nodes that stay.
    let flags = [flag("sessions", 60), flag("every-us", 100_000), flag("opens", 1), flag("shift", 1)].concat();
    let mut others = Crowd::open(&nodes, 1, &flags).await?;
    others.mark().await?;
    tokio::time::sleep(AFTER).await;
    let calm = others.report().await?;
    many.mark().await?;
    others.mark().await?;
    let began = Instant::now();
    nodes.kill(0);
    let mut seen = many.report().await?;
    while seen.away > 0 || seen.back.count < u64::from(args.back) {
        ensure!(began.elapsed() < AWAY_MAX, "{} clients are not back after {AWAY_MAX:?}", seen.away);
        tokio::time::sleep(LOOK).await;
        seen = many.report().await?;
    }
    let took = began.elapsed();
    let disturbed = others.report().await?;
    nothing_is_wrong(&seen)?;
    nothing_is_wrong(&disturbed)?;
    tell(&format!("{} clients lost their node and were back after {took:.1?}", args.back), &seen)?;
    tell("others before", &calm)?;
    tell("others meanwhile", &disturbed)?;
    many.end().await?;
    others.end().await?;
    let name = format!("{} clients whose node is lost: until the last has its next event", args.back);
    report.rows.push(Row::plain(name, "s", Spread::of([took.as_secs_f64()])).at_most(10.0, 20.0));
    let row = |name: &str, late: crowd::Times| Row::plain(name, "ms", Spread::of([late.p50, late.p99]));
    report.rows.push(row("Lateness of others' events before, p50–p99", calm.late));
    report.rows.push(row("Lateness of others' events meanwhile, p50–p99", disturbed.late));
    Ok(())
}

/// Nodes, and clients that each open at one node and call at the next.
async fn loaded(args: &Args, program: &Path, place: &Path) -> Result<(Nodes, Crowd)> {
    let nodes = Nodes::start(program, place, 1).await?;
    let every = EVERY.as_micros();
    let flags = [flag("sessions", args.sessions), flag("every-us", every), flag("shift", 1)].concat();
    let crowd = Crowd::open(&nodes, 1, &flags).await?;
    nodes.settled().await?;
    tokio::time::sleep(CALM).await;
    Ok((nodes, crowd))
}

/// Fails when an event was lost or came twice, or a client could not go on.
pub(super) fn nothing_is_wrong(seen: &crowd::Report) -> Result<()> {
    let crowd::Report { lost, doubled, failed, failures, .. } = seen;
    ensure!(lost + doubled + failed == 0, "{lost} events lost, {doubled} doubled, {failed} failures: {failures:?}");
    Ok(())
}

fn tell(what: &str, seen: &crowd::Report) -> Result<()> {
    let times = |times: crowd::Times| {
        format!("{} (p50 {:.0}, p99 {:.0}, max {:.0} ms)", times.count, times.p50, times.p99, times.max)
    };
    let crowd::Report { events, late, paused, back, .. } = seen;
    let (late, paused, back) = (times(*late), times(*paused), times(*back));
    say(&format!("{what}: {events} events; connections that lasted {late}, held up {paused}; came back {back}"))
}

fn verdict(last: &crowd::Report, after: &str, report: &mut Report) {
    let wrong = (last.lost + last.doubled) as f64;
    let name = format!("Events lost or doubled after {after}");
    report.rows.push(Row::plain(name, "", Spread::of([wrong])).at_most(0.0, 0.0));
}
