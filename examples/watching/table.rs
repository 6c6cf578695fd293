//! The one table, and what must hold whatever the times are.

/// How the values of a row are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Millis,
    Mebibytes,
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Millis if value < 10.0 => format!("{value:.2} ms"),
            Unit::Millis => format!("{value:.1} ms"),
            Unit::Mebibytes => format!("{value:.1} MiB"),
            Unit::Count => format!("{value:.0}"),
        }
    }
}

/// One measure, by each contender that has it.
pub(crate) struct Row {
    pub(crate) measure: String,
    pub(crate) unit: Unit,
    /// devwatch must not exceed it.
    pub(crate) aim: Option<f64>,
    pub(crate) devwatch: f64,
    pub(crate) raw: Option<f64>,
    pub(crate) notify: Option<f64>,
}

/// Rows, and what went wrong.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    remarks: Vec<String>,
    faults: Vec<String>,
}

impl Table {
    pub(crate) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// A line below the table.
    pub(crate) fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    /// Not a matter of speed: the run has failed unless `holds`.
    pub(crate) fn must(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(otherwise());
        }
    }

    /// Whether nothing went wrong.
    pub(crate) fn print(self) -> bool {
        let heads = [
            "measure",
            "aim",
            "devwatch",
            "",
            "raw",
            "notify",
            "to raw",
            "to notify",
        ];
        let cells = self.rows.iter().map(|row| {
            let show =
                |value: Option<f64>| value.map_or(String::new(), |value| row.unit.show(value));
            let ratio = |other: Option<f64>| match other {
                Some(other) if other > 0.0 => format!("x{:.2}", row.devwatch / other),
                Some(_) | None => String::new(),
            };
            [
                row.measure.clone(),
                row.aim
                    .map_or(String::new(), |aim| format!("<= {}", row.unit.show(aim))),
                row.unit.show(row.devwatch),
                match row.aim {
                    Some(aim) if row.devwatch > aim => "MISSED".to_owned(),
                    Some(_) => "ok".to_owned(),
                    None => String::new(),
                },
                show(row.raw),
                show(row.notify),
                ratio(row.raw),
                ratio(row.notify),
            ]
        });
        let lines: Vec<[String; 8]> = std::iter::once(heads.map(str::to_owned))
            .chain(cells)
            .collect();
        let widths: Vec<usize> = (0..heads.len())
            .map(|at| {
                lines
                    .iter()
                    .map(|line| line[at].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for (number, line) in lines.iter().enumerate() {
            for (at, cell) in line.iter().enumerate() {
                let width = widths[at];
                if at == 0 {
                    print!("| {cell:<width$} |");
                } else {
                    print!(" {cell:>width$} |");
                }
            }
            println!();
            if number == 0 {
                print!("|");
                for (at, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width + 1);
                    print!("{dashes}{}|", if at == 0 { '-' } else { ':' });
                }
                println!();
            }
        }
        for remark in &self.remarks {
            println!("\n{remark}");
        }
        for fault in &self.faults {
            println!("\nWRONG: {fault}");
        }
        self.faults.is_empty()
    }
}

/// The value that `percent` of the values do not exceed.
pub(crate) fn percentile(values: &[u64], percent: usize) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

/// The one in the middle.
pub(crate) fn median(values: &[u64]) -> u64 {
    percentile(values, 50)
}

pub(crate) fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

pub(crate) fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}
