//! Pages of lists: how many, and after what.
//!
//! A page token is the sort key of the last entry, so that a page is found again whatever was added or removed meanwhile; it is
//! nothing that a caller should read. Size 0 is [`SIZE_DEFAULT`].

use tonic::Status;

use super::errors;

/// Entries of a page where nobody says how many.
pub const SIZE_DEFAULT: usize = 100;
/// Bytes of a page token: kind, tenant and name with what is between them.
const TOKEN_BYTES_MAX: usize = 512;

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    size: usize,
    after: Option<String>,
}

// === impl Paging ===

impl Paging {
    /// Reads what a request asks for.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a size that is negative or more than `most`, and a token that is none.
    pub fn read(size: i32, token: &str, most: usize) -> Result<Self, Status> {
        let read = usize::try_from(size).ok().filter(|size| *size <= most);
        let size = read.ok_or_else(|| errors::invalid("page_size", size, format_args!("0 to {most}")))?;
        if token.len() > TOKEN_BYTES_MAX || token.chars().any(char::is_control) {
            return Err(errors::invalid("page_token", format_args!("{token:?}"), "what the page before gave"));
        }
        let size = if size == 0 { SIZE_DEFAULT.min(most) } else { size };
        Ok(Self { size, after: Some(token.to_owned()).filter(|token| !token.is_empty()) })
    }

    /// Entries of the page.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The sort key of the last entry before it.
    #[must_use]
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }
}

/// Cuts a list of one entry more than a page to the page; returns the token of the next, or nothing where there is none.
pub fn next<T>(entries: &mut Vec<T>, size: usize, key: impl Fn(&T) -> String) -> String {
    if entries.len() <= size {
        return String::new();
    }
    entries.truncate(size);
    entries.last().map(key).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_where_the_one_before_ended() {
        let all = ["a", "b", "c", "d", "e"];
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let paging = Paging::read(2, &token, 1_000).expect("it is a page");
            let after = all.iter().filter(|entry| paging.after().is_none_or(|after| **entry > after));
            let mut page: Vec<&str> = after.take(paging.size() + 1).copied().collect();
            token = next(&mut page, paging.size(), |entry| (*entry).to_owned());
            seen.extend(page);
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_size_is_within_bounds_and_zero_is_the_default() {
        assert_eq!(Paging::read(0, "", 1_000).expect("it is one").size(), SIZE_DEFAULT);
        assert_eq!(Paging::read(1_000, "", 1_000).expect("it is one").size(), 1_000);
        for size in [-1, 1_001] {
            let refused = Paging::read(size, "", 1_000).expect_err("it is out of bounds");
            assert!(refused.message().contains("0 to 1000"), "{refused}");
        }
        assert!(Paging::read(1, "a\nb", 1_000).is_err());
    }
}
