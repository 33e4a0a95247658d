//! The process itself: processor time, memory, files, uptime and version.
//!
//! Read from `/proc/self` when somebody scrapes or an export is due, so idle nodes pay nothing.
//! Where there is no `/proc` these metrics are absent rather than zero.

use std::time::Instant;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::names::{attribute, metric};

/// The page size of Linux on x86-64 and, by default, on arm64.
const PAGE_BYTES: u64 = 4096;
/// `USER_HZ`, which Linux fixes at 100 on every architecture that Rust calls tier 1.
const TICKS_PER_SECOND: f64 = 100.0;

/// Registers the metrics of this process.
pub(super) fn observe(meter: &Meter, version: &'static str) {
    let started = Instant::now();
    let cpu = meter
        .f64_observable_counter(metric::PROCESS_CPU_TIME)
        .with_unit("s")
        .with_description("Processor time of this process");
    cpu.with_callback(|observer| {
        if let Some(seconds) = cpu_seconds() {
            observer.observe(seconds, &[]);
        }
    })
    .build();
    let memory = meter
        .u64_observable_gauge(metric::PROCESS_MEMORY)
        .with_unit("By")
        .with_description("Resident memory of this process");
    memory
        .with_callback(|observer| {
            if let Some(bytes) = resident_bytes() {
                observer.observe(bytes, &[]);
            }
        })
        .build();
    let files =
        meter.u64_observable_gauge(metric::PROCESS_FILES).with_description("Open file descriptors of this process");
    files
        .with_callback(|observer| {
            if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
                observer.observe(entries.count() as u64, &[]);
            }
        })
        .build();
    let uptime = meter
        .f64_observable_gauge(metric::PROCESS_UPTIME)
        .with_unit("s")
        .with_description("Time since this process started");
    uptime.with_callback(move |observer| observer.observe(started.elapsed().as_secs_f64(), &[])).build();
    let build = meter.u64_observable_gauge(metric::BUILD).with_description("Always 1; the version is its label");
    build.with_callback(move |observer| observer.observe(1, &[KeyValue::new(attribute::VERSION, version)])).build();
}

/// User and system time, fields 14 and 15 of `/proc/self/stat` (proc_pid_stat(5)).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may have spaces.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

/// Resident pages, field 2 of `/proc/self/statm` (proc_pid_statm(5)).
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}
