//! A meta-analytic map from a database, with all that belongs to it, into files.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::atlas::neurosynth::{self, Association, Counts, Database, Peak, RADIUS_MM, Selected, Selection, Threshold};
use crate::atlas::{Grid, Mask};
use crate::error::{Code, Error, Result, Warning};
use crate::ids::Digest;
use crate::io::table::{Output, OutputTable};
use crate::io::{atomic, file_name, nifti};
use crate::watch::Watch;

/// Without a mask, voxels count where at least this share of all studies is active.
pub const USUAL_SHARE: f64 = 0.002;
/// Most peaks of the table.
const MOST_PEAKS: usize = 50;

/// What map is wanted.
#[derive(Debug, Clone)]
pub struct NeurosynthSpec {
    /// The folder of the database.
    pub database: PathBuf,
    /// Which studies.
    pub selection: Selection,
    /// Part of the names of the feature files to use, where there are several vocabularies.
    pub features: Option<String>,
    /// What a feature must exceed; the usual threshold of its kind without it.
    pub threshold: Option<f64>,
    /// The mask, which also gives the grid; without it FSL's 2 mm grid and the voxels of [`USUAL_SHARE`].
    pub mask: Option<PathBuf>,
    /// False discovery rate.
    pub q: f64,
    /// Peaks are further apart than this (mm).
    pub apart: f64,
    /// The association map (`.nii` or `.nii.gz`); the other files are named after it.
    pub out: PathBuf,
    /// Replace files of these names.
    pub overwrite: bool,
}

/// What was made.
#[derive(Debug, Clone, Serialize)]
pub struct NeurosynthMade {
    /// What the files of the database are named after.
    pub database: String,
    /// Topics or terms that were matched.
    pub matched: Vec<String>,
    /// What a feature had to exceed.
    pub threshold: f64,
    /// Selected studies.
    pub n_selected: usize,
    /// All studies.
    pub n_studies: usize,
    /// All peaks.
    pub n_peaks: usize,
    /// Studies whose peaks were moved from Talairach space.
    pub n_talairach: usize,
    /// Studies of unknown space, whose peaks were taken as MNI.
    pub n_unknown_space: usize,
    /// Radius of the spheres (mm).
    pub radius_mm: f64,
    /// Which voxels count.
    pub mask: String,
    /// How many they are.
    pub n_voxels: usize,
    /// The grid.
    pub grid: Grid,
    /// Limits of the association map.
    pub association: Limits,
    /// Limits of the uniformity map.
    pub uniformity: Limits,
    /// Peaks of the association map.
    pub peaks: Vec<Peak>,
    /// What was written: what it is, and the file's name.
    pub written: Vec<(String, String)>,
    /// What was read: names and digests.
    pub inputs: Vec<(String, Digest)>,
    /// Version of the program.
    pub version: String,
    /// What the user must know.
    pub warnings: Vec<Warning>,
}

/// Extremes and limit of a map.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// Largest z.
    pub z_max: f32,
    /// Smallest z.
    pub z_min: f32,
    /// The limit of the false discovery rate.
    pub fdr: Threshold,
}

impl Limits {
    /// Of the voxels in the mask: all others hold a 0 that is no z.
    fn of(map: &[f32], mask: &[bool], fdr: Threshold) -> Limits {
        let inside = || map.iter().zip(mask).filter(|(_, inside)| **inside).map(|(z, _)| *z);
        let extreme = |pick: fn(f32, f32) -> f32| inside().reduce(pick).unwrap_or(0.0);
        Limits { z_max: extreme(f32::max), z_min: extreme(f32::min), fdr }
    }
}

