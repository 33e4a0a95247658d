//! How large the log's parts are, with the reason for each default.
//!
//! Plain data; [`Config::check`] says which value cannot work. Sizes are bytes on the disk.

use std::time::Duration;

use crate::block::GroupId;

/// The settings of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of one segment, made before they are needed. Default 64 MiB: a second of the heaviest load that is planned
    /// for, so that a segment is made and removed about once a second; range 64 KiB to 1 GiB.
    pub segment_bytes: u32,
    /// Bytes that one batch may have before it is written without waiting for more. Default 4 MiB: what a disk takes in
    /// the time of some syncs; range 4 KiB to a quarter of a segment.
    pub batch_bytes_max: u32,
    /// Bytes of one entry or slot. Default 1 MiB: four times the largest entry that consensus carries; range 1 KiB to
    /// [`Self::batch_bytes_max`] less 4 KiB.
    pub payload_bytes_max: u32,
    /// Bytes that wait to be written. Default 128 MiB: twice what proposals may have in flight, so that only a caller
    /// without a bound of its own is refused.
    pub queue_bytes_max: usize,
    /// Bytes of entries kept in memory after they were written, for followers that are a little behind. Default 64 MiB.
    pub cache_bytes_max: usize,
    /// How long a batch waits for more when the last one had many parts. Default 200 µs: a sync takes as long; range 0 to
    /// 1 ms.
    pub linger_max: Duration,
    /// Bytes of segments beyond twice what lives at which the oldest is written anew. Default 256 MiB: four segments.
    pub slack_bytes: u64,
    /// Segments that are ready before they are needed. Default 2: one for entries that wait when the disk becomes full,
    /// one for votes, truncations and compaction after that; range 1 to 64.
    pub spare_segments: u32,
    /// Bytes free on the file system below which no new entries of ordinary groups are taken. Default 512 MiB: twice
    /// [`Self::critical_free_bytes`]; 0 for never.
    pub low_free_bytes: u64,
    /// Bytes free on the file system below which no new entries are taken. Default 256 MiB: what may wait and the spare
    /// segments have room in it; range 0, for never, to [`Self::low_free_bytes`].
    pub critical_free_bytes: u64,
    /// How often the disk is asked what it has free. Default 1 s: at a gigabyte a second the marks are far enough apart;
    /// range 0, with each batch, to 60 s.
    pub space_poll: Duration,
    /// The first ordinary group: those before it are taken until space is critical. Default 1: group 0 says what the
    /// cluster is, and is small.
    pub ordinary_from: GroupId,
}

/// A setting has a value that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}, allowed is {minimum} to {maximum}")]
pub struct InvalidConfig {
    /// The name of the setting.
    pub setting: &'static str,
    /// Its value, in bytes or microseconds.
    pub value: u64,
    /// The smallest value that works.
    pub minimum: u64,
    /// The largest value that works.
    pub maximum: u64,
}

/// The defaults; reasons are at the fields.
pub const DEFAULTS: Config = Config {
    segment_bytes: 64 << 20,
    batch_bytes_max: 4 << 20,
    payload_bytes_max: 1 << 20,
    queue_bytes_max: 128 << 20,
    cache_bytes_max: 64 << 20,
    linger_max: Duration::from_micros(200),
    slack_bytes: 256 << 20,
    spare_segments: 2,
    low_free_bytes: 512 << 20,
    critical_free_bytes: 256 << 20,
    space_poll: Duration::from_secs(1),
    ordinary_from: GroupId(1),
};

const _: () = assert!(
    DEFAULTS.critical_free_bytes
        >= DEFAULTS.queue_bytes_max as u64 + DEFAULTS.spare_segments as u64 * DEFAULTS.segment_bytes as u64,
    "what waits when space becomes critical has to have room"
);

/// Bytes of the largest segment: places in it are numbers of 32 bits, and one is read as a whole.
pub(crate) const SEGMENT_BYTES_MAX: u32 = 1 << 30;

/// Room that a batch has beside its largest payload.
pub(crate) const OVERHEAD_BYTES: u32 = 4 << 10;

// === impl Config ===

impl Config {
    /// Checks each value against its range.
    ///
    /// # Errors
    /// [`InvalidConfig`] names the first setting that cannot work.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        let within = |setting, value: u64, minimum: u64, maximum: u64| {
            if (minimum..=maximum).contains(&value) {
                Ok(())
            } else {
                Err(InvalidConfig { setting, value, minimum, maximum })
            }
        };
        let (segment, batch) = (u64::from(self.segment_bytes), u64::from(self.batch_bytes_max));
        let overhead = u64::from(OVERHEAD_BYTES);
        within("segment_bytes", segment, 64 << 10, u64::from(SEGMENT_BYTES_MAX))?;
        within("batch_bytes_max", batch, 2 * overhead, segment / 4)?;
        within("payload_bytes_max", u64::from(self.payload_bytes_max), 1 << 10, batch - overhead)?;
        within("queue_bytes_max", self.queue_bytes_max as u64, batch, 1 << 40)?;
        within("linger_max", u64::try_from(self.linger_max.as_micros()).unwrap_or(u64::MAX), 0, 1_000)?;
        within("slack_bytes", self.slack_bytes, 2 * segment, 1 << 50)?;
        within("spare_segments", u64::from(self.spare_segments), 1, 64)?;
        within("low_free_bytes", self.low_free_bytes, 0, 1 << 50)?;
        within("critical_free_bytes", self.critical_free_bytes, 0, self.low_free_bytes)?;
        within("space_poll", u64::try_from(self.space_poll.as_micros()).unwrap_or(u64::MAX), 0, 60_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_work_and_what_cannot_is_named() {
        assert_eq!(DEFAULTS.check(), Ok(()));
        for (config, setting) in [
            (Config { segment_bytes: 1, ..DEFAULTS }, "segment_bytes"),
            (Config { batch_bytes_max: DEFAULTS.segment_bytes, ..DEFAULTS }, "batch_bytes_max"),
            (Config { payload_bytes_max: DEFAULTS.batch_bytes_max, ..DEFAULTS }, "payload_bytes_max"),
            (Config { queue_bytes_max: 1, ..DEFAULTS }, "queue_bytes_max"),
            (Config { linger_max: Duration::from_millis(2), ..DEFAULTS }, "linger_max"),
            (Config { slack_bytes: 0, ..DEFAULTS }, "slack_bytes"),
            (Config { spare_segments: 0, ..DEFAULTS }, "spare_segments"),
            (Config { low_free_bytes: u64::MAX, ..DEFAULTS }, "low_free_bytes"),
            (Config { low_free_bytes: 1, ..DEFAULTS }, "critical_free_bytes"),
            (Config { space_poll: Duration::from_secs(61), ..DEFAULTS }, "space_poll"),
        ] {
            assert_eq!(config.check().unwrap_err().setting, setting);
        }
    }
}
