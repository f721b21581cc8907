//! A comparison in units: what is finished is kept beside the output, so that a run that was killed goes on from there.
//!
//! A unit is what one decomposition serves: a layer of a checkpoint fitted to all subjects, its joint model with the
//! confounds, the attestation of a checkpoint's weights. Everything else (baselines, intervals, tests, tables, figures) is
//! computed from units by every run anew, in one order: tables are the same bytes whoever made the units, and whenever.
//!
//! Without `--resume` a run starts over, and says how many units it does not use: a command means the same whatever lies
//! beside its output, a changed study needs no clearing up, and the old units stay until the first new one is finished.

mod identity;
mod share;
mod standing;
mod tokens;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) use identity::identity;
pub use share::{Shared, share};
pub use standing::{ShardStanding, Standing, standing};

use super::fit::SpaceFit;
use super::metrics::Measured;
use super::preflight::Prepared;
use crate::compute::cpu::blas_description;
use crate::encoder::Attestation;
use crate::encoding::Combine;
use crate::error::{Code, Error, Problems, Result, Warning};
use crate::ids::Layer;
use crate::io::binary::{Binary, binary, binary_by_json, read_all};
use crate::record::{AuditFinding, ExtractionRecord};
use crate::store::{Command, Found, UnitFolder, UnitsPlan, differences};
use crate::study::UniqueLayers;
use crate::watch::Watch;

/// A part of a comparison that is kept as soon as it is finished. Checkpoints are counted in the order of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A layer of a checkpoint, fitted to all subjects: [`Fitted`].
    Fit(usize, Layer),
    /// The joint model of a layer and the confounds.
    Joint(usize, Layer),
    /// All layers of a checkpoint as one model: [`super::together::Together`].
    Together(usize, Combine),
    /// What is known about the weights.
    Attestation(usize),
}

/// What the names of joint models end in.
const JOINT: &str = "-joint";

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unit::Fit(checkpoint, layer) => write!(f, "c{checkpoint:04}-l{:03}", layer.0),
            Unit::Joint(checkpoint, layer) => write!(f, "c{checkpoint:04}-l{:03}{JOINT}", layer.0),
            Unit::Together(checkpoint, model) => write!(f, "c{checkpoint:04}-{}", model.as_str()),
            Unit::Attestation(checkpoint) => write!(f, "c{checkpoint:04}-weights"),
        }
    }
}

/// One layer of a checkpoint, and what else was seen on the way.
pub(super) struct Fitted {
    pub space: SpaceFit,
    pub measured: Vec<Measured>,
    /// How the checkpoint's states were come by.
    pub extraction: ExtractionRecord,
    /// What layer 0 says of itself.
    pub layer_zero: Option<AuditFinding>,
}
binary!(Fitted { space, measured, extraction, layer_zero });
binary_by_json!(ExtractionRecord, AuditFinding, Attestation);

/// What a person asks of a run that may have been begun before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resume {
    /// Go on from finished units, and take a finished run of the same plan for done.
    pub wanted: bool,
    /// What to do about units that are not there.
    pub missing: Missing,
    /// The command line, for processes that take part later.
    pub command: Option<Command>,
}

/// What to do about units that are not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Missing {
    /// Compute them.
    #[default]
    Compute,
    /// Refuse, and say who has them.
    Refuse,
}

/// The units of a run: those that were found, and those that it adds.
pub(super) struct Units {
    place: Option<Place>,
    missing: Missing,
    reused: AtomicUsize,
    damaged: AtomicUsize,
    unwritten: AtomicUsize,
    /// The kinds of machines that units come from.
    machines: Mutex<BTreeSet<String>>,
}

struct Place {
    path: PathBuf,
    plan: UnitsPlan,
    /// Made with the first unit: until then older units stay where they are.
    folder: Mutex<Option<UnitFolder>>,
}

impl Units {
    /// Units that nobody keeps.
    pub fn none() -> Units {
        Units {
            place: None,
            missing: Missing::Compute,
            reused: AtomicUsize::new(0),
            damaged: AtomicUsize::new(0),
            unwritten: AtomicUsize::new(0),
            machines: Mutex::default(),
        }
    }

