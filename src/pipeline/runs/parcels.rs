use std::path::PathBuf;

use rayon::prelude::*;

use super::super::parcellate::{ParcellateSpec, parcellate};
use super::super::preflight::Findings;
use super::Run;
use super::bids::Listed;
use crate::atlas::{Atlas, Interpolation};
use crate::bold::{Events, Selection, repetition_time};
use crate::compute::device::Device;
use crate::error::{Code, Error, Result, Warning};
use crate::ids::TargetId;
use crate::io::nifti::Reader;
use crate::io::{digest, npy};
use crate::store::default_cache_folder;
use crate::study::{ParcelsPlan, TrialsPlan};
use crate::watch::{Quiet, Watch};

/// Turns listed runs into parcels. Series are kept in the cache's folder and read again when nothing changed. A run that
/// cannot be used is left out by name; the others go on.
pub(super) fn read(
    listed: Vec<Listed>,
    parcels: &ParcelsPlan,
    plan: &TrialsPlan,
    watch: &dyn Watch,
    found: &mut Findings,
) -> Option<(Vec<TargetId>, Vec<Run>)> {
    let atlas = found.keep(Atlas::open(&parcels.atlas, parcels.labels.as_deref()))?;
    found.input("atlas", &parcels.atlas, atlas.digest());
    let cache = found.keep(default_cache_folder())?;
    let mut runs = Vec::new();
    // Runs are independent; what they say is kept in their order.
    watch.begin("parcels", "runs", listed.len() as u64);
    let done: Result<Vec<_>> = listed
        .par_iter()
        .map(|one| {
            watch.check()?;
            let mut warnings = Vec::new();
            let done = run(one, parcels, plan, &cache, &mut warnings);
            watch.advance(1);
            Ok((done, warnings))
        })
        .collect();
    watch.end();
    let done = found.keep(done)?;
    for (one, (done, warnings)) in listed.iter().zip(done) {
        match done {
            Ok((run, sha256)) => {
                found.input("responses", &one.bold, sha256);
                found.warnings.extend(warnings);
                runs.push(run);
            }
            Err(errors) => {
                for error in errors {
                    found.leave_out(&error.hint("The run is left out"));
                }
            }
        }
    }
    if runs.is_empty() {
        let text = format!("none of {} runs can be used", listed.len());
        let reasons: Vec<String> = found.left_out.iter().map(ToString::to_string).collect();
        found.problems.push(Error::new(Code::Od05, "[responses]", text).hint(reasons.join("\n")));
        return None;
    }
    Some((atlas.names().iter().map(|n| TargetId::from(n.as_str())).collect(), runs))
}

fn run(
    one: &Listed,
    parcels: &ParcelsPlan,
    plan: &TrialsPlan,
    cache: &std::path::Path,
    warnings: &mut Vec<Warning>,
) -> std::result::Result<(Run, crate::ids::Digest), Vec<Error>> {
    let alone = |e: Error| vec![e];
    let (step, volumes) = timing(one, plan, warnings).map_err(alone)?;
    let events = Events::read(&one.events, &plan.events, step).map_err(alone)?;
    events.check_run(volumes as f64 * step).map_err(alone)?;
    if parcels.selection.is_some() && one.confounds.is_none() {
        let error = Error::new(Code::Bo01, one.bold.display(), "has no confounds table");
        return Err(alone(error.expected("the confounds that the study removes")));
    }
    // Runs of one name in other folders are other runs.
    let folder = one.bold.parent().map(|p| p.canonicalize().unwrap_or_else(|_| p.to_owned())).unwrap_or_default();
    // So are runs with another time between volumes: filters and confounds depend on it.
    let step_given = plan.repetition_time.map_or_else(String::new, |seconds| format!("\n{seconds}"));
    let place = digest(format!("{}\n{parcels:?}{step_given}", folder.display()).as_bytes()).to_string();
    let spec = ParcellateSpec {
        bold: vec![one.bold.clone()],
        atlas: parcels.atlas.clone(),
        labels: parcels.labels.clone(),
        mask: parcels.mask.clone().or_else(|| one.mask.clone()),
        confounds: parcels.selection.iter().filter_map(|_| one.confounds.clone()).collect::<Vec<PathBuf>>(),
        selection: parcels.selection.clone().unwrap_or(Selection::All),
        scrub: None,
        smoothing: parcels.smoothing,
        cleaning: parcels.cleaning,
        repetition_time: plan.repetition_time,
        interpolation: Interpolation::Trilinear,
        // The series are kept and serve later studies, whatever device those ask for.
        device: Device::Cpu,
        out: cache.join("parcels").join(&place[..16]),
        cache: Some(cache.to_owned()),
    };
    let mut done = parcellate(&spec, &Quiet).map_err(|problems| problems.into_list())?;
    let Some(written) = done.runs.pop() else { return Err(done.failed) };
    warnings.extend(written.warnings);
    let (y, _) = npy::read(&written.array).map_err(alone)?;
    let sha256 = crate::io::digest_file(&one.bold).map_err(alone)?;
    let place = one.bold.display().to_string();
    Ok((Run { entities: one.entities.clone(), y, repetition_time: step, events, place }, sha256))
}

/// Seconds between volumes, and how many there are.
fn timing(one: &Listed, plan: &TrialsPlan, warnings: &mut Vec<Warning>) -> Result<(f64, usize)> {
    let reader = Reader::open(&one.bold)?;
    let header = reader.header();
    let step = repetition_time(&one.bold, header, plan.repetition_time, warnings)?.ok_or_else(|| {
        Error::new(Code::Ni18, one.bold.display(), "does not say how far apart its volumes are")
            .expected("a time in its header or sidecar")
            .hint("Give it: [responses] tr = 2.0")
    })?;
    Ok((step, header.volumes))
}
