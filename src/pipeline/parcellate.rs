//! BOLD runs into parcel series: one array, one table and one record per run.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::atlas::{Atlas, Elsewhere, Extraction, Grid, Interpolation, Mask, Projector, extract};
use crate::bold::{Cleaning, Confounds, Selection, clean, repetition_time};
use crate::compute;
use crate::compute::cpu::single_threaded_blas;
use crate::compute::device::{Device, Offload};
use crate::error::{Code, Error, Problems, Result, Warning};
use crate::ids::Digest;
use crate::io::nifti::{Reader, stem};
use crate::io::table::{Output, OutputTable};
use crate::io::{atomic, bounded, disk, file_name, npy};
use crate::store::default_cache_folder;
use crate::watch::Watch;

/// Version of the record's layout.
const FORMAT: u32 = 1;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct ParcellateSpec {
    /// BOLD runs.
    pub bold: Vec<PathBuf>,
    /// Soft maps or labels.
    pub atlas: PathBuf,
    /// Names of the parcels.
    pub labels: Option<PathBuf>,
    /// Voxels that count.
    pub mask: Option<PathBuf>,
    /// One table per run, in their order; or none.
    pub confounds: Vec<PathBuf>,
    /// Columns of the confounds that are removed.
    pub selection: Selection,
    /// Framewise displacement (mm) above which a volume is left out.
    pub scrub: Option<f64>,
    /// Full width at half maximum of the smoothing (mm).
    pub smoothing: Option<f64>,
    /// What is done to the series.
    pub cleaning: Cleaning,
    /// Seconds between volumes, where header and sidecar are not to be believed.
    pub repetition_time: Option<f64>,
    /// How soft maps come to a run's grid.
    pub interpolation: Interpolation,
    /// What multiplies volumes by the maps.
    pub device: Device,
    /// Folder of the results.
    pub out: PathBuf,
    /// Folder of factorised atlases.
    pub cache: Option<PathBuf>,
}

/// What became of one run.
#[derive(Debug)]
pub struct ParcellatedRun {
    /// The run's file.
    pub bold: PathBuf,
    /// The array that was written.
    pub array: PathBuf,
    /// Volumes and parcels.
    pub shape: [usize; 2],
    /// Whether complete results of the same inputs and settings were already there.
    pub skipped: bool,
    /// What was odd but usable.
    pub warnings: Vec<Warning>,
}

/// What became of all runs, in their order.
#[derive(Debug)]
pub struct Parcellated {
    /// Runs that are done.
    pub runs: Vec<ParcellatedRun>,
    /// Runs that failed after the preflight; the others are complete.
    pub failed: Vec<Error>,
}

/// Everything that the series depend on, beside the run itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Settings {
    atlas: Digest,
    labels: Option<Digest>,
    mask: Option<Digest>,
    confounds: Option<Digest>,
    confound_columns: Vec<String>,
    scrub_mm: Option<f64>,
    smoothing_fwhm_mm: Option<f64>,
    cleaning: Cleaning,
    repetition_time_s: Option<f64>,
    interpolation: Interpolation,
}

/// The JSON file beside an array. It is written last: where it is, the results are whole.
#[derive(Debug, Serialize, Deserialize)]
struct RunRecord {
    format: u32,
    version: String,
    run: String,
    run_digest: Digest,
    atlas: String,
    settings: Settings,
    /// What multiplied; the last bits may depend on it.
    #[serde(default)]
    device: String,
    volumes: usize,
    /// Volumes that stayed, counted from 0, where any was left out.
    kept_volumes: Option<Vec<usize>>,
    parcels: usize,
    voxels: usize,
    npy_digest: Digest,
    parquet_digest: Digest,
    warnings: Vec<Warning>,
}

/// A run that passed the preflight.
struct Job<'a> {
    bold: &'a Path,
    stem: String,
    grid: Grid,
    volumes: usize,
    confounds: Option<Confounds>,
    settings: Settings,
    warnings: Vec<Warning>,
}

