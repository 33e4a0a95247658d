//! Ranks the tools of a toolset by how well they answer a query.
//!
//! In: what is said of each tool, field by field, once; then queries. Out: the best tools, best
//! first. BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009, §3.1) over
//! one bag of words per tool in which a word counts as often as its field weighs (BM25F, §3.6). A
//! word of the query also finds the words that begin with it, for half. All of it is in whole
//! numbers, so that every node ranks alike; of equals the earlier listed comes first.

use std::collections::HashMap;

use super::fixed;

mod words;

/// The longest query in characters, which is how JSON Schema counts: more than a sentence.
pub const QUERY_CHARS_MAX: usize = 512;
/// The words of a query that count.
const QUERY_WORDS_MAX: usize = 32;
/// The words of one tool that count: of long descriptions the beginning.
const TOOL_WORDS_MAX: usize = 512;
/// The shortest beginning of a word that finds it.
const PREFIX_CHARS_MIN: usize = 3;
/// The most words that one beginning finds, of all that a toolset has.
const PREFIX_WORDS_MAX: usize = 64;

/// How much a word counts in each field. A name is chosen with care, a description mentions much.
const NAME_WEIGHT: u32 = 5;
const TITLE_WEIGHT: u32 = 4;
const TAG_WEIGHT: u32 = 4;
const ARGUMENT_WEIGHT: u32 = 2;
const DESCRIPTION_WEIGHT: u32 = 1;

/// BM25's k1 = 1.2, in tenths: how soon more of the same word adds no more.
const K1_TENTHS: u64 = 12;
/// BM25's b = 0.75, in quarters: how much long texts are held against a tool.
const B_QUARTERS: u64 = 3;

/// What is said of one tool.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Described<'a> {
    pub(crate) name: &'a str,
    pub(crate) title: &'a str,
    pub(crate) description: &'a str,
}

/// The words of a toolset's tools.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// The words in alphabetic order, each with where its postings end; they begin where those of
    /// the word before end.
    words: Vec<(Box<str>, u32)>,
    /// Tools that have a word, in the order of tools.
    postings: Vec<Posting>,
    /// How much each tool's words count together.
    lengths: Vec<u32>,
    lengths_total: u64,
}

/// Gathers what is said of tools.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    words: HashMap<Box<str>, Vec<Posting>>,
    lengths: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Posting {
    tool: u32,
    /// How much the word counts in the tool.
    weight: u32,
}

// === impl Builder ===

impl Builder {
    /// Adds the next tool, with its tags and the names of its arguments.
    pub(crate) fn add<'t>(
        &mut self,
        tool: Described<'_>,
        tags: impl Iterator<Item = &'t str>,
        arguments: impl Iterator<Item = &'t str>,
    ) {
        let mut bag = Bag { builder: self, words_left: TOOL_WORDS_MAX, length: 0 };
        bag.add(tool.name, NAME_WEIGHT);
        bag.add(tool.title, TITLE_WEIGHT);
        tags.for_each(|tag| bag.add(tag, TAG_WEIGHT));
        arguments.for_each(|argument| bag.add(argument, ARGUMENT_WEIGHT));
        bag.add(tool.description, DESCRIPTION_WEIGHT);
        let length = bag.length;
        self.lengths.push(length);
    }

    /// Adds a tool that no query finds.
    pub(crate) fn add_nothing(&mut self) {
        self.lengths.push(0);
    }

    pub(crate) fn build(self) -> Index {
        let mut words: Vec<(Box<str>, Vec<Posting>)> = self.words.into_iter().collect();
        words.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let mut postings = Vec::with_capacity(words.iter().map(|(_, postings)| postings.len()).sum());
        let words = words.into_iter().map(|(word, of_word)| {
            postings.extend(of_word);
            (word, u32::try_from(postings.len()).unwrap_or(u32::MAX))
        });
        let words = words.collect();
        let lengths_total = self.lengths.iter().map(|length| u64::from(*length)).sum();
        Index { words, postings, lengths: self.lengths, lengths_total }
    }
}

/// The words of one tool, as they are gathered.
struct Bag<'b> {
    builder: &'b mut Builder,
    words_left: usize,
    length: u32,
}

// === impl Bag ===

