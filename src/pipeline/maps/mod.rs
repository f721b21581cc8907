//! Parcel scores of a finished run as maps on voxels and surfaces, with pictures.
//!
//! A voxel's value is the average of the parcels' values weighted by the atlas's maps, s(v) = Σ_p m_p(v) s_p / Σ_p m_p(v);
//! a vertex's is the same with maps that are linear between voxels. Parcels without a value drop out and the weights of the
//! others are renormalised. Images hold no NaN: 0 stands where nothing is defined, and an image of zeros and ones says
//! where that is. Numbers of layers are never averaged: a voxel takes that of the parcel which weighs most there.
//!
//! Surfaces must lie in the space of the atlas. fsaverage lies in MNI305, a few millimetres from MNI152; as in nilearn's
//! `vol_to_surf` nothing is done about it.

mod files;
mod record;
mod scores;
mod surfaces;

use std::path::{Path, PathBuf};

pub(super) use record::pictures;
pub use record::{MapRecord, MapsRecord, PictureRecord};
pub use surfaces::SurfaceFiles;

use super::rois;
use crate::atlas::{Atlas, Parcels};
use crate::error::{Code, Error, Result, Warning};
use crate::io::file_name;
use crate::record::RunRecord;
use crate::store::{Owned, RunDir};
use crate::study::{Plan, ResponseTables, RunSource};
use crate::watch::Watch;

/// The file that says what the maps of a folder are.
const RECORD: &str = "maps.json";
/// The false discovery rate of masked differences where none is given.
pub const USUAL_RATE: f64 = 0.05;

/// What maps are wanted of which run.
#[derive(Debug, Clone)]
pub struct MapsSpec {
    /// The directory of a finished run.
    pub run: PathBuf,
    /// The atlas whose parcels are the run's targets.
    pub atlas: PathBuf,
    /// The names of its parcels.
    pub labels: Option<PathBuf>,
    /// Surfaces that values are also sampled on.
    pub surfaces: Option<SurfaceFiles>,
    /// False discovery rate of the masked differences.
    pub q: f64,
    /// A new directory; without one the maps go into the run, and its report is built again with the pictures.
    pub out: Option<PathBuf>,
    /// Replace maps that are there.
    pub overwrite: bool,
}

/// What was made.
#[derive(Debug, Clone, serde::Serialize)]
pub struct MapsMade {
    /// Where.
    pub folder: PathBuf,
    /// What.
    pub record: MapsRecord,
}

/// Makes the maps of a finished run.
///
/// # Errors
/// `FL-02` for a rate that is none; `RR-01` for a run that cannot be read; those of [`Atlas::open`], and `RO-09` for an
/// atlas whose parcels are not the run's targets; `GI-…` for surfaces; `OD-…` for an output that is there, holds files of
/// another origin, or cannot be written. Nothing is changed then: maps that were there stay.
pub fn maps(spec: &MapsSpec, watch: &dyn Watch) -> Result<MapsMade> {
    if !(spec.q > 0.0 && spec.q < 1.0) {
        return Err(Error::new(Code::Fl02, "--fdr", format!("{}", spec.q)).expected("a rate between 0 and 1"));
    }
    let run = super::report::read(&spec.run)?.0;
    let folder = spec.out.clone().unwrap_or_else(|| spec.run.join("maps"));
    let old = if spec.overwrite { record::files(&folder) } else { Vec::new() };
    let old: Vec<&str> = old.iter().map(String::as_str).collect();
    let owned = Owned { what: "set of maps", record: RECORD, entries: &old };
    let staged = RunDir::stage_as(&folder, spec.overwrite, owned)?;
    let source = Source {
        atlas: &spec.atlas,
        labels: spec.labels.as_deref(),
        surfaces: spec.surfaces.as_ref(),
        all_pictures: true,
    };
    let record = into(staged.path(), &run, &spec.run, source, spec.q, watch)?;
    staged.commit()?;
    if spec.out.is_none() {
        super::report::write(&run, &spec.run)?;
    }
    Ok(MapsMade { folder, record })
}

/// What values are carried to.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub atlas: &'a Path,
    pub labels: Option<&'a Path>,
    pub surfaces: Option<&'a SurfaceFiles>,
    /// Whether every map is drawn, and not only those that the report shows.
    pub all_pictures: bool,
}

/// Writes all maps of a run, whose tables lie in `tables`, into `folder`.
pub(super) fn into(
    folder: &Path,
    run: &RunRecord,
    tables: &Path,
    source: Source<'_>,
    q: f64,
    watch: &dyn Watch,
) -> Result<MapsRecord> {
    let surfaces = source.surfaces.map(surfaces::Surfaces::open).transpose()?;
    let atlas = Atlas::open(source.atlas, source.labels)?;
    let (target_of, odd) = rois::targets_of(&atlas, &run.responses.targets, source.labels.is_some())?;
    let (parcels, mut warnings) = Parcels::of(&atlas, watch)?;
    warnings.extend(odd);
    warnings.extend(atlas.warnings().iter().cloned());
    let scores = scores::of(run, tables, q)?;
    let mut record = MapsRecord {
        atlas: file_name(atlas.path()),
        atlas_sha256: atlas.digest(),
        parcels: parcels.count(),
        surfaces: surfaces.iter().flat_map(|s| s.inputs.iter().cloned()).collect(),
        q,
        maps: Vec::new(),
        pictures: Vec::new(),
        warnings,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let cover = parcels.average(&vec![Some(1.0); parcels.count()]);
    let frame = files::Frame {
        folder,
        run,
        target_of: &target_of,
        cover: &cover,
        surfaces: surfaces.as_ref(),
        all_pictures: source.all_pictures,
    };
    files::write(&frame, &parcels, &scores, &mut record, watch)?;
    let path = folder.join(RECORD);
    let text = serde_json::to_vec_pretty(&record)
        .map_err(|e| Error::new(Code::Io01, path.display(), format!("cannot be written: {e}")).source(e))?;
    crate::io::atomic::write(&path, &text)?;
    Ok(record)
}

/// The atlas that a study's targets are parcels of, and the names of its parcels, where the study knows one.
pub(super) fn atlas_of(plan: &Plan) -> Option<(PathBuf, Option<PathBuf>)> {
    if let Some(atlas) = plan.rois.as_ref().and_then(|rois| rois.atlas.clone()) {
        return Some(atlas);
    }
    let ResponseTables::Trials(trials) = &plan.responses.tables else { return None };
    match &trials.source {
        RunSource::Tars(_) => None,
        RunSource::Bold { parcels, .. } | RunSource::Bids { parcels, .. } => {
            Some((parcels.atlas.clone(), parcels.labels.clone()))
        }
    }
}

/// Makes the maps of a run that is being written, and gives its warnings.
pub(super) fn in_run(
    run: &RunRecord,
    folder: &Path,
    (atlas, labels): &(PathBuf, Option<PathBuf>),
    watch: &dyn Watch,
) -> Result<Vec<Warning>> {
    let maps = folder.join("maps");
    std::fs::create_dir(&maps).map_err(|e| Error::io(maps.display(), "creating", e))?;
    let source = Source { atlas, labels: labels.as_deref(), surfaces: None, all_pictures: false };
    Ok(into(&maps, run, folder, source, USUAL_RATE, watch)?.warnings)
}
