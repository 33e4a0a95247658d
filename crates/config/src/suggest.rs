//! Which known word a misspelled one probably means.
//!
//! Words that differ only in case or separators are the same word; otherwise the nearest by edit
//! distance (insertions, deletions, replacements, swapped neighbours) wins, when it is near enough
//! that the guess helps more than it misleads.

/// Longer words are not compared: nobody misspells them, and the comparison is quadratic.
const WORD_CHARS_MAX: usize = 64;

/// Returns the word of `known` that `given` probably means.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.chars().count() > WORD_CHARS_MAX {
        return None;
    }
    let scored = known.into_iter().map(|word| (score(given, word), word));
    let (distance, word) = scored.min_by_key(|(distance, _)| *distance)?;
    let longest = given.chars().count().max(word.chars().count());
    (distance <= (longest / 3).max(1)).then_some(word)
}

fn score(given: &str, word: &str) -> usize {
    if folded(given).eq(folded(word)) {
        return 0;
    }
    distance(&given.chars().collect::<Vec<_>>(), &word.chars().collect::<Vec<_>>())
}

/// Drops case and separators: `streams_per_connection` is `streamsPerConnection`.
fn folded(word: &str) -> impl Iterator<Item = char> {
    word.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase)
}

/// The optimal string alignment distance, in three rolling rows.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, l) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, r) in right.iter().enumerate() {
            let replaced = previous[column] + usize::from(l != r);
            let shifted = 1 + previous[column + 1].min(current[column]);
            let swapped = row > 0 && column > 0 && *l == right[column - 1] && left[row - 1] == *r;
            let swap = if swapped { before[column - 1] + 1 } else { usize::MAX };
            current.push(replaced.min(shifted).min(swap));
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[right.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slip_of_the_fingers_finds_its_word() {
        let known = ["urls", "era", "transport", "streamsPerConnection", "limits"];
        let check = |given: &str, expected: Option<&str>| assert_eq!(nearest(given, known), expected, "{given}");

        check("url", Some("urls"));
        check("ulrs", Some("urls"));
        check("Transport", Some("transport"));
        check("trasnport", Some("transport"));
        check("streams_per_connection", Some("streamsPerConnection"));
        check("limit", Some("limits"));
        check("password", None);
        check("", None);
        check(&"x".repeat(10_000), None);
    }

    #[test]
    fn nothing_is_near_when_nothing_is_known() {
        assert_eq!(nearest("urls", []), None);
    }

    proptest! {
        #[test]
        fn distance_is_a_metric_between_neighbours(left in "[a-c]{0,8}", right in "[a-c]{0,8}") {
            let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
            let there = distance(&left, &right);
            prop_assert_eq!(there, distance(&right, &left));
            prop_assert_eq!(there == 0, left == right);
            prop_assert!(there >= left.len().abs_diff(right.len()));
            prop_assert!(there <= left.len().max(right.len()));
        }
    }
}
