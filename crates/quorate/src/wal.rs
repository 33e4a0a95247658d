//! `quorate wal inspect`: what is in the log of a stopped node, and whether the node would start from it.
//!
//! Reads the files as the node would and changes nothing. A log that is in use is refused, for its files are used again while
//! they are read. What entries say is printed on demand alone: it may be secret.

use std::io;
use std::path::{Path, PathBuf};

use quorate_wal::{EntryReport, Folder, GroupId, GroupState, Inspected, OpenError, SegmentReport, Slot, inspect};
use serde_json::{Value, json};

use crate::cli::wal::{InspectArgs, Output, WalCommand};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::run::shown;

/// Where a node has its log, in its data folder.
const FOLDER: &str = "wal";
/// Bytes of an entry that are printed: what tells which command it is, and a line that can be read.
const PAYLOAD_BYTES_MAX: usize = 256;
/// What slots are for; others are shown by their number.
const SLOTS: [(Slot, &str); 2] = [(Slot(0), "vote"), (Slot(1), "committed")];
/// Bytes of a slot that a table shows.
const SLOT_BYTES_MAX: usize = 16;

/// Runs the command.
///
/// # Errors
/// [`Failure`] when there is no log, it is in use or cannot be read, or a node would not start from it.
pub(crate) fn run(command: &WalCommand) -> Result<(), Failure> {
    let WalCommand::Inspect(args) = command;
    let folder = folder_of(&args.folder);
    let disk = Folder::to_read(&folder).map_err(|error| unopened(&folder, &error))?;
    let inspected = inspect(&disk).map_err(|error| Failure::new(Exit::Failure, with_sources(&error)))?;
    if inspected.segments.is_empty() {
        return Err(Failure::new(Exit::Failure, format!("there is no log in {}", shown(&folder)))
            .advise("name the data folder of a node of a cluster"));
    }
    match (args.entries, &inspected.refused) {
        (Some(group), None) => entries(args, &inspected, GroupId(group))?,
        (None, _) | (_, Some(_)) => {
            let text = match args.output {
                Output::Table => summary(&folder, &inspected),
                Output::Json => json_of(&inspected).to_string(),
            };
            output::print(&output::visible(&text))?;
        }
    }
    match &inspected.refused {
        None => Ok(()),
        Some(error) => Err(refused(error)),
    }
}

/// A data folder has the log in a folder of its own.
fn folder_of(named: &Path) -> PathBuf {
    let inside = named.join(FOLDER);
    if inside.is_dir() { inside } else { named.to_owned() }
}

fn unopened(folder: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::WouldBlock {
        return Failure::new(Exit::Failure, format!("{} is in use by a running node", shown(folder)))
            .advise("stop the node first, or inspect a copy of a snapshot of its disk; files that are copied while the node runs look corrupt");
    }
    Failure::new(Exit::Failure, format!("cannot read {}: {error}", shown(folder)))
}

fn refused(error: &OpenError) -> Failure {
    let failure = Failure::new(Exit::Failure, format!("a node does not start from this log: {}", cause(error)));
    match error {
        OpenError::Version { .. } => failure.advise("use the version of quorate that wrote it, or a newer one"),
        _ => failure.advise(
            "this replica must be replaced: keep the folder for an inquiry, start the node with an empty one, and let it \
             join as a new node; the others have what it had",
        ),
    }
}

