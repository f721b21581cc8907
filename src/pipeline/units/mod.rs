//! A comparison in units: what is finished is kept beside the output, so that a run that was killed goes on from there.
//!
//! A unit is what one decomposition serves: a layer of a checkpoint fitted to all subjects, its joint model with the
//! confounds, the attestation of a checkpoint's weights. Everything else (baselines, intervals, tests, tables, figures) is
//! computed from units by every run anew, in one order: tables are the same bytes whoever made the units, and whenever.
//!
//! Without `--resume` a run starts over, and says how many units it does not use: a command means the same whatever lies
//! beside its output, a changed study needs no clearing up, and the old units stay until the first new one is finished.

mod identity;
mod seen;
mod share;
mod standing;
mod tokens;

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub(super) use identity::identity;
pub use share::{Shared, share};
pub use standing::{ShardStanding, Standing, standing};

use self::seen::{Machine, Seen};
use self::tokens::tokens;
use super::fit::SpaceFit;
use super::metrics::Measured;
use super::preflight::Prepared;
use crate::compute::device::Offload;
use crate::encoder::Attestation;
use crate::encoding::Combine;
use crate::error::{Code, Error, Problems, Result, Warning};
use crate::ids::Layer;
use crate::io::atomic::write_error;
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
#[derive(Default)]
pub(super) struct Units {
    place: Option<Place>,
    /// Number of all units of the plan.
    all: usize,
    missing: Missing,
    /// Whether they are all that this process makes: a share.
    shared: bool,
    /// Cards at work: what is computed after they failed says so.
    offload: Option<Offload>,
    seen: Mutex<Seen>,
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
        Units::default()
    }

    /// Units of a plan, in a folder that is made with the first of them or is there.
    fn of_plan(prepared: &Prepared, path: PathBuf, plan: UnitsPlan, folder: Option<UnitFolder>) -> Units {
        let place = Some(Place { path, plan, folder: Mutex::new(folder) });
        Units { place, all: tokens(prepared).len(), offload: prepared.offload.clone(), ..Units::default() }
    }

    /// Units that others began at `path`, when it was with the same plan; the plan's memory becomes theirs.
    fn going_on(
        prepared: &mut Prepared,
        path: PathBuf,
        then: UnitsPlan,
        now: &UnitsPlan,
    ) -> std::result::Result<Units, Problems> {
        same(&then, now, &path)?;
        prepared.plan.memory = then.memory;
        let folder = UnitFolder::open(&path, &then);
        Ok(Units::of_plan(prepared, path, then, Some(folder)))
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
        let (path, plan) = planned(out, prepared, resume)?;
        let there = UnitFolder::count(&path);
        if resume.wanted {
            if let Some(then) = UnitFolder::plan(&path)? {
                let units = Units { missing: resume.missing, ..Units::going_on(prepared, path.clone(), then, &plan)? };
                if resume.missing == Missing::Refuse {
                    standing::all_there(prepared, &path)?;
                }
                watch.tell(&format!("resuming: {there} of {} units are finished", units.all));
                return Ok(units);
            }
        } else if there > 0 {
            watch.tell(&format!(
                "warning: {there} finished units of an interrupted run lie in {} and are not used; --resume would go on from \
                 them. They are removed when the first new unit is finished [UN-01]",
                path.display()
            ));
        }
        Ok(Units::of_plan(prepared, path, plan, None))
    }

    /// The units beside `out` for several processes: the first one says what the plan is.
    fn together(out: &Path, prepared: &mut Prepared, resume: &Resume) -> std::result::Result<Units, Problems> {
        let (path, plan) = planned(out, prepared, resume)?;
        let then = match UnitFolder::plan(&path)? {
            Some(then) => then,
            None => match UnitFolder::create(&path, &plan) {
                Ok(_) => plan.clone(),
                // Another one was quicker.
                Err(error) => UnitFolder::plan(&path)?.ok_or(error)?,
            },
        };
        Ok(Units { shared: true, ..Units::going_on(prepared, path, then, &plan)? })
    }

    /// The unit that was finished before, or else what `make` gives, which is kept.
    pub fn of<T: Binary>(&self, unit: Unit, make: impl FnOnce() -> Result<T>) -> Result<T> {
        // Failing to keep it is no error: the value is at hand, and a run that is not killed needs no copy of it.
        self.found_or_made(unit, make).map(|(value, _)| value)
    }

    /// As [`Units::of`], where the unit is all that is wanted: it must be kept.
    fn must<T: Binary>(&self, unit: Unit, make: impl FnOnce() -> Result<T>) -> Result<()> {
        let (_, kept) = self.found_or_made(unit, make)?;
        kept.map_err(|e| {
            let found = format!("could not be kept: {}", e.message());
            Error::new(Code::Io01, unit, found).hint("The same command goes on from what is finished").source(e)
        })
    }

    /// A unit, and whether it was kept where it had to be made.
    fn found_or_made<T: Binary>(&self, unit: Unit, make: impl FnOnce() -> Result<T>) -> Result<(T, Result<()>)> {
        let why = match self.get(unit) {
            Ok(found) => return Ok((found, Ok(()))),
            Err(why) => why,
        };
        if self.missing == Missing::Refuse {
            // It was there when the run began.
            return Err(Error::new(Code::Od08, unit, why).hint("Give --compute-missing"));
        }
        let made = make()?;
        let kept = self.keep(unit, &made);
        Ok((made, kept))
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

    /// A unit that was finished before, or what is to be said of one that is not to be had.
    fn get<T: Binary>(&self, unit: Unit) -> std::result::Result<T, String> {
        const DAMAGED: &str = "is damaged and was removed";
        let name = unit.to_string();
        let bytes = match self.with(|folder| folder.get(&name)) {
            None | Some(Found::Absent) => return Err("is not there any more".to_owned()),
            Some(Found::Unreadable(why)) => {
                self.saw(|seen| *seen.unreadable.entry(why).or_default() += 1);
                return Err(format!("cannot be read: {why}"));
            }
            Some(Found::Damaged) => {
                self.saw(|seen| seen.damaged += 1);
                return Err(DAMAGED.to_owned());
            }
            Some(Found::Whole(bytes)) => bytes,
        };
        let Some((machine, value)) = read_all::<(Machine, T)>(&bytes) else {
            self.with(|folder| folder.discard(&name));
            self.saw(|seen| seen.damaged += 1);
            return Err(DAMAGED.to_owned());
        };
        self.saw(|seen| seen.found_of(machine));
        self.used(name);
        Ok(value)
    }

    fn keep<T: Binary>(&self, unit: Unit, value: &T) -> Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        if self.saw(|seen| seen.made_room) {
            self.saw(|seen| seen.unwritten += 1);
            return Ok(());
        }
        let machine = Machine::here(self.offload.as_ref());
        let kept = place.made().and_then(|folder| {
            let put = folder.put(&unit.to_string(), |to| {
                machine.write(to);
                value.write(to);
            });
            put.map_err(|e| write_error(&place.path, "writing", e))
        });
        match &kept {
            Ok(()) => {
                self.saw(|seen| seen.made_on(machine));
                self.used(unit.to_string());
            }
            Err(e) => {
                self.saw(|seen| seen.unwritten += 1);
                if !self.shared && is_full(e) {
                    self.make_room();
                }
            }
        }
        kept
    }

    /// What the results take from units is at hand: where the disk cannot hold both, it is the results that are wanted.
    fn make_room(&self) {
        let used = self.saw(|seen| {
            seen.made_room = true;
            std::mem::take(&mut seen.used)
        });
        self.with(|folder| used.iter().for_each(|name| folder.discard(name)));
    }

    /// The value of a unit is at hand now.
    fn used(&self, name: String) {
        let full = self.saw(|seen| {
            if !seen.made_room {
                seen.used.push(name.clone());
            }
            seen.made_room
        });
        if full {
            self.with(|folder| folder.discard(&name));
        }
    }

    fn saw<T>(&self, what: impl FnOnce(&mut Seen) -> T) -> T {
        what(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
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
        self.saw(|seen| seen.warnings())
    }

    /// What is said of an error that ended the run: whether anything was kept.
    pub fn explained(&self, error: Error) -> Error {
        let finished = self.finished();
        if finished == 0 || ![Code::Ix01, Code::Ix02].contains(&error.code()) {
            return error;
        }
        let how = if self.shared { "" } else { " with --resume" };
        error.hint(format!(
            "{finished} of {} units are finished; the same command{how} goes on from there. Nothing else was written",
            self.all
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

/// Where the units beside `out` are, and what their plan would be now.
fn planned(out: &Path, prepared: &Prepared, resume: &Resume) -> Result<(PathBuf, UnitsPlan)> {
    let plan = UnitsPlan::new(identity(prepared), prepared.plan.memory, resume.command.clone());
    Ok((UnitFolder::beside(out)?, plan))
}

/// Whether an error is that of a disk, or of a user's share of it, that is full.
fn is_full(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|e| matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

/// Every difference between the plan that units belong to and another.
fn same(then: &UnitsPlan, now: &UnitsPlan, place: &Path) -> std::result::Result<(), Problems> {
    let found = differences(&then.identity, &now.identity);
    const HINT: &str =
        "Undo the change to go on from the finished units; without --resume and --shard the run starts over";
    Problems::check(found.iter().map(|d| d.problem(Code::Od07, place, HINT)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::disk::{Fault, inject};

    fn units(folder: &Path) -> Units {
        let plan = UnitsPlan::new(Default::default(), 1 << 30, None);
        let place = Place { path: folder.join(".out.units"), plan, folder: Mutex::default() };
        Units { place: Some(place), all: 9, ..Units::default() }
    }

    fn name(at: usize) -> impl FnOnce() -> Result<String> {
        move || Ok(format!("value {at}"))
    }

    /// The results have the room of what they have taken up already; what they have not is still there.
    #[test]
    fn a_full_disk_is_left_to_the_results() {
        let dir = tempfile::tempdir().unwrap();
        let fill = |units: &Units, range: std::ops::Range<usize>| {
            range.for_each(|at| assert_eq!(units.of(Unit::Attestation(at), name(at)).unwrap(), format!("value {at}")));
        };
        let before = units(dir.path());
        fill(&before, 0..4);
        let plan = UnitsPlan::new(Default::default(), 1 << 30, None);
        let folder = Mutex::new(Some(UnitFolder::open(&dir.path().join(".out.units"), &plan)));
        let later = Units { place: units(dir.path()).place.map(|place| Place { folder, ..place }), ..Units::default() };
        fill(&later, 0..2);
        let full = inject(Fault::Full, 0);
        fill(&later, 4..6);
        drop(full);
        assert_eq!(later.finished(), 2, "those that nobody has used yet");
        fill(&later, 2..4);
        fill(&later, 6..7);
        assert_eq!(later.finished(), 0, "there is room again, but for how long?");
        let told = later.warnings()[0].to_string();
        assert!(
            told.contains("3 finished units could not be kept for want of room") && told.contains("UN-03"),
            "{told}"
        );
        // A share makes nothing else: it says so, and keeps what it has.
        let share = Units { shared: true, ..units(dir.path()) };
        share.must(Unit::Attestation(0), name(0)).unwrap();
        let full = inject(Fault::Full, 0);
        let refused = share.must(Unit::Attestation(1), name(1)).unwrap_err();
        drop(full);
        assert!(refused.code() == Code::Io01 && refused.to_string().contains("c0001-weights: could not be kept: "));
        assert!(share.finished() == 1 && share.must(Unit::Attestation(1), name(1)).is_ok());
    }

    #[test]
    fn what_cannot_be_read_is_told_and_not_called_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let units = units(dir.path());
        units.of(Unit::Attestation(0), name(0)).unwrap();
        std::fs::create_dir(dir.path().join(".out.units/c0001-weights.unit")).unwrap();
        assert_eq!(units.of(Unit::Attestation(1), name(1)).unwrap(), "value 1");
        let told: Vec<String> = units.warnings().iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|t| t.contains("1 units could not be read") && t.contains("UN-05")), "{told:?}");
        assert!(!told.iter().any(|t| t.contains("UN-02")), "{told:?}");
        let refusing = Units { missing: Missing::Refuse, ..units };
        let refused = refusing.of(Unit::Attestation(1), name(1)).unwrap_err();
        assert!(refused.code() == Code::Od08 && refused.to_string().contains("cannot be read: "), "{refused}");
    }

    #[test]
    fn an_interrupted_share_needs_no_resume() {
        let dir = tempfile::tempdir().unwrap();
        for shared in [false, true] {
            let units = Units { shared, ..units(dir.path()) };
            units.of(Unit::Attestation(0), name(0)).unwrap();
            let told = units.explained(Error::new(Code::Ix01, "x", "interrupted")).to_string();
            assert!(told.contains("1 of 9 units are finished") && told.contains("--resume") != shared, "{told}");
        }
    }
}
