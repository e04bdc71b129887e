//! Tables for people, JSON for machines, and what was aimed at beside what was reached.

use crate::{Plan, figures::Rounds, machine};
use anyhow::Context;
use serde_json::{Value, json};
use std::{fmt::Write as _, fs, path::Path};

/// Where the JSON goes, from the workspace's folder.
const FILE: &str = "results/bench.json";

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// So many digits behind the point.
    pub(crate) digits: usize,
}

/// A candidate, with the figures of all rounds, by column.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) cells: Vec<Option<Rounds>>,
    /// The cache line's round trip while it was measured.
    pub(crate) line_ns: Rounds,
}

/// Where a figure should lie.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

/// One target of `MEASURED.md`.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) aim: Aim,
    /// None when it could not be measured.
    pub(crate) found: Option<f64>,
    pub(crate) unit: &'static str,
}

/// What one section found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
    pub(crate) targets: Vec<Target>,
    pub(crate) remarks: Vec<String>,
}

/// All findings.
#[derive(Debug)]
pub struct Report {
    head: Value,
    sections: Vec<Value>,
}

impl Row {
    /// A row of that many columns, with no figures yet.
    pub(crate) fn of(name: &str, columns: usize) -> Self {
        Self { name: name.to_owned(), cells: vec![None; columns], line_ns: Rounds::default() }
    }

    /// Notes a figure, and the cache line's round trip of that moment.
    pub(crate) fn note(&mut self, column: usize, figure: f64, line_ns: f64) {
        if let Some(cell) = self.cells.get_mut(column) {
            cell.get_or_insert_default().add(figure);
            self.line_ns.add(line_ns);
        }
    }
}

impl Target {
    fn met(&self) -> Option<bool> {
        self.found.map(|found| match self.aim {
            Aim::AtLeast(wanted) => found >= wanted,
            Aim::AtMost(wanted) => found <= wanted,
        })
    }

    fn line(&self) -> String {
        let (sign, wanted) = match self.aim {
            Aim::AtLeast(wanted) => (">=", wanted),
            Aim::AtMost(wanted) => ("<=", wanted),
        };
        let found = self.found.map_or_else(|| "-".to_owned(), |found| format!("{found:.2}"));
        let verdict = self.met().map_or("NOT MEASURED", |met| if met { "met" } else { "NOT MET" });
        format!("  {verdict:<12} {}: {found} {}, aimed at {sign} {wanted}", self.what, self.unit)
    }

    fn json(&self) -> Value {
        let (bound, wanted) = match self.aim {
            Aim::AtLeast(wanted) => ("at_least", wanted),
            Aim::AtMost(wanted) => ("at_most", wanted),
        };
        json!({ "what": self.what, bound: wanted, "found": self.found, "unit": self.unit, "met": self.met() })
    }
}

impl Findings {
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
                let figure = cell.as_ref().and_then(Rounds::median);
                let figure = figure.map_or_else(|| "-".to_owned(), |f| format!("{f:.*}", column.digits));
                let _ = write!(text, "  {figure:>width$}", width = column.name.len());
            }
            let line = row.line_ns.median().map_or_else(|| "-".to_owned(), |ns| format!("{ns:.0}"));
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
            json!({ "name": row.name, "figures": cells, "cache_line_round_trip_ns": row.line_ns.median() })
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
    /// Says where and how often is measured.
    #[must_use]
    pub fn begin(plan: &Plan) -> Self {
        let (machine, load) = (machine::describe(), machine::load());
        println!("{machine}; medians of {} rounds", plan.rounds);
        if let Some(load) = load.filter(|load| *load > 0.5) {
            println!("NOTE: other work is going on here (load {load}): the figures say less than they could");
        }
        let head = json!({ "machine": machine, "rounds": plan.rounds, "load_at_start": load });
        Self { head, sections: Vec::new() }
    }

    /// Prints what a section found.
    #[expect(clippy::needless_pass_by_value, reason = "it is over with: nothing else is done with them")]
    pub fn add(&mut self, findings: Findings) {
        print!("{}", findings.table());
        self.sections.push(findings.json());
    }

    /// Writes the JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> anyhow::Result<()> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(FILE);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
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
    fn a_target_says_whether_it_was_met_and_by_how_much() {
        let target = |aim, found| Target { what: "it".to_owned(), aim, found, unit: "x" }.line();
        assert_eq!(target(Aim::AtLeast(15.0), Some(15.0)), "  met          it: 15.00 x, aimed at >= 15");
        assert_eq!(target(Aim::AtMost(3.0), Some(3.1)), "  NOT MET      it: 3.10 x, aimed at <= 3");
        assert_eq!(target(Aim::AtMost(3.0), None), "  NOT MEASURED it: - x, aimed at <= 3");
    }
}