/// Turns BOLD runs into parcels. For each run `sub-01_bold.nii.gz` it writes `sub-01_bold_parcels.npy` (volumes × parcels,
/// float64), `.parquet` (the same, parcels as columns) and `.json` (all inputs and settings).
///
/// Results that are complete, from the same inputs and settings, are left as they are.
///
/// # Errors
/// All problems of the preflight at once, before anything is written. Later, a run that fails is listed in the result; when
/// every run fails, their errors are returned.
pub fn parcellate(spec: &ParcellateSpec, watch: &dyn Watch) -> std::result::Result<Parcellated, Problems> {
    single_threaded_blas();
    let (atlas, mask, jobs) = preflight(spec)?;
    let done: Vec<Option<ParcellatedRun>> = jobs.par_iter().map(|job| finished(job, spec)).collect();
    let open: Vec<&Job> = jobs.iter().zip(&done).filter(|(_, d)| d.is_none()).map(|(j, _)| j).collect();
    let (offload, without_cards) = match open.is_empty() {
        true => (None, None),
        false => compute::open(spec.device, default_cache_folder().ok().as_deref())?,
    };
    let mut projectors: Vec<Projector> = Vec::new();
    for job in &open {
        if !projectors.iter().any(|p| p.grid == job.grid) {
            let cache = spec.cache.as_deref();
            projectors.push(Projector::cached(&atlas, &job.grid, mask.as_ref(), spec.interpolation, cache, watch)?);
        }
    }
    watch.begin("parcels", "volumes", open.iter().map(|j| j.volumes as u64).sum());
    let waiting = if open.len() > 1 { 1 } else { rayon::current_num_threads() };
    let elsewhere: Vec<Option<Elsewhere<'_>>> = match &offload {
        Some(offload) => projectors.iter().map(|p| Elsewhere::new(p, offload)).collect::<Result<_>>()?,
        None => projectors.iter().map(|_| None).collect(),
    };
    let fresh: Vec<Result<ParcellatedRun>> = open
        .par_iter()
        .map(|job| {
            let found = projectors.iter().zip(&elsewhere).find(|(p, _)| p.grid == job.grid);
            // INVARIANT: one was made above for every grid.
            let (projector, elsewhere) = found.expect("a projector of every grid");
            let how = Extraction { smoothing: spec.smoothing, waiting, elsewhere: elsewhere.as_ref() };
            run(job, &atlas, projector, how, (offload.as_ref(), without_cards.as_ref()), spec, watch)
        })
        .collect();
    watch.end();
    watch.check()?;
    let mut fresh = fresh.into_iter();
    let (mut runs, mut failed) = (Vec::new(), Vec::new());
    for slot in done {
        match slot.map(Ok).or_else(|| fresh.next()) {
            Some(Ok(run)) => runs.push(run),
            Some(Err(error)) => failed.push(error),
            None => {}
        }
    }
    if runs.is_empty() {
        return Err(Problems::from_list(failed));
    }
    Ok(Parcellated { runs, failed })
}

