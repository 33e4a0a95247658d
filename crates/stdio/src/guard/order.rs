//! What the node tells a guard, and what the guard tells the node, as bytes.
//!
//! An order travels once over the control socket, together with the program's standard input and output: it holds
//! secrets (the environment), which must not stand in an argument vector. A report is what became of the program.
//! Both ends are the same binary, so that the form has no version.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::exit::Status;
use crate::program::Resources;

/// The most bytes of an order: 4 MiB, twice what Linux takes as arguments and environment together.
pub(super) const ORDER_BYTES_MAX: usize = 4 << 20;

/// The bytes of a report: a tag and a number.
const REPORT_BYTES: usize = 5;

/// What a guard is to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// The program and its arguments; not empty.
    pub(crate) argv: Vec<OsString>,
    /// The whole environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// The working folder.
    pub(crate) folder: PathBuf,
    /// Whether the folder is made for the program, and removed with it.
    pub(crate) is_private: bool,
    /// What the program may use.
    pub(crate) resources: Resources,
}

/// The bytes are no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the control message is malformed")]
pub(super) struct Invalid;

/// Reads fields off the front of a message.
struct Fields<'a>(&'a [u8]);

// === impl Order ===

impl Order {
    /// Writes the order without its length; none when it is too long.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(1024);
        let Resources { cpu_seconds, memory_bytes, files } = self.resources;
        for limit in [cpu_seconds, memory_bytes, files] {
            bytes.push(u8::from(limit.is_some()));
            bytes.extend_from_slice(&limit.unwrap_or_default().to_be_bytes());
        }
        bytes.push(u8::from(self.is_private));
        put(&mut bytes, self.folder.as_os_str())?;
        put_count(&mut bytes, self.argv.len())?;
        for argument in &self.argv {
            put(&mut bytes, argument)?;
        }
        put_count(&mut bytes, self.environment.len())?;
        for (name, value) in &self.environment {
            put(&mut bytes, name)?;
            put(&mut bytes, value)?;
        }
        (bytes.len() <= ORDER_BYTES_MAX).then_some(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Invalid> {
        let mut fields = Fields(bytes);
        let mut limits = [None; 3];
        for limit in &mut limits {
            let is_there = fields.flag()?;
            let value = fields.number()?;
            *limit = is_there.then_some(value);
        }
        let [cpu_seconds, memory_bytes, files] = limits;
        let is_private = fields.flag()?;
        let folder = PathBuf::from(fields.text()?);
        let argv = (0..fields.count()?).map(|_| fields.text()).collect::<Result<Vec<_>, _>>()?;
        let environment =
            (0..fields.count()?).map(|_| Ok((fields.text()?, fields.text()?))).collect::<Result<Vec<_>, _>>()?;
        if argv.is_empty() || !fields.0.is_empty() {
            return Err(Invalid);
        }
        let resources = Resources { cpu_seconds, memory_bytes, files };
        Ok(Self { argv, environment, folder, is_private, resources })
    }
}

/// Writes what became of the program.
pub(super) fn write_report(status: Status) -> [u8; REPORT_BYTES] {
    let (tag, number) = match status {
        Status::Code(code) => (0, code),
        Status::Signal(signal) => (1, signal),
        Status::NotStarted(error) => (2, error),
        Status::Unknown => (3, 0),
        Status::Unfinished => (4, 0),
    };
    let [a, b, c, d] = number.to_be_bytes();
    [tag, a, b, c, d]
}

/// Reads what became of the program; none of bytes that no guard writes.
pub(crate) fn read_report(bytes: &[u8]) -> Option<Status> {
    let [tag, a, b, c, d] = *bytes else { return None };
    let number = i32::from_be_bytes([a, b, c, d]);
    match tag {
        0 => Some(Status::Code(number)),
        1 => Some(Status::Signal(number)),
        2 => Some(Status::NotStarted(number)),
        3 => Some(Status::Unknown),
        4 => Some(Status::Unfinished),
        _ => None,
    }
}

// === impl Fields ===

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Invalid> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Invalid)?;
        self.0 = rest;
        Ok(*field)
    }

    fn flag(&mut self) -> Result<bool, Invalid> {
        match self.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Invalid),
        }
    }

    fn number(&mut self) -> Result<u64, Invalid> {
        self.take().map(u64::from_be_bytes)
    }

    fn count(&mut self) -> Result<usize, Invalid> {
        let count = u32::from_be_bytes(self.take()?) as usize;
        // Each of them has at least its length in front: a larger count cannot be meant.
        if count > self.0.len() / 4 { Err(Invalid) } else { Ok(count) }
    }

    fn text(&mut self) -> Result<OsString, Invalid> {
        let length = u32::from_be_bytes(self.take()?) as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Invalid)?;
        self.0 = rest;
        Ok(OsString::from_vec(text.to_vec()))
    }
}

fn put_count(bytes: &mut Vec<u8>, count: usize) -> Option<()> {
    bytes.extend_from_slice(&u32::try_from(count).ok()?.to_be_bytes());
    Some(())
}

fn put(bytes: &mut Vec<u8>, text: &OsStr) -> Option<()> {
    put_count(bytes, text.len())?;
    bytes.extend_from_slice(text.as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = OsString> {
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(OsString::from_vec)
    }

    fn order() -> impl Strategy<Value = Order> {
        let resources = (any::<Option<u64>>(), any::<Option<u64>>(), any::<Option<u64>>());
        let pairs = proptest::collection::vec((text(), text()), 0..5);
        (proptest::collection::vec(text(), 1..5), pairs, text(), any::<bool>(), resources).prop_map(
            |(argv, environment, folder, is_private, (cpu_seconds, memory_bytes, files))| Order {
                argv,
                environment,
                folder: folder.into(),
                is_private,
                resources: Resources { cpu_seconds, memory_bytes, files },
            },
        )
    }

    proptest! {
        #[test]
        fn an_order_is_read_as_it_was_written(order in order()) {
            let bytes = order.encode().expect("it is short");
            prop_assert_eq!(Order::decode(&bytes), Ok(order));
        }

        #[test]
        fn whatever_is_cut_off_or_added_is_no_order(order in order(), cut in 1_usize..10) {
            let mut bytes = order.encode().expect("it is short");
            bytes.push(0);
            prop_assert_eq!(Order::decode(&bytes), Err(Invalid));
            bytes.truncate(bytes.len().saturating_sub(cut + 1));
            prop_assert_eq!(Order::decode(&bytes), Err(Invalid));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _either = Order::decode(&bytes);
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        for status in [Status::Code(3), Status::Signal(9), Status::NotStarted(2), Status::Unknown, Status::Unfinished] {
            assert_eq!(read_report(&write_report(status)), Some(status));
        }
        for bytes in [&[9, 0, 0, 0, 0][..], &[0, 0, 0, 0], &[]] {
            assert_eq!(read_report(bytes), None, "{bytes:?}");
        }
    }
}
