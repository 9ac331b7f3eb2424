//! The figures against what is asked of them.

/// A figure: what was measured, and what it was to be.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) ours: f64,
    /// What ours is compared with, which `factor` is a multiple of.
    pub(crate) theirs: f64,
    pub(crate) bound: Bound,
    pub(crate) unit: &'static str,
}

/// How ours is to stand to theirs.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    /// Prints the figure with its ratio and whether the target is met.
    pub(crate) fn print(&self) {
        let Self { name, ours, theirs, bound, unit } = self;
        let ratio = ours / theirs;
        let (target, is_met) = match bound {
            Bound::AtLeast(factor) => (format!("at least {factor}"), ratio >= *factor),
            Bound::AtMost(factor) => (format!("at most {factor}"), ratio <= *factor),
        };
        let verdict = if is_met { "met" } else { "MISSED" };
        say(&format!(
            "{name:<44} {ours:>9.3} {theirs:>9.3} {ratio:>7.2} {target:>14} {verdict:>7}  {unit}"
        ));
    }
}

/// Prints the head of the table.
pub(crate) fn print_head() {
    let [name, ours, theirs, ratio, target, verdict, unit] =
        ["figure", "ours", "against", "ratio", "target", "verdict", "unit, and against what"];
    say(&format!("{name:<44} {ours:>9} {theirs:>9} {ratio:>7} {target:>14} {verdict:>7}  {unit}"));
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::print_stdout, reason = "the product of the command")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
