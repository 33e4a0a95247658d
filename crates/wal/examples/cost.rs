//! What the log costs: CPU of appended entries at 64 writers, and the time that a start takes with 100,000 records.
//!
//! `cargo run --release -p quorate-wal --example cost [DIR]` prints figures of this machine and its disk; DIR (default: a
//! folder under the temporary one) says which disk. Writers wait for each entry before the next, as callers do. CPU is that
//! of the whole process as the system counts it, waking the writers included.
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_wal::{DEFAULTS, Folder, GroupId, Op, Opened, Slot, Wal, open};

const WRITERS: u32 = 64;
const ENTRIES: u64 = 100_000;
const ENTRY_BYTES: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let folder = std::env::args_os().nth(1).map_or_else(|| scratch.path().join("wal"), PathBuf::from);
    write(&folder)?;
    for _ in 0..3 {
        recover(&folder)?;
    }
    Ok(())
}

/// Appends entries from many threads.
fn write(folder: &PathBuf) -> Result<(), Box<dyn Error>> {
    let Opened { wal, writer, .. } = open(Arc::new(Folder::new(folder)?), DEFAULTS, 1, false)?;
    let running = writer.spawn(|failed| println!("{failed}"))?;
    submit(&wal, GroupId(0), vec![Op::Put { slot: Slot(0), value: Bytes::from_static(b"first") }])?;
    let (begin, cpu, batches) = (Instant::now(), cpu_time()?, wal.observe().batches);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let wal = &wal;
            scope.spawn(move || append_all(wal, writer));
        }
    });
    let (took, cpu) = (begin.elapsed(), cpu_time()?.saturating_sub(cpu));
    let seen = wal.observe();
    let entries = seen.records - 1;
    println!(
        "{entries} entries of {ENTRY_BYTES} bytes, {WRITERS} writers: {:.0}/s, {:.1} entries a batch, {:.1} us CPU an entry",
        entries as f64 / took.as_secs_f64(),
        entries as f64 / (seen.batches - batches) as f64,
        cpu.as_secs_f64() * 1e6 / entries as f64,
    );
    wal.close();
    running.join()?;
    Ok(())
}

/// Each writer has a group of its own, for a group takes the next entry alone.
fn append_all(wal: &Wal, writer: u32) {
    let group = GroupId(writer);
    for index in 0..ENTRIES / u64::from(WRITERS) {
        let payload = Bytes::from(vec![index as u8; ENTRY_BYTES]);
        submit(wal, group, vec![Op::Append { index, payload }]).expect("the log works");
    }
}

fn submit(wal: &Wal, group: GroupId, ops: Vec<Op>) -> Result<(), Box<dyn Error>> {
    let (sender, receiver) = sync_channel(1);
    // Whoever waits is there until it is told.
    wal.submit(group, ops, Some(Box::new(move |result| drop(sender.send(result)))))?;
    receiver.recv()??;
    Ok(())
}

fn recover(folder: &PathBuf) -> Result<(), Box<dyn Error>> {
    let disk = Arc::new(Folder::new(folder)?);
    let (begin, cpu) = (Instant::now(), cpu_time()?);
    let opened = open(disk, DEFAULTS, 1, true)?;
    let (took, cpu) = (begin.elapsed(), cpu_time()?.saturating_sub(cpu));
    let groups = opened.wal.groups();
    let entries: u64 = groups.iter().map(|group| opened.wal.group(*group)).map(|state| state.next - state.first).sum();
    println!("start with {entries} entries in {} groups: {took:.1?}, {cpu:.1?} CPU", groups.len());
    Ok(())
}

/// User and system time of this process (proc(5), `stat`: fields 14 and 15, in ticks of 10 ms).
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).ok_or("a field is missing")?.parse::<u64>().map_err(Box::<dyn Error>::from);
    Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}