/// Computes the map of a selection of studies and writes it beside its uniformity map, thresholded versions of both, the
/// peaks, the studies and a record.
///
/// # Errors
/// `FL-02` for settings out of range, `OD-01` for files that are there (without `overwrite`), `OD-02` for an output that is no
/// NIfTI file or has no folder to go into, `OD-03` for one that is the mask, and those of database, selection and mask. No
/// file takes its place before all of them are on the disk.
pub fn neurosynth(spec: &NeurosynthSpec, watch: &dyn Watch) -> Result<NeurosynthMade> {
    let names = check(spec)?;
    let database = Database::open(&spec.database)?;
    let selected = spec.selection.studies(&database, spec.features.as_deref(), spec.threshold)?;
    let mask = spec.mask.as_deref().map(Mask::open).transpose()?;
    let grid = mask.as_ref().map_or_else(neurosynth::standard_grid, |m| *m.grid());
    let counts = neurosynth::counts(&database, &selected.chosen, &grid, watch)?;
    let (inside, said) = inside(&counts, mask.as_ref(), spec)?;
    let maps = neurosynth::association(&counts, inside, spec.q)?;
    let peaks = neurosynth::peaks(&maps, spec.apart, MOST_PEAKS);
    watch.check()?;
    let (n_talairach, n_unknown_space) = database.spaces();
    let inputs = database.files.iter().chain(&selected.files).map(|(path, digest)| (file_name(path), *digest));
    let mask_file = spec.mask.iter().zip(&mask).map(|(path, mask)| (file_name(path), mask.digest()));
    let mut made = NeurosynthMade {
        database: database.name.clone(),
        matched: selected.matched.clone(),
        threshold: selected.threshold,
        n_selected: maps.n_selected,
        n_studies: maps.n_studies,
        n_peaks: database.n_peaks(),
        n_talairach,
        n_unknown_space,
        radius_mm: RADIUS_MM,
        mask: said,
        n_voxels: maps.mask.iter().filter(|inside| **inside).count(),
        grid,
        association: Limits::of(&maps.association, &maps.mask, maps.thresholds[0]),
        uniformity: Limits::of(&maps.uniformity, &maps.mask, maps.thresholds[1]),
        peaks,
        written: Vec::new(),
        inputs: inputs.chain(mask_file).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        warnings: database.warnings.clone(),
    };
    write(names, &database, &selected, &maps, &mut made)?;
    Ok(made)
}

/// Checks the settings, and that all files can be written.
fn check(spec: &NeurosynthSpec) -> Result<Names> {
    if !(spec.q > 0.0 && spec.q < 1.0) {
        return Err(Error::new(Code::Fl02, "--fdr", format!("{}", spec.q)).expected("a rate between 0 and 1"));
    }
    if !(spec.apart >= 0.0 && spec.apart.is_finite()) {
        return Err(
            Error::new(Code::Fl02, "--apart", format!("{}", spec.apart)).expected("a distance in mm, 0 or more")
        );
    }
    if spec.threshold.is_some_and(|t| !t.is_finite()) {
        return Err(Error::new(Code::Fl02, "--threshold", "is not finite").expected("a number"));
    }
    if !nifti::has_nifti_name(&file_name(&spec.out)) {
        return Err(Error::new(Code::Od02, spec.out.display(), "is no name of an image").expected("NAME.nii.gz"));
    }
    if spec.out.is_dir() {
        return Err(Error::new(Code::Od02, spec.out.display(), "is a directory").expected("a file in it: NAME.nii.gz"));
    }
    let names = Names::of(spec);
    if !names.folder.is_dir() {
        return Err(Error::new(Code::Od02, names.folder.display(), "is no directory")
            .expected("the directory that the output goes into")
            .hint("Create it first"));
    }
    for name in names.all() {
        let path = names.folder.join(name);
        if !path.exists() {
            continue;
        }
        let same = |mask: &PathBuf| path.canonicalize().ok().zip(mask.canonicalize().ok()).is_some_and(|(a, b)| a == b);
        if spec.mask.as_ref().is_some_and(same) {
            return Err(
                Error::new(Code::Od03, path.display(), "would take the place of the mask").expected("another --out")
            );
        }
        if !spec.overwrite {
            return Err(Error::new(Code::Od01, path.display(), "is there already")
                .expected("a new name")
                .hint("Choose another --out, or give --overwrite to replace it"));
        }
    }
    Ok(names)
}

/// The files, and the folder that they go into.
struct Names {
    folder: PathBuf,
    images: [String; 4],
    peaks: String,
    studies: String,
    record: String,
}

impl Names {
    fn of(spec: &NeurosynthSpec) -> Names {
        let name = file_name(&spec.out);
        let (stem, end) = name.split_at(nifti::stem(&name).len());
        let image = |tail: String| format!("{stem}{tail}{end}");
        let folder = spec.out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Names {
            folder: folder.to_owned(),
            images: [
                image(String::new()),
                image(format!("_fdr-{}", spec.q)),
                image("_uniformity".to_owned()),
                image(format!("_uniformity_fdr-{}", spec.q)),
            ],
            peaks: format!("{stem}_peaks.csv"),
            studies: format!("{stem}_studies.csv"),
            record: format!("{stem}.json"),
        }
    }

