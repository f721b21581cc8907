use std::path::Path;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result, first_five};
use crate::ids::Digest;
use crate::io::table::{Number, Table};

/// The six parameters of head motion.
const MOTION: [&str; 6] = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"];
/// The column that scrubbing looks at.
const DISPLACEMENT: &str = "framewise_displacement";

/// A named set of fMRIPrep's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Three translations and three rotations.
    Motion6,
    /// These, their derivatives, and the squares of both (Satterthwaite et al. 2013).
    Motion24,
    /// Mean signals of white matter and cerebrospinal fluid.
    WmCsf,
    /// The mean signal of the brain.
    Global,
}

impl Strategy {
    /// All, with the names that users write.
    pub const ALL: [(Strategy, &'static str); 4] = [
        (Strategy::Motion6, "motion6"),
        (Strategy::Motion24, "motion24"),
        (Strategy::WmCsf, "wm_csf"),
        (Strategy::Global, "global"),
    ];

    /// Parses `motion6+wm_csf+global`.
    ///
    /// # Errors
    /// `FL-02` for a name that is none.
    pub fn parse_list(text: &str) -> Result<Vec<Strategy>> {
        text.split('+')
            .map(|part| {
                Strategy::ALL.iter().find(|(_, name)| *name == part.trim()).map(|(s, _)| *s).ok_or_else(|| {
                    let names = Strategy::ALL.map(|(_, name)| name);
                    Error::new(Code::Fl02, "--strategy", format!("{part:?}"))
                        .expected(format!("{}, joined by +", names.join(", ")))
                })
            })
            .collect()
    }

    fn columns(self) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        match self {
            Strategy::Motion6 => owned(&MOTION),
            Strategy::Motion24 => MOTION
                .iter()
                .flat_map(|m| ["", "_derivative1", "_power2", "_derivative1_power2"].map(|end| format!("{m}{end}")))
                .collect(),
            Strategy::WmCsf => owned(&["csf", "white_matter"]),
            Strategy::Global => owned(&["global_signal"]),
        }
    }
}

/// Which columns of a confounds table are removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selection {
    /// By strategy.
    Strategies(Vec<Strategy>),
    /// By name.
    Columns(Vec<String>),
    /// Every column.
    All,
}

/// Confounds of one run.
#[derive(Debug, Clone)]
pub struct Confounds {
    /// Names of the columns.
    pub names: Vec<String>,
    /// Volumes × columns.
    pub values: Array2<f64>,
    /// Volumes whose displacement is at most the threshold, when scrubbing was asked for.
    pub kept: Option<Vec<usize>>,
    /// SHA-256 of the table.
    pub digest: Digest,
}

impl Confounds {
    /// Reads a run's confounds (`.tsv`, `.csv` or `.parquet` with a header).
    ///
    /// A missing first value (`n/a`, as derivatives have it) is replaced by the second, as nilearn's `load_confounds`
    /// does; a missing value anywhere else is refused. With `scrub`, volumes of more framewise displacement (mm) than
    /// that are left out; a missing displacement counts as none.
    ///
    /// # Errors
    /// `SC-01` for an absent column, `SC-11` for a cell without a number, `BO-01` when the table has another number of
    /// rows than the run `volumes`.
    pub fn read(path: &Path, selection: &Selection, scrub: Option<f64>, volumes: usize) -> Result<Confounds> {
        let table = Table::read(path)?;
        if table.rows() != volumes {
            return Err(Error::new(Code::Bo01, path.display(), format!("has {} rows", table.rows()))
                .expected(format!("{volumes}, one per volume of the run")));
        }
        let mut names: Vec<String> = match selection {
            Selection::Strategies(list) => list.iter().flat_map(|s| s.columns()).collect(),
            Selection::Columns(names) => names.clone(),
            Selection::All => table.names().map(str::to_owned).collect(),
        };
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        let missing: Vec<&String> = names.iter().filter(|name| !table.has(name)).collect();
        if let (Selection::Strategies(_), false) = (selection, missing.is_empty()) {
            return Err(Error::new(Code::Sc01, path.display(), format!("has no columns {}", first_five(missing)))
                .expected("fMRIPrep's names")
                .hint("Name the columns with --confound-columns"));
        }
        let mut values = Array2::zeros((volumes, names.len()));
        for (name, mut column) in names.iter().zip(values.columns_mut()) {
            let mut cells = table.numbers(name)?;
            if let [Number::Missing(_), Number::Finite(second), ..] = cells[..] {
                cells[0] = Number::Finite(second);
            }
            for (row, cell) in cells.iter().enumerate() {
                column[row] = match cell {
                    Number::Finite(value) => *value,
                    Number::Missing(text) | Number::Text(text) => {
                        return Err(Error::new(
                            Code::Sc11,
                            table.place(row),
                            format!("holds {text:?} in column {name:?}"),
                        )
                        .expected("a finite number")
                        .hint("Only the first volume of a derivative may be missing"));
                    }
                };
            }
        }
        let kept = scrub.map(|most| kept(&table, most)).transpose()?;
        Ok(Confounds { names, values, kept, digest: table.digest() })
    }
}

/// The volumes that move little enough.
fn kept(table: &Table, most: f64) -> Result<Vec<usize>> {
    let cells = table.numbers(DISPLACEMENT)?;
    let mut kept = Vec::new();
    for (row, cell) in cells.iter().enumerate() {
        match cell {
            Number::Finite(value) if *value > most => {}
            Number::Finite(_) | Number::Missing(_) => kept.push(row),
            Number::Text(text) => {
                let found = format!("holds {text:?} in column {DISPLACEMENT:?}");
                return Err(Error::new(Code::Sc11, table.place(row), found).expected("a number or n/a"));
            }
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str, selection: &Selection, scrub: Option<f64>, volumes: usize) -> Result<Confounds> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("confounds.tsv");
        std::fs::write(&path, content).unwrap();
        Confounds::read(&path, selection, scrub, volumes)
    }

    #[test]
    fn first_rows_are_filled_and_others_refused() {
        let columns = |names: &[&str]| Selection::Columns(names.iter().map(|n| (*n).to_owned()).collect());
        let text = "csf\tcsf_derivative1\tframewise_displacement\n1\tn/a\tn/a\n2\t1\t0.2\n4\t2\t0.9\n";
        let found = read(text, &columns(&["csf_derivative1", "csf"]), Some(0.5), 3).unwrap();
        assert_eq!(found.values, ndarray::array![[1.0, 1.0], [1.0, 2.0], [2.0, 4.0]]);
        assert_eq!(found.kept.unwrap(), [0, 1]);
        let code = |text: &str, selection: &Selection, n| read(text, selection, None, n).unwrap_err().code();
        assert_eq!(code("a\n1\nn/a\n3\n", &Selection::All, 3), Code::Sc11);
        assert_eq!(code("a\n1\n2\n", &Selection::All, 3), Code::Bo01);
        assert_eq!(code("a\n1\n2\n", &columns(&["b"]), 2), Code::Sc01);
        assert_eq!(code("a\n1\n2\n", &Selection::Strategies(vec![Strategy::Global]), 2), Code::Sc01);
    }

    #[test]
    fn strategies() {
        assert_eq!(Strategy::parse_list("motion6+wm_csf").unwrap(), [Strategy::Motion6, Strategy::WmCsf]);
        assert_eq!(Strategy::parse_list("motion7").unwrap_err().code(), Code::Fl02);
        assert_eq!(Strategy::Motion24.columns().len(), 24);
    }
}
