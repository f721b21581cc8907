//! Where the results of a comparison go, and what may lie there already.

use std::path::Path;

use super::preflight::Prepared;
use super::report;
use super::units::{Resume, identity};
use crate::encoder::Place;
use crate::error::{Code, Error, Problems, Result};
use crate::record::RunRecord;
use crate::store::{RECORD, RunDir, StateCache, UnitFolder, UnitsPlan, default_cache_folder, differences};
use crate::study::Plan;

/// Where results go.
#[derive(Debug, Clone)]
pub struct Destination<'a> {
    /// The directory, which appears when everything is done.
    pub out: &'a Path,
    /// Replace a finished run.
    pub overwrite: bool,
    /// Whether to go on from what an earlier process finished.
    pub resume: Resume,
}

impl Destination<'_> {
    /// Checks what can be checked before anything is read.
    ///
    /// # Errors
    /// As [`RunDir::check`]; a finished run is left to [`Destination::finished`] when it may be this one.
    pub(super) fn check(&self) -> Result<()> {
        if self.resume.wanted && self.holds_a_run() {
            return Ok(());
        }
        RunDir::check(self.out, self.overwrite)
    }

    pub(super) fn holds_a_run(&self) -> bool {
        self.out.join(RECORD).is_file()
    }

    /// The finished run at this place, when this very plan made it and a run that was begun before is to be finished.
    ///
    /// # Errors
    /// `OD-01` for every difference when another plan made it and it may not be replaced; `RR-01` for a record that cannot
    /// be read.
    pub(super) fn finished(&self, prepared: &Prepared) -> std::result::Result<Option<RunRecord>, Problems> {
        if !self.resume.wanted || !self.holds_a_run() {
            return Ok(None);
        }
        // Someone began to replace it.
        if self.overwrite && UnitFolder::plan(&UnitFolder::beside(self.out)?)?.is_some() {
            return Ok(None);
        }
        let (record, _) = report::read(self.out)?;
        let found = differences(&record.identity, &identity(prepared));
        if found.is_empty() {
            return Ok(Some(record));
        }
        if self.overwrite {
            return Ok(None);
        }
        const HINT: &str = "Choose another --out, or give --overwrite to replace that run";
        if record.identity.is_empty() {
            return Err(Error::new(Code::Od01, self.out.display(), "holds a run that does not say what its plan was")
                .expected("a run of this plan, or a new directory")
                .hint(HINT)
                .into());
        }
        Err(Problems::from_list(found.iter().map(|d| d.problem(Code::Od01, self.out, HINT)).collect()))
    }

    /// Removes what a process that was killed after its very last rename left beside the finished run: its units. Those of
    /// another plan are somebody else's.
    pub(super) fn clear(&self, record: &RunRecord) {
        let units = || -> Result<()> {
            let path = UnitFolder::beside(self.out)?;
            let same = |plan: &UnitsPlan| differences(&plan.identity, &record.identity).is_empty();
            if UnitFolder::plan(&path)?.as_ref().is_some_and(same) { UnitFolder::remove(&path) } else { Ok(()) }
        };
        // What cannot be removed, or belongs to somebody who is at work there, costs space and nothing else.
        RunDir::clear(self.out, || drop(units())).ok();
    }
}

/// The output must not lie inside an input or the cache, nor one of these inside the output.
pub(super) fn apart(plan: &Plan, out: &Path, cache: Option<&StateCache>) -> Result<()> {
    let full = |p: &Path| p.canonicalize().ok();
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(target) = full(parent).and_then(|p| Some(p.join(out.file_name()?))) else { return Ok(()) };
    let clash = |what: &str, other: &Path| {
        Err(Error::new(Code::Od03, out.display(), format!("overlaps with the {what} {}", other.display()))
            .expected("an output directory of its own"))
    };
    let overlaps = |folder: &Path| full(folder).is_some_and(|f| target.starts_with(&f) || f.starts_with(&target));
    for checkpoint in &plan.checkpoints {
        if let Place::Folder(folder) = &checkpoint.source.place
            && overlaps(folder)
        {
            return clash("input", folder);
        }
    }
    for file in [&plan.study_path, &plan.stimuli_path] {
        if full(file).is_some_and(|f| f.starts_with(&target)) {
            return clash("input", file);
        }
    }
    // Whoever clears the user's cache clears it whatever a run was told to use.
    let usual = default_cache_folder().ok();
    for folder in cache.map(StateCache::root).into_iter().chain(usual.as_deref()) {
        if overlaps(folder) {
            return clash("cache", folder);
        }
    }
    Ok(())
}