    /// The record comes last.
    fn all(&self) -> impl Iterator<Item = &String> {
        self.images.iter().chain([&self.peaks, &self.studies, &self.record])
    }
}

/// The voxels that count, and how that is said.
fn inside(counts: &Counts, mask: Option<&Mask>, spec: &NeurosynthSpec) -> Result<(Vec<bool>, String)> {
    if let Some(mask) = mask {
        let name = spec.mask.as_deref().map_or_else(String::new, file_name);
        return Ok((mask.on(&counts.grid)?, format!("voxels of {name}")));
    }
    let least = (USUAL_SHARE * counts.n_studies as f64).ceil().max(1.0) as u32;
    let inside: Vec<bool> = counts.all.iter().map(|n| *n >= least).collect();
    if !inside.contains(&true) {
        return Err(Error::new(
            Code::Ns04,
            spec.database.display(),
            format!("no voxel of the 2 mm MNI grid has {least} active studies"),
        )
        .expected("peaks in MNI space, in millimetres"));
    }
    Ok((inside, format!("voxels where at least {least} of all studies are active ({:.1} %)", 100.0 * USUAL_SHARE)))
}

/// Writes everything beside its place first, then moves it there.
fn write(
    names: Names,
    database: &Database,
    selected: &Selected,
    maps: &Association,
    made: &mut NeurosynthMade,
) -> Result<()> {
    let staged = tempfile::Builder::new()
        .prefix(".brainscore-map-")
        .tempdir_in(&names.folder)
        .map_err(|e| atomic::write_error(&names.folder, "creating a directory in", e))?;
    let [first, second] = &maps.thresholds;
    let images = [
        ("association z", maps.association.clone()),
        ("association z, FDR", first.apply(&maps.association)),
        ("uniformity z", maps.uniformity.clone()),
        ("uniformity z, FDR", second.apply(&maps.uniformity)),
    ];
    for ((what, map), file) in images.iter().zip(&names.images) {
        nifti::write(&staged.path().join(file), maps.grid.shape, &maps.grid.affine, 0.0, &[map])?;
        made.written.push(((*what).to_owned(), file.clone()));
    }
    let column = |axis: usize| Output::Real(made.peaks.iter().map(|p| Some(p.place[axis])).collect());
    let peaks = OutputTable::new(vec![
        ("peak", Output::Integer((1..=made.peaks.len() as i64).collect())),
        ("x", column(0)),
        ("y", column(1)),
        ("z", column(2)),
        ("z_value", Output::Real(made.peaks.iter().map(|p| Some(f64::from(p.z))).collect())),
        ("mm_to_higher_peak", Output::Real(made.peaks.iter().map(|p| p.to_higher).collect())),
    ]);
    peaks.write_csv(&staged.path().join(&names.peaks))?;
    let chosen = || (0..database.studies.len()).filter(|s| selected.chosen[*s]);
    let studies = OutputTable::new(vec![
        ("pmid", Output::Text(chosen().map(|s| database.studies[s].id.clone()).collect())),
        ("weight", Output::Real(chosen().map(|s| Some(selected.weights[s])).collect())),
        ("title", Output::Text(chosen().map(|s| database.studies[s].title.clone()).collect())),
    ]);
    studies.write_csv(&staged.path().join(&names.studies))?;
    let others = [("peaks", &names.peaks), ("studies", &names.studies), ("record", &names.record)];
    made.written.extend(others.map(|(what, file)| (what.to_owned(), file.clone())));
    let path = names.folder.join(&names.record);
    let text = serde_json::to_vec_pretty(&made)
        .map_err(|e| Error::new(Code::Io01, path.display(), format!("cannot be written: {e}")).source(e))?;
    atomic::write(&staged.path().join(&names.record), &text)?;
    for name in names.all() {
        let path = names.folder.join(name);
        std::fs::rename(staged.path().join(name), &path).map_err(|e| atomic::write_error(&path, "renaming to", e))?;
    }
    atomic::sync_directory(&names.folder)
}