impl Bag<'_> {
    fn add(&mut self, text: &str, weight: u32) {
        let tool = u32::try_from(self.builder.lengths.len()).unwrap_or(u32::MAX);
        let mut count = 0;
        words::each(text, self.words_left, |word| {
            count += 1;
            if !self.builder.words.contains_key(word) {
                self.builder.words.insert(word.into(), Vec::new());
            }
            let Some(postings) = self.builder.words.get_mut(word) else { return };
            match postings.last_mut() {
                Some(posting) if posting.tool == tool => posting.weight += weight,
                Some(_) | None => postings.push(Posting { tool, weight }),
            }
            self.length += weight;
        });
        self.words_left -= count;
    }
}

// === impl Index ===

impl Index {
    /// Returns the best tools for `query` among those that are shown, at most `results_max`, as their
    /// places in the order of adding, best first; a tool that has no word of the query is none.
    #[must_use]
    pub fn search(&self, query: &str, results_max: usize, is_shown: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut asked: Vec<String> = Vec::new();
        words::each(query, QUERY_WORDS_MAX, |word| {
            if !asked.iter().any(|known| known == word) {
                asked.push(word.to_owned());
            }
        });
        if !asked.iter().all(|word| words::is_filler(word)) {
            asked.retain(|word| !words::is_filler(word));
        }
        let mut scores = vec![0u64; self.lengths.len()];
        for word in &asked {
            self.score(word, &mut scores);
        }
        let mut found: Vec<(u64, usize)> =
            scores.into_iter().enumerate().filter(|(_, score)| *score > 0).map(|(tool, score)| (score, tool)).collect();
        // What is not shown takes no place of what is.
        found.retain(|(_, tool)| is_shown(*tool));
        found.sort_unstable_by(|(score, tool), (other_score, other)| other_score.cmp(score).then(tool.cmp(other)));
        found.truncate(results_max);
        found.into_iter().map(|(_, tool)| tool).collect()
    }

    /// Returns about how many bytes it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let words: usize = self.words.iter().map(|(word, _)| word.len() + size_of::<(Box<str>, u32)>()).sum();
        words + self.postings.len() * size_of::<Posting>() + self.lengths.len() * size_of::<u32>()
    }

    /// Adds what one word of a query scores, in units of 2⁻³².
    fn score(&self, asked: &str, scores: &mut [u64]) {
        let first = self.words.partition_point(|(word, _)| **word < *asked);
        let is_beginning = asked.chars().count() >= PREFIX_CHARS_MIN;
        let found = self.words[first..].iter().enumerate().take(PREFIX_WORDS_MAX);
        let mut best: HashMap<u32, u64> = HashMap::new();
        for (index, (word, end)) in found.take_while(|(_, (word, _))| word.starts_with(asked)) {
            let is_whole = **word == *asked;
            if !is_whole && !is_beginning {
                break;
            }
            let start = (first + index).checked_sub(1).map_or(0, |before| self.words[before].1);
            let postings = &self.postings[start as usize..*end as usize];
            let rarity = self.rarity(postings.len());
            for posting in postings {
                let score = self.bm25(rarity, posting) / if is_whole { 1 } else { 2 };
                let best = best.entry(posting.tool).or_default();
                *best = score.max(*best);
            }
        }
        // Of the words that one beginning finds in a tool the best counts, not all of them.
        for (tool, score) in best {
            scores[tool as usize] += score;
        }
    }

    /// BM25's idf: log2(1 + (N − n + ½) / (n + ½)).
    fn rarity(&self, having: usize) -> u64 {
        let (all, having) = (self.lengths.len() as u64, having as u64);
        fixed::log2(2 * all + 2) - fixed::log2(2 * having + 1)
    }

    fn bm25(&self, rarity: u64, posting: &Posting) -> u64 {
        let (weight, length) = (u64::from(posting.weight), u64::from(self.lengths[posting.tool as usize]));
        // tf · (k1 + 1) / (tf + k1 · (1 − b + b · length / average)), all parts times 40 · total.
        let tools = self.lengths.len() as u64;
        let norm = K1_TENTHS * ((4 - B_QUARTERS) * self.lengths_total + B_QUARTERS * length * tools);
        let numerator = u128::from(weight * (K1_TENTHS + 10)) * u128::from(4 * self.lengths_total);
        let denominator = u128::from(weight) * u128::from(40 * self.lengths_total) + u128::from(norm);
        let score = u128::from(rarity) * numerator / denominator.max(1);
        u64::try_from(score).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
