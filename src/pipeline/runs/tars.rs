use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::{Array2, ShapeBuilder};

use super::super::preflight::Findings;
use super::{Run, wanted};
use crate::bold::{Entities, Events};
use crate::error::{Code, Error, Result};
use crate::ids::TargetId;
use crate::io::pickle::{self, Value};
use crate::io::tar::{self, Member};
use crate::io::{digest, npy};
use crate::missing::{DROP, MissingValues};
use crate::study::TrialsPlan;

/// Ends of the members' names.
const BOLD: &str = "bold.pyd";
const STEP: &str = "t_r.pyd";
const EVENTS: &str = "tsv";
/// What is read of a pickle.
const HARMLESS: &str = "Nothing was executed: of a pickle only arrays of numbers are read. Do not unpickle this file";

/// Reads parcellated runs as `learning-from-brains` lays them out (Thomas et al. 2022,
/// <https://arxiv.org/abs/2206.11417>): tars with `<key>.bold.pyd` (volumes × parcels), `<key>.t_r.pyd` (seconds between
/// volumes) and `<key>.tsv` (events), the key being `ds-…_sub-…_task-…_run-…`.
pub(super) fn read(folder: &Path, plan: &TrialsPlan, found: &mut Findings) -> Option<(Vec<TargetId>, Vec<Run>)> {
    let files = found.keep(tars(folder))?;
    let files: Vec<(PathBuf, Entities)> =
        files.into_iter().map(|f| (f.clone(), Entities::of(&f))).filter(|(_, e)| wanted(plan, e)).collect();
    if files.is_empty() {
        let what = "holds no .tar of the task and subjects that the study names";
        found
            .problems
            .push(Error::new(Code::Od05, folder.display(), what).hint("Names are ds-…_sub-03_task-dis_run-1.tar"));
        return None;
    }
    let before = found.problems.len();
    let (mut runs, mut targets): (Vec<Run>, Option<usize>) = (Vec::new(), None);
    for (path, _) in &files {
        let Some((members, sha256)) = found.keep(tar::read(path)) else { continue };
        found.input("responses", path, sha256);
        for (key, parts) in by_key(&members) {
            let entities = Entities::of(Path::new(key));
            match run(path, key, &parts, entities, plan) {
                Ok(Some(run)) => {
                    let parcels = *targets.get_or_insert(run.y.ncols());
                    if run.y.ncols() != parcels {
                        found.problems.push(
                            Error::new(Code::Rs02, &run.place, format!("has {} parcels", run.y.ncols()))
                                .expected(format!("{parcels}, as the runs before")),
                        );
                        continue;
                    }
                    runs.push(run);
                }
                Ok(None) => found.leave_out(
                    &Error::new(Code::Rs13, path.display(), format!("{key} has no events"))
                        .expected(format!("a member {key}.{EVENTS}"))
                        .hint("The run is left out"),
                ),
                Err(e) if matches!(e.code(), Code::Ev06) => found.leave_out(&e.hint("The run is left out")),
                Err(e) => found.problems.push(e),
            }
        }
    }
    if found.problems.len() > before {
        return None;
    }
    let names = (1..=targets?).map(|p| TargetId::from(format!("parcel_{p:04}"))).collect();
    Some((names, runs))
}

/// Every tar of a folder, by name.
fn tars(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e| Error::io(folder.display(), "listing", e);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tar")) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The members of each key: what stands before the first dot of the name.
fn by_key(members: &[Member]) -> BTreeMap<&str, BTreeMap<&str, &Member>> {
    let mut keys: BTreeMap<&str, BTreeMap<&str, &Member>> = BTreeMap::new();
    for member in members {
        let name = member.name.rsplit('/').next().unwrap_or_default();
        if let Some((key, end)) = name.split_once('.') {
            keys.entry(key).or_default().insert(end, member);
        }
    }
    keys
}

/// One run; `None` when it has no events.
fn run(
    path: &Path,
    key: &str,
    parts: &BTreeMap<&str, &Member>,
    entities: Entities,
    plan: &TrialsPlan,
) -> Result<Option<Run>> {
    let missing = |end: &str| {
        Error::new(Code::Rs13, path.display(), format!("has no member {key}.{end}"))
            .expected(format!("{key}.{BOLD}, {key}.{STEP} and {key}.{EVENTS}"))
    };
    let bold = parts.get(BOLD).ok_or_else(|| missing(BOLD))?;
    let y = series(path, bold, plan.missing)?;
    let repetition_time = match (plan.repetition_time, parts.get(STEP)) {
        (Some(given), _) => given,
        (None, Some(member)) => seconds(path, member)?,
        (None, None) => return Err(missing(STEP).hint("Or give it: [responses] tr = 2.0")),
    };
    let place = format!("{}: {key}", path.display());
    let Some(events) = parts.get(EVENTS) else { return Ok(None) };
    let name = path.with_file_name(format!("{}: {}", crate::io::file_name(path), events.name));
    let events = Events::parse(&name, &events.bytes, digest(&events.bytes), &plan.events, repetition_time)?;
    events.check_run(y.nrows() as f64 * repetition_time)?;
    Ok(Some(Run { entities, y, repetition_time, events, place }))
}

fn place(path: &Path, member: &Member) -> String {
    format!("{}: {}", path.display(), member.name)
}

fn series(path: &Path, member: &Member, missing: MissingValues) -> Result<Array2<f64>> {
    let place = place(path, member);
    let (read, _) = pickle::read(&member.bytes, pickle::NUMPY, &place, Code::St13).map_err(|e| e.hint(HARMLESS))?;
    let refuse = |found: String| Error::new(Code::Rs13, &place, found).expected("numbers, volumes × parcels");
    let array = read.array(read.root()).ok_or_else(|| refuse("holds no array".to_owned()))?;
    let [volumes, parcels] = array.shape[..] else { return Err(refuse(format!("has shape {:?}", array.shape))) };
    let values = npy::decode(&array.dtype, &array.bytes)
        .ok_or_else(|| refuse(format!("holds values of type {}", array.dtype)))?;
    if volumes == 0 || parcels == 0 || volumes.checked_mul(parcels) != Some(values.len()) {
        return Err(refuse(format!("claims shape {:?} and holds {} values", array.shape, values.len())));
    }
    let bad = values.iter().position(|v| !v.is_finite()).filter(|_| missing == MissingValues::Refuse);
    if let Some(at) = bad {
        return Err(Error::new(Code::Rs08, &place, format!("value {at} is {}", values[at]))
            .expected("finite values")
            .hint(DROP));
    }
    // INVARIANT: the product of the extents was compared with the number of values.
    Ok(Array2::from_shape_vec((volumes, parcels).set_f(array.fortran), values)
        .expect("as many values as the shape says"))
}

fn seconds(path: &Path, member: &Member) -> Result<f64> {
    let place = place(path, member);
    let (read, _) = pickle::read(&member.bytes, pickle::NUMPY, &place, Code::St13).map_err(|e| e.hint(HARMLESS))?;
    let value = match read.value(read.root()) {
        Value::Float(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        _ => read.array(read.root()).and_then(|a| npy::decode(&a.dtype, &a.bytes)).and_then(|v| match v[..] {
            [one] => Some(one),
            _ => None,
        }),
    };
    value
        .filter(|v| v.is_finite() && *v > 0.0)
        .ok_or_else(|| Error::new(Code::Ni18, place, "holds no time between volumes").expected("seconds, above 0"))
}
