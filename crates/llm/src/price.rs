//! What tokens cost: a catalog of prices, and the cost of a call by it.
//!
//! In: prices in dollars per million tokens, as providers publish them. Out: costs in billionths of a dollar, in whole numbers, so that
//! sums do not drift. A kind of tokens without a price of its own costs what the kind costs that it is part of.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::answer::Usage;

/// A million millionths of a dollar: prices are read in dollars per million tokens, and kept in these per token.
const PICO_PER_MICRO: f64 = 1_000_000.0;

/// The dearest that is believed, in dollars per million tokens: a hundred times the dearest model of 2026.
pub const DOLLARS_PER_MILLION_MAX: f64 = 100_000.0;

/// Prices of models, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    exact: BTreeMap<String, Price>,
    /// Names that end with `*`, without it.
    prefixes: BTreeMap<String, Price>,
}

/// What the tokens of one model cost, in trillionths of a dollar each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    input: u64,
    output: u64,
    cached: Option<u64>,
    cache_written: Option<u64>,
    input_audio: Option<u64>,
    output_audio: Option<u64>,
    reasoning: Option<u64>,
}

/// The cost of a call, in billionths of a dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(pub u64);

/// Prices of a model as a document says them, in dollars per million tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listed {
    /// Of input that is neither audio nor from or for a cache.
    pub input: f64,
    /// Of output.
    pub output: f64,
    /// Of input that is read from a cache.
    pub cached_input: Option<f64>,
    /// Of input that is written to a cache.
    pub cache_write: Option<f64>,
    /// Of audio in the input.
    pub input_audio: Option<f64>,
    /// Of audio in the output.
    pub output_audio: Option<f64>,
    /// Of thoughts.
    pub reasoning: Option<f64>,
}

/// A price that is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} of {model:?} is {found}: a price is from 0 to {DOLLARS_PER_MILLION_MAX} dollars per million tokens")]
pub struct NotAPrice {
    /// The model.
    pub model: String,
    /// Which price.
    pub field: &'static str,
    /// As it is written.
    pub found: f64,
}

// === impl Catalog ===

impl Catalog {
    /// Makes a catalog; of names that end with `*`, the longest that fits a model counts.
    #[must_use]
    pub fn new(prices: impl IntoIterator<Item = (String, Price)>) -> Self {
        let mut catalog = Self::default();
        for (model, price) in prices {
            match model.strip_suffix('*') {
                Some(prefix) => catalog.prefixes.insert(prefix.to_owned(), price),
                None => catalog.exact.insert(model, price),
            };
        }
        catalog
    }

    /// The price of a model, if it is known.
    #[must_use]
    pub fn price(&self, model: &str) -> Option<Price> {
        let begin = |end: usize| self.prefixes.get(&model[..end]);
        let by_prefix = || (0..=model.len()).rev().filter(|end| model.is_char_boundary(*end)).find_map(begin);
        self.exact.get(model).or_else(by_prefix).copied()
    }
}

// === impl Cost ===

impl Cost {
    /// In dollars.
    #[must_use]
    pub fn dollars(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a million dollars have 15 digits in billionths")]
        let dollars = self.0 as f64 / 1e9;
        dollars
    }
}

// === impl Price ===

impl Price {
    /// Reads what is listed of a model.
    ///
    /// # Errors
    /// [`NotAPrice`], the first.
    pub fn of(model: &str, listed: &Listed) -> Result<Self, NotAPrice> {
        let one = |field: &'static str, dollars: f64| {
            if (0.0..=DOLLARS_PER_MILLION_MAX).contains(&dollars) {
                // Both are in range, and whole after it.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was just bounded")]
                let pico = (dollars * PICO_PER_MICRO).round() as u64;
                Ok(pico)
            } else {
                Err(NotAPrice { model: model.to_owned(), field, found: dollars })
            }
        };
        let maybe = |field, dollars: Option<f64>| dollars.map(|dollars| one(field, dollars)).transpose();
        Ok(Self {
            input: one("input", listed.input)?,
            output: one("output", listed.output)?,
            cached: maybe("cachedInput", listed.cached_input)?,
            cache_written: maybe("cacheWrite", listed.cache_write)?,
            input_audio: maybe("inputAudio", listed.input_audio)?,
            output_audio: maybe("outputAudio", listed.output_audio)?,
            reasoning: maybe("reasoning", listed.reasoning)?,
        })
    }

    /// What a call costs.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Cost {
        let parts = [
            (usage.cached, self.cached.unwrap_or(self.input)),
            (usage.cache_written, self.cache_written.unwrap_or(self.input)),
            (usage.input_audio, self.input_audio.unwrap_or(self.input)),
            (rest(usage.input, [usage.cached, usage.cache_written, usage.input_audio]), self.input),
            (usage.reasoning, self.reasoning.unwrap_or(self.output)),
            (usage.output_audio, self.output_audio.unwrap_or(self.output)),
            (rest(usage.output, [usage.reasoning, usage.output_audio, 0]), self.output),
        ];
        let pico: u128 = parts.into_iter().map(|(tokens, price)| u128::from(tokens) * u128::from(price)).sum();
        Cost(u64::try_from(pico.div_ceil(1_000)).unwrap_or(u64::MAX))
    }
}

/// What is none of its parts; a provider whose parts are more than the whole is believed in its parts.
fn rest(whole: u64, parts: [u64; 3]) -> u64 {
    parts.into_iter().fold(whole, u64::saturating_sub)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(input: f64, output: f64) -> Listed {
        Listed {
            input,
            output,
            cached_input: None,
            cache_write: None,
            input_audio: None,
            output_audio: None,
            reasoning: None,
        }
    }

    #[test]
    fn each_token_is_paid_once_and_at_its_own_price() {
        let own = Listed { cached_input: Some(0.125), reasoning: Some(20.0), ..listed(1.25, 10.0) };
        let price = Price::of("m", &own).expect("a price");
        let usage = Usage { input: 1_000, cached: 800, output: 100, reasoning: 40, ..Usage::default() };

        // 200 × 1.25 + 800 × 0.125 + 60 × 10 + 40 × 20 millionths of a dollar.
        assert_eq!(price.cost(&usage), Cost(1_750_000));
    }

    #[test]
    fn the_longest_name_that_fits_counts() {
        let names = [("gpt-*", 1.0), ("gpt-5*", 2.0), ("gpt-5-mini", 3.0)];
        let price = |input| Price::of("", &listed(input, 0.0)).expect("a price");
        let catalog = Catalog::new(names.map(|(name, input)| (name.to_owned(), price(input))));
        let input = |model: &str| catalog.price(model).map(|price| price.input);

        assert_eq!(input("gpt-5-mini"), Some(3_000_000));
        assert_eq!(input("gpt-5-nano"), Some(2_000_000));
        assert_eq!(input("gpt-4o"), Some(1_000_000));
        assert_eq!(input("claude"), None);
        assert_eq!(input("gpt-"), Some(1_000_000));
        assert_eq!(input("größe"), None);
    }

    #[test]
    fn what_is_no_price_is_named() {
        for wrong in [-0.1, f64::NAN, f64::INFINITY, DOLLARS_PER_MILLION_MAX * 2.0] {
            let error = Price::of("m", &listed(1.0, wrong)).expect_err("it is none");
            assert_eq!((error.model.as_str(), error.field), ("m", "output"));
        }
    }
}
