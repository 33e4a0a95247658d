//! Lines over a doubling axis, as SVG: what a page of the book shows beside its table.
//!
//! Pure: numbers in, text out. Every series has the same places on the axis, and numbers from 0 up.

use std::fmt::Write as _;

/// A diagram: its title says what is up, and in which unit.
pub(super) struct Panel {
    pub(super) title: String,
    /// Places on the axis, each about twice the one before.
    pub(super) places: Vec<u32>,
    pub(super) lines: Vec<Line>,
}

/// A series.
pub(super) struct Line {
    pub(super) name: String,
    /// As many as there are places, with none where nothing was measured.
    pub(super) numbers: Vec<Option<f64>>,
}

/// Pixels of a panel, and of what is around its lines.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 64.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;
/// Pixels between the names of two lines, at least.
const BETWEEN_NAMES: f64 = 12.0;
/// Steps of the upward axis, about.
const STEPS: f64 = 5.0;
/// Colours that are told apart also without red or green (Okabe and Ito).
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000"];

/// Draws panels beside each other; `axis` is what the axis counts.
pub(super) fn svg(axis: &str, panels: &[Panel]) -> String {
    let width = WIDTH * panels.len() as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{width}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        let _ = writeln!(text, "<g transform=\"translate({} 0)\">", WIDTH * number as f64);
        panel.draw(axis, &mut text);
        text.push_str("</g>\n");
    }
    text.push_str("</svg>\n");
    text
}

// === impl Panel ===

impl Panel {
    // A string takes everything.
    fn draw(&self, axis: &str, text: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let highest = self.lines.iter().flat_map(|line| line.numbers.iter().flatten()).fold(0.0, |a: f64, b| a.max(*b));
        let step = step(highest);
        let top = (highest / step).ceil().max(1.0) * step;
        let up = |number: f64| bottom - (bottom - TOP) * number / top;
        let _ = writeln!(text, "<text x=\"{LEFT}\" y=\"18\" font-weight=\"bold\">{}</text>", escaped(&self.title));
        for mark in 0..=(top / step).round() as u32 {
            let (number, y) = (f64::from(mark) * step, up(f64::from(mark) * step));
            let _ = writeln!(
                text,
                "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{:.0}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                shown(number, step)
            );
        }
        for place in &self.places {
            let (x, y) = (self.across(*place), bottom + 16.0);
            let _ = writeln!(text, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{place}</text>");
        }
        let (middle, low) = ((LEFT + right) / 2.0, HEIGHT - 10.0);
        let _ = writeln!(text, "<text x=\"{middle}\" y=\"{low}\" text-anchor=\"middle\">{}</text>", escaped(axis));
        let ends: Vec<f64> = self.lines.iter().map(|line| up(line.last().unwrap_or(0.0))).collect();
        for ((line, name_y), colour) in self.lines.iter().zip(apart(&ends)).zip(COLOURS.iter().cycle()) {
            self.draw_line(line, colour, name_y, up, text);
        }
    }

    fn draw_line(&self, line: &Line, colour: &str, name_y: f64, up: impl Fn(f64) -> f64, text: &mut String) {
        let known = self.places.iter().zip(&line.numbers).filter_map(|(place, number)| Some((*place, (*number)?)));
        let points: Vec<(f64, f64)> = known.map(|(place, number)| (self.across(place), up(number))).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (x, y) in &points {
            let _ = writeln!(text, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        if let Some((x, _)) = points.last() {
            let (x, y) = (x + 7.0, name_y + 4.0);
            let _ = writeln!(text, "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{}</text>", escaped(&line.name));
        }
    }

    /// Where a place is from the left.
    fn across(&self, place: u32) -> f64 {
        let ends = self.places.first().zip(self.places.last());
        let (first, last) =
            ends.map_or((0.0, 0.0), |(first, last)| (f64::from(*first).log2(), f64::from(*last).log2()));
        let share = if last > first { (f64::from(place).log2() - first) / (last - first) } else { 0.5 };
        LEFT + 12.0 + share * (WIDTH - LEFT - RIGHT - 24.0)
    }
}

// === impl Line ===

impl Line {
    fn last(&self) -> Option<f64> {
        self.numbers.iter().rev().find_map(|number| *number)
    }
}

/// Where names are that belong at these heights, from the lowest up, and none over another.
fn apart(wanted: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*b].total_cmp(&wanted[*a]));
    let (mut placed, mut free) = (wanted.to_vec(), f64::INFINITY);
    for line in order {
        placed[line] = wanted[line].min(free);
        free = placed[line] - BETWEEN_NAMES;
    }
    placed
}

/// One of 1, 2 and 5 with some zeros, so that there are about [`STEPS`] up to the highest.
fn step(highest: f64) -> f64 {
    let rough = (highest / STEPS).max(1e-6);
    let zeros = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * zeros).find(|step| *step >= rough * 0.999).unwrap_or(rough)
}

fn shown(number: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).max(0.0) as usize;
    format!("{number:.digits$}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_few() {
        for (highest, step) in [(5.0, 1.0), (9.0, 2.0), (0.12, 0.05), (240.0, 50.0), (0.0, 1e-6)] {
            assert!((super::step(highest) - step).abs() < step * 1e-6, "{highest}: {}", super::step(highest));
        }
    }

    #[test]
    fn names_of_lines_that_end_at_the_same_height_are_above_each_other() {
        assert_eq!(apart(&[100.0, 98.0, 99.0, 20.0]), [100.0, 76.0, 88.0, 20.0]);
        assert_eq!(apart(&[]), [0.0_f64; 0]);
    }

    #[test]
    fn a_line_goes_through_its_numbers_and_leaves_out_what_was_not_measured() {
        let line = Line { name: "a < b".to_owned(), numbers: vec![Some(0.0), None, Some(10.0)] };
        let drawn = svg("x", &[Panel { title: "y".to_owned(), places: vec![8, 16, 32], lines: vec![line] }]);

        let (low, high) = (HEIGHT - BOTTOM, TOP);
        assert!(drawn.contains(&format!("points=\"68.0,{low:.1} 344.0,{high:.1}\"")), "{drawn}");
        assert!(drawn.contains("a &lt; b") && drawn.matches("<circle").count() == 2, "{drawn}");
    }
}
