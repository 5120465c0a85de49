//! Charts as inline SVG.
//!
//! Horizontal positions are in percent and vertical ones in pixels, without a `viewBox`: a chart
//! fills any width, and its text keeps its size.

use std::fmt::Write;

use super::markup::{decimal, share};

/// Height of the largest bar in pixels.
const PLOT_HEIGHT: f64 = 220.0;

/// Space over the largest bar, for its label.
const TOP: f64 = 22.0;

/// Space under the bars, for the names of the columns.
const BOTTOM: f64 = 26.0;

/// The patterns that parts of bars are filled with. Parts differ in lightness and hatching, so a
/// chart is readable without colours.
pub const PATTERNS: &str = r#"<svg class="patterns" width="0" height="0" aria-hidden="true"><defs>
<pattern id="hatched" width="5" height="5" patternUnits="userSpaceOnUse"
patternTransform="rotate(45)"><rect class="ground" width="5" height="5"/>
<rect class="ink" width="1.6" height="5"/></pattern>
<pattern id="dotted" width="5" height="5" patternUnits="userSpaceOnUse">
<rect class="ground" width="5" height="5"/>
<circle class="ink" cx="2.5" cy="2.5" r="1.2"/></pattern>
<pattern id="lined" width="6" height="4" patternUnits="userSpaceOnUse">
<rect class="ground" width="6" height="4"/><rect class="ink" width="6" height="1.2"/></pattern>
</defs></svg>
"#;

/// The number of parts of a bar that have a look of their own, the rest included.
pub const MAX_PARTS: usize = 7;

/// Bars side by side, each of one or several parts.
pub struct ColumnChart {
    /// What it shows, as HTML.
    pub title: String,
    pub columns: Vec<ChartColumn>,
}

#[derive(Default)]
pub struct ChartColumn {
    /// Under the bar, if it is not empty. HTML.
    pub label: String,
    /// All numbers of the column in words, as HTML.
    pub title: String,
    /// From the bottom up.
    pub parts: Vec<f64>,
    /// A line over the bar.
    pub mark: Option<f64>,
}

impl ChartColumn {
    fn height(&self) -> f64 {
        self.parts.iter().sum()
    }

    fn top(&self) -> f64 {
        self.height().max(self.mark.unwrap_or(0.0))
    }
}

impl ColumnChart {
    /// The chart, in which the largest value has a label made by `show`.
    pub fn svg(&self, show: impl Fn(f64) -> String) -> String {
        let scale = Scale::to(
            self.columns
                .iter()
                .map(ChartColumn::top)
                .fold(0.0, f64::max),
        );
        let mut svg = format!(
            "<svg class=\"chart\" role=\"img\" height=\"{}\"><title>{}</title>\n",
            TOP + PLOT_HEIGHT + BOTTOM,
            self.title
        );
        scale.write_grid(&mut svg);
        self.write_columns(&mut svg, &scale);
        self.write_labels(&mut svg);
        self.write_largest(&mut svg, &scale, show);
        svg.push_str("</svg>\n");
        svg
    }

    /// The width of a column with the space beside it, in percent.
    fn slot(&self) -> f64 {
        100.0 / self.columns.len().max(1) as f64
    }

    fn write_columns(&self, svg: &mut String, scale: &Scale) {
        let slot = self.slot();
        // A single day is not as wide as the page.
        let width = (slot * 0.76).min(12.0);
        for (index, column) in self.columns.iter().enumerate() {
            let left = slot * (index as f64 + 0.5) - width / 2.0;
            // Writing into a String cannot fail.
            let _ = write!(svg, "<g><title>{}</title>", column.title);
            let mut below = 0.0;
            for (part, value) in column.parts.iter().enumerate() {
                let bottom = scale.y(below);
                below += value;
                let height = bottom - scale.y(below);
                if height >= 0.05 {
                    let _ = write!(
                        svg,
                        "<rect class=\"s{}\" x=\"{}%\" y=\"{}\" width=\"{}%\" height=\"{}\"/>",
                        part.min(MAX_PARTS - 1) + 1,
                        short(left),
                        short(bottom - height),
                        short(width),
                        short(height)
                    );
                }
            }
            if let Some(mark) = column.mark {
                let _ = write!(
                    svg,
                    "<line class=\"mark\" x1=\"{}%\" x2=\"{}%\" y1=\"{y}\" y2=\"{y}\"/>",
                    short(left),
                    short(left + width),
                    y = short(scale.y(mark)),
                );
            }
            svg.push_str("</g>\n");
        }
    }

    fn write_labels(&self, svg: &mut String) {
        let labelled = self.columns.iter().enumerate();
        let labelled = labelled.filter(|(_, column)| !column.label.is_empty());
        for (number, (index, column)) in labelled.enumerate() {
            // On a narrow screen, every other label is hidden.
            let class = if number % 2 == 1 { " minor" } else { "" };
            let _ = writeln!(
                svg,
                "<text class=\"x{class}\" x=\"{}%\" y=\"{}\">{}</text>",
                short(self.slot() * (index as f64 + 0.5)),
                TOP + PLOT_HEIGHT + 18.0,
                column.label
            );
        }
    }

    fn write_largest(&self, svg: &mut String, scale: &Scale, show: impl Fn(f64) -> String) {
        let columns = self.columns.iter().enumerate();
        let largest = columns.max_by(|(_, one), (_, other)| one.top().total_cmp(&other.top()));
        if let Some((index, column)) = largest.filter(|(_, column)| column.top() > 0.0) {
            let middle = self.slot() * (index as f64 + 0.5);
            // At the edge, the label must not leave the page.
            let anchor = match middle {
                ..6.0 => " start",
                94.0.. => " end",
                _ => "",
            };
            let _ = writeln!(
                svg,
                "<text class=\"largest{anchor}\" x=\"{}%\" y=\"{}\">{}</text>",
                short(middle),
                short(scale.y(column.top()) - 6.0),
                show(column.top())
            );
        }
    }
}

