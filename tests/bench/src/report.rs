//! The report: tables for people, JSON for programs, and each target next to the measured value.

use crate::{Plan, machine, stats::RoundValues};
use anyhow::Context;
use serde_json::{Value, json};
use std::{fmt::Write as _, fs, path::Path};

/// The JSON file, relative to the workspace.
const FILE: &str = "results/bench.json";

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// The number of decimals.
    pub(crate) digits: usize,
}

/// A candidate, with the values of all rounds by column.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) cells: Vec<Option<RoundValues>>,
    /// The round trip of a cache line during the measurement.
    pub(crate) cache_line_ns: RoundValues,
}

/// The bound of a target.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A target for one value or ratio.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) bound: Bound,
    /// The measured value; `None` if it could not be measured.
    pub(crate) found: Option<f64>,
    pub(crate) unit: &'static str,
}

/// The results of one section.
#[derive(Clone, Debug, Default)]
pub struct SectionResult {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
    pub(crate) targets: Vec<Target>,
    pub(crate) remarks: Vec<String>,
}

/// The report of all sections.
#[derive(Debug)]
pub struct Report {
    head: Value,
    sections: Vec<Value>,
}

impl Row {
    /// A row with this number of columns and no values.
    pub(crate) fn of(name: &str, columns: usize) -> Self {
        Self { name: name.to_owned(), cells: vec![None; columns], cache_line_ns: RoundValues::default() }
    }

    /// Records a value, and the round trip of a cache line at that time.
    pub(crate) fn record(&mut self, column: usize, value: f64, cache_line_ns: f64) {
        if let Some(cell) = self.cells.get_mut(column) {
            cell.get_or_insert_default().add(value);
            self.cache_line_ns.add(cache_line_ns);
        }
    }
}

impl Target {
    fn is_met(&self) -> Option<bool> {
        self.found.map(|found| match self.bound {
            Bound::AtLeast(bound) => found >= bound,
            Bound::AtMost(bound) => found <= bound,
        })
    }

    fn line(&self) -> String {
        let (sign, bound) = match self.bound {
            Bound::AtLeast(bound) => (">=", bound),
            Bound::AtMost(bound) => ("<=", bound),
        };
        let found = self.found.map_or_else(|| "-".to_owned(), |found| format!("{found:.2}"));
        let verdict = self.is_met().map_or("NOT MEASURED", |is_met| if is_met { "met" } else { "NOT MET" });
        format!("  {verdict:<12} {}: {found} {}, target {sign} {bound}", self.what, self.unit)
    }

    fn json(&self) -> Value {
        let (key, bound) = match self.bound {
            Bound::AtLeast(bound) => ("at_least", bound),
            Bound::AtMost(bound) => ("at_most", bound),
        };
        json!({ "what": self.what, key: bound, "found": self.found, "unit": self.unit, "met": self.is_met() })
    }
}

impl SectionResult {
    fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
        let mut text = format!("\n{}\n{:width$}", self.title, "");
        for column in &self.columns {
            let _ = write!(text, "  {}", column.name);
        }
        text.push_str("  line ns\n");
        for row in &self.rows {
            let _ = write!(text, "{:width$}", row.name);
            for (column, cell) in self.columns.iter().zip(&row.cells) {
                let value = cell.as_ref().and_then(RoundValues::median);
                let value = value.map_or_else(|| "-".to_owned(), |f| format!("{f:.*}", column.digits));
                let _ = write!(text, "  {value:>width$}", width = column.name.len());
            }
            let line = row.cache_line_ns.median().map_or_else(|| "-".to_owned(), |ns| format!("{ns:.0}"));
            let _ = writeln!(text, "  {line:>7}");
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "  {remark}");
        }
        for target in &self.targets {
            let _ = writeln!(text, "{}", target.line());
        }
        text
    }

    fn json(&self) -> Value {
        let row = |row: &Row| {
            let cells = self.columns.iter().zip(&row.cells).filter_map(|(column, cell)| {
                let rounds = cell.as_ref()?;
                Some((column.name.to_owned(), json!({ "median": rounds.median(), "rounds": rounds.all() })))
            });
            let cells: serde_json::Map<String, Value> = cells.collect();
            json!({ "name": row.name, "figures": cells, "cache_line_round_trip_ns": row.cache_line_ns.median() })
        };
        json!({
            "name": self.name,
            "title": self.title,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "targets": self.targets.iter().map(Target::json).collect::<Vec<_>>(),
            "remarks": self.remarks,
        })
    }
}

impl Report {
    /// Starts the report: prints the machine and the number of rounds.
    #[must_use]
    pub fn begin(plan: &Plan) -> Self {
        let (machine, load) = (machine::describe(), machine::load_average());
        println!("{machine}; medians of {} rounds", plan.rounds);
        if let Some(load) = load.filter(|load| *load > 0.5) {
            println!("NOTE: other processes use this machine (load {load}): the values are less reliable");
        }
        let head = json!({ "machine": machine, "rounds": plan.rounds, "load_at_start": load });
        Self { head, sections: Vec::new() }
    }

    /// Prints and keeps the results of a section.
    #[expect(clippy::needless_pass_by_value, reason = "the result is not used after this")]
    pub fn add(&mut self, result: SectionResult) {
        print!("{}", result.table());
        self.sections.push(result.json());
    }

    /// Writes the JSON file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> anyhow::Result<()> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(FILE);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let report = json!({ "head": self.head, "sections": self.sections });
        fs::write(&file, format!("{report:#}\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("\nwritten to {FILE}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_line_shows_the_value_and_whether_the_target_is_met() {
        let target = |bound, found| Target { what: "it".to_owned(), bound, found, unit: "x" }.line();
        assert_eq!(target(Bound::AtLeast(15.0), Some(15.0)), "  met          it: 15.00 x, target >= 15");
        assert_eq!(target(Bound::AtMost(3.0), Some(3.1)), "  NOT MET      it: 3.10 x, target <= 3");
        assert_eq!(target(Bound::AtMost(3.0), None), "  NOT MEASURED it: - x, target <= 3");
    }
}