/// Says what is wrong, without the way out, which is printed apart.
fn cause(error: &OpenError) -> String {
    match error {
        OpenError::Corrupt { file, offset, what } => format!("{file} is corrupt at byte {offset}: {what}"),
        other => with_sources(other),
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn summary(folder: &Path, inspected: &Inspected) -> String {
    let verdict = match &inspected.refused {
        None => "can be trusted",
        Some(_) => "CANNOT BE TRUSTED",
    };
    let log = inspected.log.map_or_else(|| "no batch".to_owned(), |log| format!("log {log:032x}"));
    let spares = inspected.spares;
    let mut text = format!("{}: {log}, {verdict}; spare segments: {spares}\n\n", shown(folder));
    let segments = inspected.segments.iter().map(|segment| {
        let [entries, moved, truncations, slots, purges, forgotten] = segment.records.map(|count| count.to_string());
        [
            segment.segment.to_string(),
            segment.first_batch.map_or_else(|| "-".to_owned(), |batch| batch.to_string()),
            segment.batches.to_string(),
            segment.bytes.to_string(),
            segment.live_bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
            entries,
            moved,
            truncations,
            slots,
            purges,
            forgotten,
        ]
    });
    let titles = [
        "SEGMENT",
        "FIRST BATCH",
        "BATCHES",
        "BYTES",
        "LIVE",
        "ENTRIES",
        "MOVED",
        "TRUNCATED",
        "SLOTS",
        "PURGED",
        "FORGOTTEN",
    ];
    text.push_str(&table(titles, segments));
    if !inspected.groups.is_empty() {
        text.push('\n');
        let groups = inspected.groups.iter().map(|(group, state)| {
            let slots: Vec<String> = state.slots.iter().map(|(slot, value)| slot_text(*slot, value)).collect();
            let purged = if state.purged.is_some() { format!("before {}", state.first) } else { "-".to_owned() };
            let entries = state.next - state.first;
            [
                group.0.to_string(),
                state.first.to_string(),
                state.next.to_string(),
                entries.to_string(),
                purged,
                or_dash(slots.join(" ")),
            ]
        });
        text.push_str(&table(["GROUP", "FIRST", "NEXT", "ENTRIES", "PURGED", "SLOTS"], groups));
    }
    for (segment, offset) in torn(inspected) {
        text.push_str(&format!(
            "\n{} ends at byte {offset} in a batch that a crash cut short: it was never reported durable, and is dropped\n",
            segment.file()
        ));
    }
    text
}

fn torn(inspected: &Inspected) -> impl Iterator<Item = (&SegmentReport, u64)> {
    inspected.segments.iter().filter_map(|segment| Some((segment, segment.torn_at?)))
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

fn slot_name(slot: Slot) -> String {
    let known = SLOTS.iter().find(|(known, _)| *known == slot);
    known.map_or_else(|| format!("slot{}", slot.0), |(_, name)| (*name).to_owned())
}

fn slot_text(slot: Slot, value: &[u8]) -> String {
    let more = if value.len() > SLOT_BYTES_MAX { "…" } else { "" };
    format!("{}={}{more}", slot_name(slot), hex(&value[..value.len().min(SLOT_BYTES_MAX)]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json_of(inspected: &Inspected) -> Value {
    let segments = inspected.segments.iter().map(|segment| {
        let [entries, moved, truncations, slots, purges, forgotten] = segment.records;
        json!({
            "segment": segment.segment, "file": segment.file(), "firstBatch": segment.first_batch,
            "batches": segment.batches, "bytes": segment.bytes, "liveBytes": segment.live_bytes,
            "records": {
                "entries": entries, "moved": moved, "truncations": truncations, "slots": slots, "purges": purges,
                "forgotten": forgotten,
            },
            "tornAt": segment.torn_at,
        })
    });
    let groups = inspected.groups.iter().map(|(group, state)| group_json(*group, state));
    let refused = inspected.refused.as_ref().map(|error| match error {
        OpenError::Corrupt { file, offset, what } => json!({ "file": file, "offset": offset, "reason": what }),
        other => json!({ "reason": with_sources(other) }),
    });
    json!({
        "log": inspected.log.map(|log| format!("{log:032x}")),
        "trusted": inspected.refused.is_none(),
        "refused": refused,
        "liveBytes": inspected.live_bytes,
        "spareSegments": inspected.spares,
        "segments": segments.collect::<Vec<_>>(),
        "groups": groups.collect::<Vec<_>>(),
    })
}

fn group_json(group: GroupId, state: &GroupState) -> Value {
    let slots = state.slots.iter().map(|(slot, value)| (slot_name(*slot), Value::String(hex(value))));
    json!({
        "group": group.0, "first": state.first, "next": state.next,
        "purged": state.purged.as_ref().map(|note| hex(note)),
        "slots": slots.collect::<serde_json::Map<_, _>>(),
    })
}

fn entries(args: &InspectArgs, inspected: &Inspected, group: GroupId) -> Result<(), Failure> {
    let Some(state) = inspected.groups.get(&group) else {
        let known: Vec<String> = inspected.groups.keys().map(|group| group.0.to_string()).collect();
        let failure = Failure::new(Exit::Failure, format!("this log has nothing of {group}"));
        return Err(failure.advise(format!("it has these groups: {}", or_dash(known.join(" ")))));
    };
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let found = inspected.entries(group, args.from, limit);
    let found = found.map_err(|error| Failure::new(Exit::Failure, with_sources(&error)))?;
    let behind = found.last().map_or(args.from.max(state.first), |entry| entry.index + 1);
    let text = match args.output {
        Output::Table => entries_table(&found, args.payload),
        Output::Json => {
            let entries: Vec<Value> = found.iter().map(|entry| entry_json(entry, args.payload)).collect();
            json!({ "group": group.0, "first": state.first, "next": state.next, "entries": entries }).to_string()
        }
    };
    output::print(&text)?;
    if behind < state.next && args.output == Output::Table {
        output::note(&format!("{} more: go on with --from {behind}", state.next - behind));
    }
    Ok(())
}

fn entries_table(found: &[EntryReport], with_payload: bool) -> String {
    let rows = found.iter().map(|entry| {
        let payload = if with_payload { payload_text(entry) } else { String::new() };
        let (index, bytes) = (entry.index.to_string(), entry.payload.len().to_string());
        [index, bytes, format!("{:08x}", entry.crc), entry.file.clone(), entry.offset.to_string(), payload]
    });
    table(["INDEX", "BYTES", "CRC", "FILE", "OFFSET", if with_payload { "PAYLOAD" } else { "" }], rows)
}

fn entry_json(entry: &EntryReport, with_payload: bool) -> Value {
    let mut value = json!({
        "index": entry.index, "bytes": entry.payload.len(), "crc": format!("{:08x}", entry.crc), "file": entry.file,
        "offset": entry.offset,
    });
    if with_payload {
        value["payload"] = json!(hex(&entry.payload[..entry.payload.len().min(PAYLOAD_BYTES_MAX)]));
        value["payloadCut"] = json!(entry.payload.len() > PAYLOAD_BYTES_MAX);
    }
    value
}

fn payload_text(entry: &EntryReport) -> String {
    let more = if entry.payload.len() > PAYLOAD_BYTES_MAX { "…" } else { "" };
    format!("{}{more}", hex(&entry.payload[..entry.payload.len().min(PAYLOAD_BYTES_MAX)]))
}

/// Writes rows in columns, under titles.
fn table<const COLUMNS: usize>(titles: [&str; COLUMNS], rows: impl Iterator<Item = [String; COLUMNS]>) -> String {
    let rows: Vec<[String; COLUMNS]> = std::iter::once(titles.map(str::to_owned)).chain(rows).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect::<Vec<_>>();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
