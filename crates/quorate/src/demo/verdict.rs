//! What came of each fault, and whether the demo kept its word.
//!
//! In: the events that the client saw and when, and what the tool server wrote down. Out: a row of the table, and [`judge`], which
//! lists whatever was lost, doubled or run otherwise than once. An empty list is the only success.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::backend::journal::Written;
use crate::table::Table;

/// An event as the client saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) number: u64,
    pub(super) at: Instant,
}

/// What came of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Which fault there was.
    pub(super) fault: &'static str,
    /// The longest wait for an event since the fault, beyond the usual one.
    pub(super) pause: Duration,
    /// What the tool server wrote down.
    pub(super) written: Written,
    /// Steps that were to be reported.
    pub(super) steps: u64,
    pub(super) received: u64,
    /// Numbers up to the last step that never came.
    pub(super) lost: u64,
    /// Events whose number had come before.
    pub(super) doubled: u64,
    /// Events that came after one with a higher number, for the first time.
    pub(super) late: u64,
    /// Whether the answer came, and says that all was done.
    pub(super) is_answered: bool,
}

// === impl Row ===

impl Row {
    /// Counts what was seen of a call of `steps` steps, one each `interval`, with a fault at a time.
    pub(super) fn new(
        fault: &'static str,
        (steps, interval): (u64, Duration),
        seen: &[Seen],
        fault_at: Instant,
        written: Written,
        is_answered: bool,
    ) -> Self {
        let mut numbers = BTreeSet::new();
        let (mut doubled, mut late) = (0, 0);
        for event in seen {
            late +=
                u64::from(numbers.last().is_some_and(|last| event.number < *last) && !numbers.contains(&event.number));
            doubled += u64::from(!numbers.insert(event.number));
        }
        let missing = (1..=steps).filter(|number| !numbers.contains(number)).count();
        let waits = seen.windows(2).filter(|pair| pair[1].at >= fault_at).map(|pair| pair[1].at - pair[0].at);
        Self {
            fault,
            pause: waits.max().unwrap_or_default().saturating_sub(interval),
            written,
            steps,
            received: seen.len() as u64,
            lost: missing as u64,
            doubled,
            late,
            is_answered,
        }
    }

    /// What is wrong with it.
    fn problems(&self) -> Vec<String> {
        let unequal = |what: &str, is: u64, should: u64| {
            (is != should).then(|| format!("{}: {is} {what}, and there should be {should}", self.fault))
        };
        let unanswered = (!self.is_answered).then(|| format!("{}: the call has not its answer", self.fault));
        let problems = [
            unequal("events were sent", self.written.events, self.steps),
            unequal("events were received", self.received, self.steps),
            unequal("events were lost", self.lost, 0),
            unequal("events came twice", self.doubled, 0),
            unequal("events came out of order", self.late, 0),
            unequal("runs of one call", self.written.runs, 1),
            unanswered,
        ];
        problems.into_iter().flatten().collect()
    }
}

/// Lists all that is wrong; nothing is when everything came once, and each call ran once.
pub(super) fn judge(rows: &[Row]) -> Vec<String> {
    rows.iter().flat_map(Row::problems).collect()
}

/// The rows as a table.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table = Table::new(["FAULT", "PAUSE", "SENT", "RECEIVED", "LOST", "DOUBLED", "CALLS", "EXECUTED"]);
    for row in rows {
        table.row([
            row.fault.to_owned(),
            format!("{} ms", row.pause.as_millis()),
            row.written.events.to_string(),
            row.received.to_string(),
            row.lost.to_string(),
            row.doubled.to_string(),
            "1".to_owned(),
            row.written.runs.to_string(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events, what was written, whether the answer came, and what is told.
    type Case = (&'static [(u64, u64)], Written, bool, &'static str);

    const INTERVAL: Duration = Duration::from_millis(10);
    const USUAL: [(u64, u64); 4] = [(1, 0), (2, 10), (3, 20), (4, 30)];
    const ONCE: Written = Written { runs: 1, events: 4 };

    /// The row of a call of four steps; events are their number and when they came, in milliseconds. The fault was at 15 ms.
    fn row(events: &[(u64, u64)], written: Written, is_answered: bool) -> Row {
        let begun = Instant::now();
        let seen: Vec<Seen> =
            events.iter().map(|&(number, at)| Seen { number, at: begun + Duration::from_millis(at) }).collect();
        Row::new("a fault", (4, INTERVAL), &seen, begun + Duration::from_millis(15), written, is_answered)
    }

    #[test]
    fn everything_once_is_the_only_success() {
        let good = row(&[(1, 0), (2, 10), (3, 150), (4, 160)], ONCE, true);

        assert_eq!(judge(std::slice::from_ref(&good)), [""; 0]);
        assert_eq!(good.pause.as_millis(), 130);
        let expected = "\
FAULT    PAUSE   SENT  RECEIVED  LOST  DOUBLED  CALLS  EXECUTED
a fault  130 ms  4     4         0     0        1      1
";
        assert_eq!(table(&[good]), expected);
    }

    #[test]
    fn whatever_else_comes_is_told() {
        let cases: [Case; 8] = [
            (&[(1, 0), (2, 10), (4, 30)], ONCE, true, "1 events were lost"),
            (&[(1, 0), (2, 10), (3, 20)], ONCE, true, "1 events were lost"),
            (&[(1, 0), (2, 10), (2, 15), (3, 20), (4, 30)], ONCE, true, "1 events came twice"),
            (&[(1, 0), (3, 10), (2, 20), (4, 30)], ONCE, true, "1 events came out of order"),
            (&USUAL, Written { runs: 2, ..ONCE }, true, "2 runs of one call"),
            (&USUAL, Written { runs: 0, ..ONCE }, true, "0 runs of one call"),
            (&USUAL, Written { events: 5, ..ONCE }, true, "5 events were sent"),
            (&USUAL, ONCE, false, "has not its answer"),
        ];
        for (events, written, is_answered, problem) in cases {
            let good = row(&USUAL, ONCE, true);
            let problems = judge(&[good, row(events, written, is_answered)]);
            assert!(problems.iter().any(|one| one.contains(problem)), "{problem}: {problems:?}");
        }
    }

    #[test]
    fn a_wait_before_the_fault_is_no_pause_of_it() {
        assert_eq!(row(&[(1, 0), (2, 14), (3, 24), (4, 34)], ONCE, true).pause, Duration::ZERO);
        // The wait in which the fault is, is.
        assert_eq!(row(&[(1, 0), (2, 10), (3, 30), (4, 40)], ONCE, true).pause.as_millis(), 10);
    }
}
