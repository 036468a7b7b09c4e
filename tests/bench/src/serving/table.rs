//! One row for each piece of work: ours, the floor, their ratio, the goal, and whether it is met.

/// The head of the table.
pub(crate) const HEAD: &str =
    "| work | ours | floor | ratio | goal | met |\n| --- | --- | --- | --- | --- | --- |";

/// What is wanted of a number.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// Of a ratio: no more than this.
    AtMost(f64),
    /// Of a ratio: no less than this.
    AtLeast(f64),
}

/// A row whose goal is a ratio.
pub(crate) fn row(work: &str, ours: (f64, &str), floor: (f64, &str), beside: &str, goal: Goal) {
    let ratio = ours.0 / floor.0;
    let (goal, is_met) = match goal {
        Goal::AtMost(most) => (format!("≤ {most} ×"), ratio <= most),
        Goal::AtLeast(least) => (format!("≥ {least} ×"), ratio >= least),
    };
    let (ours, floor) = (shown(ours), shown(floor));
    println!("| {work} | {ours} | {beside} {floor} | {ratio:.2} | {goal} | {} |", verdict(is_met));
}

/// A row whose goal is a number of its own.
pub(crate) fn bounded(work: &str, ours: (f64, &str), most: (f64, &str), beside: &str) {
    let is_met = ours.0 <= most.0;
    println!("| {work} | {} | {beside} | – | ≤ {} | {} |", shown(ours), shown(most), verdict(is_met));
}

/// A row that has no figure, and why.
pub(crate) fn not_measured(work: &str, goal: &str, why: &str) {
    println!("| {work} | **not measured**: {why} | – | – | {goal} | – |");
    eprintln!("NOT MEASURED: {work}: {why}");
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "**missed**" }
}

fn shown((number, unit): (f64, &str)) -> String {
    let digits = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    format!("{number:.digits$} {unit}").trim_end().to_owned()
}
