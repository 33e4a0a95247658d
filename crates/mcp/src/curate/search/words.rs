//! Cuts texts into the words that are searched for.
//!
//! Names are written `snake_case`, `kebab-case` or `camelCase`, so a word ends at anything that is
//! no letter or digit, and before a capital that follows a small letter. Words are small letters
//! without the `s` of a plural. Scripts that set no spaces (Han, Kana, Hangul, Thai and their
//! neighbours) are cut into overlapping pairs of characters. Nothing here knows weights.

/// The longest word in characters; the rest of a longer one counts for nothing.
const WORD_CHARS_MAX: usize = 32;

/// English words that a query has for its grammar. Among short texts about tools they can be rare
/// enough to outweigh what is meant.
const FILLERS: [&str; 26] = [
    "a", "all", "an", "and", "are", "as", "at", "by", "can", "for", "from", "i", "in", "is", "it", "my", "of", "on",
    "or", "that", "the", "there", "to", "what", "which", "with",
];

/// Tells whether a word of a query says nothing of what is meant.
pub(super) fn is_filler(word: &str) -> bool {
    FILLERS.binary_search(&word).is_ok()
}

/// Calls `each` with the words of `text`, at most `words_max` of them.
pub(super) fn each(text: &str, words_max: usize, mut each: impl FnMut(&str)) {
    let mut cutter = Cutter { word: String::new(), chars: 0, last: Class::Other, left: words_max };
    for character in text.chars() {
        if cutter.left == 0 {
            return;
        }
        cutter.push(character, &mut each);
    }
    cutter.finish(&mut each);
}

/// What a character is to words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Small,
    Capital,
    Digit,
    /// Of a script without spaces; holds the character.
    Dense(char),
    Other,
}

struct Cutter {
    word: String,
    chars: usize,
    last: Class,
    /// Words that may still come.
    left: usize,
}

// === impl Cutter ===

impl Cutter {
    fn push(&mut self, character: char, each: &mut impl FnMut(&str)) {
        let class = class(character);
        let ends = matches!(
            (self.last, class),
            (_, Class::Other | Class::Dense(_)) | (Class::Dense(_), _) | (Class::Small | Class::Digit, Class::Capital)
        );
        if ends {
            self.finish(each);
        }
        match (self.last, class) {
            (Class::Dense(before), Class::Dense(now)) => self.say(&String::from_iter([before, now]), each),
            (_, Class::Small | Class::Capital | Class::Digit) if self.chars < WORD_CHARS_MAX => {
                self.word.extend(character.to_lowercase());
                self.chars += 1;
            }
            _ => {}
        }
        self.last = class;
    }

    fn finish(&mut self, each: &mut impl FnMut(&str)) {
        if self.word.is_empty() {
            return;
        }
        let word = std::mem::take(&mut self.word);
        self.chars = 0;
        self.say(singular(&word), each);
    }

    fn say(&mut self, word: &str, each: &mut impl FnMut(&str)) {
        if self.left > 0 {
            self.left -= 1;
            each(word);
        }
    }
}

/// The word without the ending of an English plural. It need not be a word, only the same for
/// both forms.
fn singular(word: &str) -> &str {
    if word.len() > 3 && word.ends_with('s') && !word.ends_with("ss") && !word.ends_with("us") {
        // `queries` and `query`, `boxes` and `box` stay apart by their stems alone.
        return word
            .strip_suffix("es")
            .filter(|stem| stem.ends_with(['x', 'h', 's', 'z']))
            .unwrap_or(&word[..word.len() - 1]);
    }
    word
}

fn class(character: char) -> Class {
    match character {
        'a'..='z' => Class::Small,
        'A'..='Z' => Class::Capital,
        '0'..='9' => Class::Digit,
        dense if is_dense(dense) => Class::Dense(dense),
        letter if letter.is_uppercase() => Class::Capital,
        letter if letter.is_alphabetic() => Class::Small,
        digit if digit.is_numeric() => Class::Digit,
        _ => Class::Other,
    }
}

/// Whether a character is of a script that sets no spaces between words.
fn is_dense(character: char) -> bool {
    matches!(
        character,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
            | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{323af}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        each(text, 100, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn names_and_sentences_are_cut_alike() {
        for (text, expected) in [
            ("create_issue", vec!["create", "issue"]),
            ("createIssue2x", vec!["create", "issue2x"]),
            ("HTTPServer list-all", vec!["httpserver", "list", "all"]),
            ("Lists the issues, boxes & classes.", vec!["list", "the", "issue", "box", "class"]),
            ("Größe ändern", vec!["größe", "ändern"]),
            ("文件搜索 file", vec!["文件", "件搜", "搜索", "file"]),
            ("status process", vec!["status", "process"]),
            ("__ -- ", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn fillers_are_in_alphabetic_order_as_looking_them_up_needs() {
        assert!(FILLERS.is_sorted());
        assert!(FILLERS.iter().all(|word| is_filler(word)) && !is_filler("file"));
    }

    #[test]
    fn long_words_and_long_texts_are_cut_off() {
        assert_eq!(words(&"x".repeat(100)), ["x".repeat(WORD_CHARS_MAX)]);
        let mut count = 0;
        each(&"a b ".repeat(1000), 7, |_| count += 1);
        assert_eq!(count, 7);
    }
}