    /// Units of a plan whose folder is there.
    fn of_plan(path: PathBuf, plan: UnitsPlan) -> Units {
        let folder = Mutex::new(Some(UnitFolder::open(&path, &plan)));
        Units { place: Some(Place { path, plan, folder }), ..Units::none() }
    }

    /// The units beside `out`. Where there are finished ones of this plan and they are wanted, they count, and the plan's
    /// memory becomes that of the process that began; whatever else is there goes with the first new unit.
    ///
    /// # Errors
    /// `OD-07` for every difference between the plan there and this one, when units are wanted.
    pub fn beside(
        out: &Path,
        prepared: &mut Prepared,
        resume: &Resume,
        watch: &dyn Watch,
    ) -> std::result::Result<Units, Problems> {
        let path = UnitFolder::beside(out)?;
        let plan = UnitsPlan::new(identity(prepared), prepared.plan.memory, resume.command.clone());
        let there = UnitFolder::count(&path);
        if resume.wanted {
            if let Some(then) = UnitFolder::plan(&path)? {
                same(&then, &plan, &path)?;
                if resume.missing == Missing::Refuse {
                    standing::all_there(prepared, &path)?;
                }
                prepared.plan.memory = then.memory;
                watch.tell(&format!("resuming: {there} of {} units are finished", expected(prepared)));
                return Ok(Units { missing: resume.missing, ..Units::of_plan(path, then) });
            }
        } else if there > 0 {
            watch.tell(&format!(
                "warning: {there} finished units of an interrupted run lie in {} and are not used; --resume would go on from \
                 them. They are removed when the first new unit is finished [UN-01]",
                path.display()
            ));
        }
        Ok(Units { place: Some(Place { path, plan, folder: Mutex::new(None) }), ..Units::none() })
    }

    /// The unit that was finished before, or else what `make` gives, which is kept.
    pub fn of<T: Binary>(&self, unit: Unit, make: impl FnOnce() -> Result<T>) -> Result<T> {
        if let Some(found) = self.get(unit) {
            return Ok(found);
        }
        if self.missing == Missing::Refuse {
            // It was there when the run began.
            return Err(Error::new(Code::Od08, unit, "is damaged and was removed").hint("Give --compute-missing"));
        }
        let made = make()?;
        self.keep(unit, &made);
        Ok(made)
    }

    /// Whether there is such a unit; it may turn out to be damaged.
    pub fn has(&self, unit: Unit) -> bool {
        self.with(|folder| folder.has(&unit.to_string())).unwrap_or(false)
    }

    /// Whether everything is there that needs the states of a checkpoint.
    pub fn cover(&self, prepared: &Prepared, checkpoint: usize) -> bool {
        let layers = || prepared.checkpoints[checkpoint].layers.iter();
        let joint = |layer: &Layer| self.has(Unit::Joint(checkpoint, *layer));
        let joined = match prepared.plan.unique {
            UniqueLayers::None => true,
            UniqueLayers::Best => layers().any(joint),
            UniqueLayers::All => layers().all(joint),
        };
        let together = prepared.plan.combine.iter().all(|model| self.has(Unit::Together(checkpoint, *model)));
        joined && together && layers().all(|layer| self.has(Unit::Fit(checkpoint, *layer)))
    }

    fn get<T: Binary>(&self, unit: Unit) -> Option<T> {
        match self.with(|folder| folder.get(&unit.to_string()))? {
            Found::Absent => None,
            Found::Damaged => {
                self.damaged.fetch_add(1, Ordering::Relaxed);
                None
            }
            Found::Whole(bytes) => {
                let read = read_all::<(String, T)>(&bytes);
                match read {
                    Some((machine, value)) => {
                        self.reused.fetch_add(1, Ordering::Relaxed);
                        self.computed_on(machine);
                        Some(value)
                    }
                    None => {
                        self.damaged.fetch_add(1, Ordering::Relaxed);
                        None
                    }
                }
            }
        }
    }