/// Reads and checks everything but the voxels.
fn preflight(spec: &ParcellateSpec) -> std::result::Result<(Atlas, Option<Mask>, Vec<Job<'_>>), Problems> {
    let mut problems = Vec::new();
    fn keep<T>(result: Result<T>, problems: &mut Vec<Error>) -> Option<T> {
        result.map_err(|e| problems.push(e)).ok()
    }
    if spec.out.exists() && !spec.out.is_dir() {
        problems.push(Error::new(Code::Od02, spec.out.display(), "is a file").expected("a directory or a new place"));
    }
    if !spec.confounds.is_empty() && spec.confounds.len() != spec.bold.len() {
        problems.push(
            Error::new(Code::Bo01, "--confounds", format!("given {} times", spec.confounds.len()))
                .expected(format!("{}, once per run and in their order", spec.bold.len())),
        );
    }
    if let Some(width) = spec.smoothing.filter(|w| !(w.is_finite() && *w >= 0.0)) {
        problems.push(Error::new(Code::Fl02, "--smooth", format!("{width}")).expected("a width in mm, 0 or more"));
    }
    if let Some(step) = spec.repetition_time.filter(|s| !(s.is_finite() && *s > 0.0)) {
        problems.push(Error::new(Code::Fl02, "--tr", format!("{step}")).expected("seconds, above 0"));
    }
    let atlas = keep(Atlas::open(&spec.atlas, spec.labels.as_deref()), &mut problems);
    let labels = spec.labels.as_deref().and_then(|l| keep(crate::io::digest_file(l), &mut problems));
    let mask = spec.mask.as_deref().map(|m| keep(Mask::open(m), &mut problems));
    let mut jobs = Vec::new();
    let mut stems = HashSet::new();
    for (i, bold) in spec.bold.iter().enumerate() {
        let name = file_name(bold);
        let stem = stem(&name).to_owned();
        if !stems.insert(stem.to_lowercase()) {
            problems.push(
                Error::new(Code::Od01, bold.display(), format!("another run would also be written as {stem}_parcels"))
                    .expected("file names that differ")
                    .hint("Run them apart, with an --out each"),
            );
            continue;
        }
        let Some(reader) = keep(Reader::open(bold), &mut problems) else { continue };
        let header = reader.header();
        let mut warnings = header.warnings.clone();
        if !header.four_dimensional || header.volumes < 2 {
            let found = format!("has {} volume", header.volumes);
            problems.push(Error::new(Code::Ni16, bold.display(), found).expected("a 4-D run of at least 2 volumes"));
            continue;
        }
        let confounds = match spec.confounds.get(i) {
            None => None,
            Some(path) => match keep(Confounds::read(path, &spec.selection, spec.scrub, header.volumes), &mut problems)
            {
                Some(confounds) => Some(confounds),
                None => continue,
            },
        };
        let Some(step) = keep(timing(spec, bold, &reader, &mut warnings), &mut problems) else { continue };
        let (Some(atlas), Some(mask)) = (&atlas, mask.as_ref().map_or(Some(None), |m| m.as_ref().map(Some))) else {
            continue;
        };
        let settings = Settings {
            atlas: atlas.digest(),
            labels,
            mask: mask.map(Mask::digest),
            confounds: confounds.as_ref().map(|c| c.digest),
            confound_columns: confounds.as_ref().map(|c| c.names.clone()).unwrap_or_default(),
            scrub_mm: spec.scrub,
            smoothing_fwhm_mm: spec.smoothing,
            cleaning: spec.cleaning,
            repetition_time_s: step,
            interpolation: spec.interpolation,
        };
        let (grid, volumes) = (Grid::of(header), header.volumes);
        jobs.push(Job { bold, stem, grid, volumes, confounds, settings, warnings });
    }
    match (atlas, mask, problems.is_empty()) {
        (Some(atlas), mask, true) => Ok((atlas, mask.flatten(), jobs)),
        _ => Err(Problems::from_list(problems)),
    }
}

/// The time between a run's volumes, which a high-pass needs.
fn timing(spec: &ParcellateSpec, bold: &Path, reader: &Reader, warnings: &mut Vec<Warning>) -> Result<Option<f64>> {
    let needed = spec.cleaning.high_pass.is_some();
    let step = match repetition_time(bold, reader.header(), spec.repetition_time, warnings) {
        Ok(step) => step,
        // A time that nothing uses need not be right.
        Err(error) if !needed => {
            warnings.push(Warning::new("NI-18", error));
            None
        }
        Err(error) => return Err(error),
    };
    if needed && step.is_none() {
        return Err(Error::new(
            Code::Ni18,
            bold.display(),
            format!("has {} between volumes in its header and no sidecar that says more", reader.header().time_step),
        )
        .expected("the seconds between volumes, which --high-pass needs")
        .hint("Give them with --tr"));
    }
    spec.cleaning.check(step, &bold.display().to_string())?;
    Ok(step)
}

fn place(spec: &ParcellateSpec, job: &Job<'_>, end: &str) -> PathBuf {
    spec.out.join(format!("{}_parcels.{end}", job.stem))
}

/// The run's results, when they are there, whole, and of the same inputs and settings.
fn finished(job: &Job<'_>, spec: &ParcellateSpec) -> Option<ParcellatedRun> {
    let file = place(spec, job, "json");
    if !file.is_file() {
        return None;
    }
    let text = bounded::read(&file, bounded::MAX_DOCUMENT_BYTES, "a record").ok()?;
    let record: RunRecord = serde_json::from_slice(&text.bytes).ok()?;
    let array = place(spec, job, "npy");
    let same = |path: &Path, digest: Digest| crate::io::digest_file(path).is_ok_and(|d| d == digest);
    let whole = record.format == FORMAT
        && record.version == env!("CARGO_PKG_VERSION")
        && record.settings == job.settings
        && same(&array, record.npy_digest)
        && same(&place(spec, job, "parquet"), record.parquet_digest)
        && same(job.bold, record.run_digest);
    let rows = record.kept_volumes.as_ref().map_or(record.volumes, Vec::len);
    whole.then(|| ParcellatedRun {
        bold: job.bold.to_owned(),
        array,
        shape: [rows, record.parcels],
        skipped: true,
        warnings: record.warnings,
    })
}

