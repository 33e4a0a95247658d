//! Events of strict sessions, each committed before its client has it, beside puts into etcd by as many writers.
//!
//! Tools tell progress as fast as it is taken; rounds of both alternate. CPU is that of all three nodes, without the tool
//! server's and the clients'.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::nodes::Nodes;
use super::{Args, Crowd, flag};
use crate::cluster::commits::into_etcd;
use crate::cluster::etcd::Etcd;
use crate::cluster::report::{Report, Row, Spread};
use crate::load::say;

const SESSIONS: [u32; 2] = [64, 256];
/// After what went before, whose writes the disk may still be at.
const CALM: Duration = Duration::from_secs(3);
/// Before anything counts.
const WARM_UP: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    etcd: Vec<f64>,
    cpu_ms: Vec<f64>,
}

/// Measures.
///
/// # Errors
/// When something cannot be measured.
pub(super) async fn measure(args: &Args, program: &Path, place: &Path, report: &mut Report) -> Result<()> {
    let mut etcd = Etcd::start(place, args.etcd.as_deref()).await?;
    for sessions in SESSIONS {
        let nodes = Nodes::start(program, place, 1).await?;
        let mut rounds = Rounds::default();
        for round in 1..=args.rounds {
            tokio::time::sleep(CALM).await;
            let flags = [flag("sessions", sessions), flag("every-us", 0)].concat();
            let mut crowd = Crowd::open(&nodes, 1, &flags).await?;
            tokio::time::sleep(WARM_UP).await;
            let (cpu, ticker) = (nodes.cpu_ms()?, nodes.ticker_cpu_ms()?);
            crowd.mark().await?;
            tokio::time::sleep(Duration::from_secs(args.seconds)).await;
            let seen = crowd.report().await?;
            let (cpu, ticker) = (nodes.cpu_ms()? - cpu, nodes.ticker_cpu_ms()? - ticker);
            crowd.end().await?;
            super::faults::nothing_is_wrong(&seen)?;
            let put = into_etcd(&mut etcd, sessions, args.seconds * 1_000).await?;
            let (events, rate) = (seen.events as f64, seen.events as f64 / seen.seconds);
            say(&format!(
                "round {round}, {sessions} sessions: {rate:.0} events/s, {:.3} ms CPU of all nodes each (ticker {:.3}), etcd \
                 {:.0} puts/s",
                cpu / events,
                ticker / events,
                put.rate
            ))?;
            rounds.rates.push(rate);
            rounds.etcd.push(put.rate);
            rounds.cpu_ms.push(cpu / events);
        }
        let name = format!("Events a second, {sessions} strict sessions (etcd: puts)");
        let row = Row::beside(name, "/s", Spread::of(rounds.rates), Spread::of(rounds.etcd));
        report.rows.push(row.at_least_times(2.0, 1.0));
        let name = format!("CPU per event of these, all nodes, {sessions} sessions");
        report.rows.push(Row::plain(name, "ms", Spread::of(rounds.cpu_ms)).at_most(0.2, 0.4));
    }
    Ok(())
}