    /// Failing to is no error: the value is at hand, and a run that is not killed needs no copy of it.
    fn keep<T: Binary>(&self, unit: Unit, value: &T) {
        let Some(place) = &self.place else { return };
        let machine = machine();
        let kept = place.made().and_then(|folder| {
            folder
                .put(&unit.to_string(), |to| {
                    machine.write(to);
                    value.write(to);
                })
                .map_err(|e| Error::io(place.path.display(), "writing", e))
        });
        match kept {
            Ok(()) => self.computed_on(machine),
            Err(_) => {
                self.unwritten.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn computed_on(&self, machine: String) {
        if let Ok(mut all) = self.machines.lock() {
            all.insert(machine);
        }
    }

    fn with<T>(&self, look: impl FnOnce(&UnitFolder) -> T) -> Option<T> {
        let folder = self.place.as_ref()?.folder.lock().ok()?.clone()?;
        Some(look(&folder))
    }

    /// Number of finished units of this plan that lie there.
    pub fn finished(&self) -> usize {
        self.with(UnitFolder::len).unwrap_or(0)
    }

    /// What the user must know about them.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |code: &str, count: usize, text: &str| {
            if count > 0 {
                warnings.push(Warning::new(code, format!("{count} {text}")));
            }
        };
        warn("UN-02", self.damaged.load(Ordering::Relaxed), "damaged units were removed and computed again");
        let unwritten = self.unwritten.load(Ordering::Relaxed);
        warn(
            "UN-03",
            unwritten,
            "finished units could not be kept: had the run been killed, they would have been lost",
        );
        let machines = self.machines.lock().map(|m| m.clone()).unwrap_or_default();
        if machines.len() > 1 {
            let list: Vec<String> = machines.into_iter().collect();
            warnings.push(Warning::new(
                "UN-04",
                format!(
                    "units come from {} kinds of machines ({}): scores agree to about 1e-6, not to the last byte",
                    list.len(),
                    list.join("; ")
                ),
            ));
        }
        warnings
    }

    /// What is said of an error that ended the run: whether anything was kept.
    pub fn explained(&self, error: Error, all: usize) -> Error {
        let finished = self.finished();
        if finished == 0 || ![Code::Ix01, Code::Ix02].contains(&error.code()) {
            return error;
        }
        error.hint(format!(
            "{finished} of {all} units are finished; the same command with --resume goes on from there. Nothing else was written"
        ))
    }

    /// The run is complete: no unit is needed any more.
    pub fn remove(self) {
        if let Some(place) = &self.place {
            // What cannot be removed costs space and nothing else; the next run says what is there.
            UnitFolder::remove(&place.path).ok();
        }
    }
}

impl Place {
    fn made(&self) -> Result<UnitFolder> {
        // INVARIANT: nothing panics while it is held.
        let mut folder = self.folder.lock().expect("a lock whose holders return");
        if folder.is_none() {
            *folder = Some(UnitFolder::replace(&self.path, &self.plan)?);
        }
        folder.clone().ok_or_else(|| Error::new(Code::Io01, self.path.display(), "could not be made"))
    }
}

/// Number of units that a whole run has.
pub(super) fn expected(prepared: &Prepared) -> usize {
    let layers: usize = prepared.checkpoints.iter().map(|c| c.layers.len()).sum();
    let joint = match prepared.plan.unique {
        UniqueLayers::None => 0,
        UniqueLayers::Best => prepared.checkpoints.len(),
        UniqueLayers::All => layers,
    };
    layers + joint + (1 + prepared.plan.combine.len()) * prepared.checkpoints.len()
}

/// Every difference between the plan that units belong to and another.
fn same(then: &UnitsPlan, now: &UnitsPlan, place: &Path) -> std::result::Result<(), Problems> {
    let found = differences(&then.identity, &now.identity);
    const HINT: &str = "Undo the change to go on from the finished units; without --resume the run starts over";
    Problems::check(found.iter().map(|d| d.problem(Code::Od07, place, HINT)).collect())
}

/// What the last bits of a sum depend on.
fn machine() -> String {
    format!("{} {}, {}", std::env::consts::OS, std::env::consts::ARCH, blas_description())
}