/// Extracts, cleans and writes one run.
fn run(
    job: &Job<'_>,
    atlas: &Atlas,
    projector: &Projector,
    how: Extraction<'_>,
    (offload, without_cards): (Option<&Offload>, Option<&Warning>),
    spec: &ParcellateSpec,
    watch: &dyn Watch,
) -> Result<ParcellatedRun> {
    let reader = Reader::open(job.bold)?;
    if Grid::of(reader.header()) != job.grid || reader.header().volumes != job.volumes {
        return Err(Error::new(Code::In01, job.bold.display(), "changed while it was read").expected("the same header"));
    }
    let extracted = extract(reader, projector, how, watch)?;
    let (confounds, kept) = match &job.confounds {
        Some(c) => (Some(c.values.clone()), c.kept.clone()),
        None => (None, None),
    };
    let name = file_name(job.bold);
    let step = job.settings.repetition_time_s.unwrap_or(1.0);
    let cleaned = clean(extracted.series, &spec.cleaning, confounds, kept.as_deref(), step, &name)?;
    let mut warnings = job.warnings.clone();
    warnings.extend(projector.warnings.iter().cloned());
    warnings.extend(without_cards.or_else(|| offload.and_then(Offload::lost)).cloned());
    warnings.extend(cleaned.warnings);
    let series = cleaned.series;
    let left_out = kept.filter(|k| k.len() < job.volumes);
    if let Some(kept) = &left_out {
        let text = format!("{name}: {} of {} volumes were left out", job.volumes - kept.len(), job.volumes);
        warnings.push(Warning::new("BO-05", text));
    }
    let [array, table, file] = ["npy", "parquet", "json"].map(|end| place(spec, job, end));
    disk::create_dir_all(&spec.out).map_err(|e| {
        Error::new(Code::Od02, spec.out.display(), format!("cannot be created: {e}"))
            .hint("Choose another --out")
            .source(e)
    })?;
    // Earlier results stay until all of the new ones are on the disk.
    let staged =
        disk::temporary_folder(".tmp-", &spec.out).map_err(|e| atomic::write_error(&spec.out, "creating", e))?;
    let new = |path: &Path| staged.path().join(path.file_name().unwrap_or_default());
    npy::write(&new(&array), series.view())?;
    columns(&series, atlas.names()).write_parquet(&new(&table))?;
    let record = RunRecord {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        run: name,
        run_digest: extracted.digest,
        atlas: file_name(atlas.path()),
        settings: job.settings.clone(),
        device: how.elsewhere.and(offload).map_or("cpu".to_owned(), Offload::describe),
        volumes: job.volumes,
        kept_volumes: left_out,
        parcels: projector.n_parcels(),
        voxels: projector.n_voxels(),
        npy_digest: crate::io::digest_file(&new(&array))?,
        parquet_digest: crate::io::digest_file(&new(&table))?,
        warnings: warnings.clone(),
    };
    let text = serde_json::to_vec_pretty(&record)
        .map_err(|e| Error::new(Code::Io01, file.display(), format!("cannot be written: {e}")).source(e))?;
    atomic::write(&new(&file), &text)?;
    // The record of earlier results must not vouch for new ones. Another process may be about to write the same.
    disk::remove_if_there(&file).map_err(|e| atomic::write_error(&file, "replacing", e))?;
    for path in [&array, &table, &file] {
        disk::rename(&new(path), path).map_err(|e| atomic::write_error(path, "renaming to", e))?;
    }
    atomic::sync_directory(&spec.out)?;
    let shape = [series.nrows(), series.ncols()];
    Ok(ParcellatedRun { bold: job.bold.to_owned(), array, shape, skipped: false, warnings })
}

fn columns(series: &Array2<f64>, names: &[String]) -> OutputTable {
    let column = |c: usize| Output::Real(series.column(c).iter().map(|v| Some(*v)).collect());
    OutputTable::new(names.iter().enumerate().map(|(c, name)| (name.as_str(), column(c))).collect())
}
