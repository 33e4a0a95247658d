//! Composes the instructions that a toolset gives its clients.
//!
//! In: the toolset's own text and what its servers say, in the order of the toolset. Out: one text:
//! the toolset's own first, because it speaks of all; then each server's, labelled with its name
//! where several speak; then how to find tools that are not listed.

use super::find;
use super::rule::{Listed, Search};

/// The longest text of a toolset's own in bytes; models read it with every conversation.
pub const OWN_BYTES_MAX: usize = 16 << 10;

/// What one server says.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// Its name in the toolset.
    pub name: &'a str,
    /// Its instructions.
    pub text: &'a str,
}

/// Composes what a toolset says; nothing when there is nothing to say. `labels` is whether the
/// toolset has several servers, so that each has to be named.
#[must_use]
pub fn compose(own: Option<&str>, said: &[Said<'_>], labels: bool, search: Option<&Search>) -> Option<String> {
    let labelled = |said: &Said<'_>| match labels {
        true => format!("[{}] {}", said.name, said.text),
        false => said.text.to_owned(),
    };
    let hint = search.filter(|search| matches!(search.listed, Listed::Pinned(_))).map(|_| {
        format!(
            "More tools exist than are listed: call `{}` with what you want to do, then call what it finds.",
            find::NAME
        )
    });
    let parts = own.map(str::to_owned).into_iter().chain(said.iter().map(labelled)).chain(hint);
    let text = parts.collect::<Vec<_>>().join("\n\n");
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_toolset_speaks_first_and_servers_are_labelled_where_there_are_several() {
        let said = [Said { name: "files", text: "Paths are absolute." }, Said { name: "web", text: "Be brief." }];
        let compose = |own, said: &[Said<'_>], labels| compose(own, said, labels, None);
        assert_eq!(compose(None, &said[..1], false).as_deref(), Some("Paths are absolute."));
        assert_eq!(compose(None, &said[..1], true).as_deref(), Some("[files] Paths are absolute."));
        assert_eq!(
            compose(Some("For the office."), &said, true).as_deref(),
            Some("For the office.\n\n[files] Paths are absolute.\n\n[web] Be brief.")
        );
        assert_eq!(compose(None, &[], true), None);
        assert_eq!(compose(Some("Only this."), &[], true).as_deref(), Some("Only this."));
    }

    #[test]
    fn clients_are_told_how_to_find_what_is_not_listed() {
        let search = |listed| Search { listed, results_max: 5 };
        assert_eq!(compose(None, &[], false, Some(&search(Listed::All))), None);
        let hint = compose(Some("Hello."), &[], false, Some(&search(Listed::Pinned(Vec::new()))));
        assert!(hint.is_some_and(|text| text.starts_with("Hello.\n\nMore tools") && text.contains("`find_tools`")));
    }
}