/// A vertical axis from 0 to a round number.
struct Scale {
    step: f64,
    steps: u32,
}

impl Scale {
    /// The axis for values up to `largest`.
    fn to(largest: f64) -> Self {
        let largest = match largest.is_finite() && largest > 0.0 {
            true => largest,
            false => 1.0,
        };
        let rough = largest / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let factors = [1.0, 2.0, 2.5, 5.0, 10.0];
        let fitting = factors.into_iter().find(|factor| factor * power >= rough);
        let step = fitting.unwrap_or(10.0) * power;
        Self {
            step,
            // At most 4, and at least 1 despite rounding.
            steps: ((largest / step).ceil() as u32).clamp(1, 4),
        }
    }

    fn max(&self) -> f64 {
        self.step * f64::from(self.steps)
    }

    /// The height of a value in pixels from the top.
    fn y(&self, value: f64) -> f64 {
        TOP + PLOT_HEIGHT * (1.0 - share(value, self.max()))
    }

    fn write_grid(&self, svg: &mut String) {
        for number in 0..=self.steps {
            let value = self.step * f64::from(number);
            let y = self.y(value);
            let class = if number == 0 { "base" } else { "grid" };
            let _ = writeln!(
                svg,
                "<line class=\"{class}\" x1=\"0\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\"/>\
                 <text class=\"y\" x=\"-8\" y=\"{}\">{}</text>",
                short(y + 4.0),
                self.label(value),
                y = short(y),
            );
        }
    }

    fn label(&self, value: f64) -> String {
        if self.max() >= 1e6 {
            return format!("{}M", trimmed(value / 1e6));
        }
        trimmed(value)
    }
}

/// A number without zeros at the end.
fn trimmed(value: f64) -> String {
    let text = decimal(value, 3);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A coordinate in few characters.
fn short(coordinate: f64) -> String {
    let text = format!("{coordinate:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match text {
        "-0" => "0".into(),
        text => text.into(),
    }
}

/// What the parts of bars mean: a look and a text each, as HTML.
pub fn legend(items: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut html = String::from("<ul class=\"legend\">\n");
    for (look, text) in items {
        let _ = writeln!(
            html,
            "<li><svg class=\"key\" width=\"16\" height=\"12\" aria-hidden=\"true\">{look}</svg>\
             {text}</li>"
        );
    }
    html.push_str("</ul>\n");
    html
}

/// The looks of the parts of a bar, for [`legend`].
pub const PART_KEYS: [&str; MAX_PARTS] = [
    r#"<rect class="s1" width="16" height="12"/>"#,
    r#"<rect class="s2" width="16" height="12"/>"#,
    r#"<rect class="s3" width="16" height="12"/>"#,
    r#"<rect class="s4" width="16" height="12"/>"#,
    r#"<rect class="s5" width="16" height="12"/>"#,
    r#"<rect class="s6" width="16" height="12"/>"#,
    r#"<rect class="s7" width="16" height="12"/>"#,
];

/// The look of [`ChartColumn::mark`], for [`legend`].
pub const MARK_KEY: &str = r#"<line class="mark" x1="0" x2="16" y1="6" y2="6"/>"#;

/// For each of `count` columns, whether it has a label: about `wanted` of them, evenly spread.
pub fn labelled(count: usize, wanted: usize) -> impl Fn(usize) -> bool {
    let stride = count.div_ceil(wanted.max(1)).max(1);
    move |index| index.is_multiple_of(stride)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (largest, step, steps) in [
            (0.0, 0.25, 4),
            (1.0, 0.25, 4),
            (3.0, 1.0, 3),
            (7.9, 2.0, 4),
            (1234.0, 500.0, 3),
            (f64::NAN, 0.25, 4),
            (4e9, 1e9, 4),
        ] {
            let scale = Scale::to(largest);
            assert!(
                (scale.step - step).abs() < step * 1e-9,
                "{largest}: {}",
                scale.step
            );
            assert_eq!(scale.steps, steps, "{largest}");
            assert!(largest.is_nan() || scale.max() >= largest);
        }
        for largest in (1..5000).map(|number| f64::from(number) * 0.37) {
            assert!(
                Scale::to(largest).max() >= largest * (1.0 - 1e-9),
                "{largest}"
            );
        }
    }

    #[test]
    fn bars_are_as_high_as_their_values() {
        let chart = ColumnChart {
            title: "Hours".into(),
            columns: vec![
                ChartColumn {
                    parts: vec![50.0, 25.0],
                    mark: Some(100.0),
                    ..Default::default()
                },
                ChartColumn::default(),
            ],
        };
        let svg = chart.svg(|value| format!("top {value}"));
        assert!(
            svg.contains("class=\"s1\" x=\"19%\" y=\"132\" width=\"12%\" height=\"110\"/>"),
            "{svg}"
        );
        assert!(svg.contains("class=\"s2\" x=\"19%\" y=\"77\" width=\"12%\" height=\"55\"/>"));
        assert!(svg.contains("class=\"mark\" x1=\"19%\" x2=\"31%\" y1=\"22\" y2=\"22\"/>"));
        assert!(svg.contains(">top 100</text>"));
        assert_eq!(svg.matches("<rect").count(), 2);
    }

    #[test]
    fn labels_are_evenly_spread() {
        let label = labelled(31, 8);
        let shown: Vec<_> = (0..31).filter(|index| label(*index)).collect();
        assert_eq!(shown, [0, 4, 8, 12, 16, 20, 24, 28]);
        assert!(labelled(0, 0)(0));
    }
}
