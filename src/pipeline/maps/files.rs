//! The files: images, values per vertex, pictures, and a table of them.

use std::path::Path;

use rayon::prelude::*;

use super::record::{ATLAS, MapRecord, MapsRecord, PictureRecord, TABLE, atlas_of, defined_of};
use super::scores::TargetValues;
use super::surfaces::{Half, Surfaces};
use crate::atlas::{Parcels, VoxelMap};
use crate::error::Result;
use crate::io::table::{Output, OutputTable};
use crate::io::{atomic, gifti, nifti};
use crate::plot::{BrainScene, SurfaceValues, brain};
use crate::record::RunRecord;
use crate::watch::Watch;

/// Most pictures in a report: its page stays under 5 MB.
const MOST_IN_REPORT: usize = 4;
/// Kinds that a report shows, the first ones first.
const SHOWN: [&str; 3] = ["score", "difference", "difference-fdr"];

/// What all maps of a folder share.
pub(super) struct Frame<'a> {
    pub folder: &'a Path,
    pub run: &'a RunRecord,
    /// The target of each parcel.
    pub target_of: &'a [Option<usize>],
    /// Where the atlas reaches: 1.
    pub cover: &'a VoxelMap,
    pub surfaces: Option<&'a Surfaces>,
    /// Whether every map is drawn, and not only those that the report shows.
    pub all_pictures: bool,
}

/// Writes everything and adds it to `record`.
pub(super) fn write(
    frame: &Frame<'_>,
    parcels: &Parcels,
    all: &[TargetValues],
    record: &mut MapsRecord,
    watch: &dyn Watch,
) -> Result<()> {
    let Frame { folder, run, target_of, cover, surfaces, .. } = *frame;
    image(&folder.join(ATLAS), cover, &cover.values())?;
    if let Some(surfaces) = surfaces {
        for half in &surfaces.halves {
            let reached: Vec<f32> = half.sample(cover).iter().map(|v| f32::from(u8::from(v.is_some()))).collect();
            let document = gifti::scalars("NIFTI_INTENT_SHAPE", half.hemisphere, &[("atlas", &reached)]);
            gifti::write(&folder.join(atlas_of(half.hemisphere)), &document)?;
        }
    }
    watch.begin("maps", "maps", all.len() as u64);
    let atlas = record.atlas.as_str();
    let shown = shown(run, all);
    let made: Result<Vec<(MapRecord, Option<PictureRecord>)>> = all
        .par_iter()
        .zip(&shown)
        .map(|(values, in_report)| {
            watch.check()?;
            let of_parcels: Vec<Option<f64>> = target_of.iter().map(|t| t.and_then(|t| values.values[t])).collect();
            let map = if values.labels { parcels.winner(&of_parcels) } else { parcels.average(&of_parcels) };
            let made = one(frame, values, &of_parcels, &map, atlas, *in_report)?;
            watch.advance(1);
            Ok(made)
        })
        .collect();
    watch.end();
    let (maps, pictures): (_, Vec<_>) = made?.into_iter().unzip();
    record.maps = maps;
    record.pictures = pictures.into_iter().flatten().collect();
    table(folder, record)
}

/// One map in all its forms.
fn one(
    frame: &Frame<'_>,
    values: &TargetValues,
    of_parcels: &[Option<f64>],
    map: &VoxelMap,
    atlas: &str,
    in_report: bool,
) -> Result<(MapRecord, Option<PictureRecord>)> {
    let Frame { folder, cover, surfaces, .. } = *frame;
    let file = format!("{}.nii.gz", values.file);
    image(&folder.join(&file), map, &map.values())?;
    let defined = (map.defined() != cover.defined()).then(|| format!("{}_defined.nii.gz", values.file));
    if let Some(name) = &defined {
        let ones: Vec<f32> = map.defined().iter().map(|d| f32::from(u8::from(*d))).collect();
        image(&folder.join(name), map, &ones)?;
    }
    let (mut surface_files, mut sampled) = (Vec::new(), Vec::new());
    for half in surfaces.iter().flat_map(|s| &s.halves) {
        let found = half.sample(map);
        let plain: Vec<f32> = found.iter().map(|v| v.unwrap_or(0.0) as f32).collect();
        let here: Vec<f32> = found.iter().map(|v| f32::from(u8::from(v.is_some()))).collect();
        let prefix = half.hemisphere.prefix();
        let document = gifti::scalars("NIFTI_INTENT_NONE", half.hemisphere, &[(&values.title, &plain)]);
        let name = format!("{prefix}.{}.func.gii", values.file);
        gifti::write(&folder.join(&name), &document)?;
        surface_files.push(name);
        if defined.is_some() {
            let document = gifti::scalars("NIFTI_INTENT_SHAPE", half.hemisphere, &[("defined", &here)]);
            gifti::write(&folder.join(defined_of(half.hemisphere, &values.file)), &document)?;
        }
        sampled.push((half, found));
    }
    let undefined = of_parcels.iter().filter(|v| v.is_none()).count();
    let extremes = map.extremes();
    let picture = match in_report || frame.all_pictures {
        true => Some(picture(frame, values, map, &sampled, (atlas, of_parcels.len(), undefined), in_report)?),
        false => None,
    };
    let map = MapRecord {
        file,
        surface_files,
        defined,
        kind: values.kind.to_owned(),
        checkpoint: values.checkpoint.clone(),
        reference: values.reference.clone(),
        layer: values.layer,
        unit: values.unit.clone(),
        low: extremes.map(|e| e.0),
        high: extremes.map(|e| e.1),
        defined_parcels: of_parcels.len() - undefined,
        undefined_parcels: undefined,
    };
    Ok((map, picture))
}

/// Values of the vertices of the halves.
type Sampled<'a> = (&'a Half, Vec<Option<f64>>);

/// Draws a map.
fn picture(
    frame: &Frame<'_>,
    values: &TargetValues,
    map: &VoxelMap,
    sampled: &[Sampled<'_>],
    (atlas, parcels, undefined): (&str, usize, usize),
    in_report: bool,
) -> Result<PictureRecord> {
    let on_surfaces: Vec<SurfaceValues<'_>> = sampled
        .iter()
        .map(|(half, found)| SurfaceValues { surface: &half.drawn, hemisphere: half.hemisphere, values: found })
        .collect();
    let range = map.extremes().map_or("Nothing is defined.".to_owned(), |(low, high)| {
        format!("Voxels from {} to {}.", number(low), number(high))
    });
    let gaps = match undefined {
        0 => String::new(),
        n => format!(" {n} of {} parcels are undefined (grey).", parcels),
    };
    let how = match (values.labels, values.kind) {
        (true, _) => "Axial slices (mm).",
        (_, "neglog") => {
            "Above: the smallest value along the line of sight, in an outline of the MNI152 brain. Below: axial slices (mm)."
        }
        _ => {
            "Above: the value furthest from 0 along the line of sight, in an outline of the MNI152 brain. Below: axial slices (mm)."
        }
    };
    let weighing = if values.labels { "" } else { " Voxels are averages of parcels weighted by the atlas." };
    let caption = vec![
        format!("{} {how}", values.says),
        format!("Atlas: {atlas} ({} parcels).{weighing} {range}{gaps}", parcels),
        format!("Study: {}.", frame.run.plan.study),
    ];
    let alt = format!("Brain map: {}. {} {range}{gaps}", values.title, values.says);
    let scene = BrainScene {
        title: &values.title,
        unit: &values.unit,
        map,
        cover: frame.cover,
        low_is_best: values.kind == "neglog",
        surfaces: &on_surfaces,
        caption: &caption,
        alt: &alt,
    };
    let figure = brain(&scene)?;
    atomic::write(&frame.folder.join(format!("{}.svg", values.file)), figure.svg.as_bytes())?;
    atomic::write(&frame.folder.join(format!("{}.png", values.file)), &figure.png)?;
    let on_report = format!("{}. {}{gaps}", values.title, values.says);
    Ok(PictureRecord { name: values.file.clone(), caption: on_report, alt, in_report })
}

/// Three digits that matter.
fn number(value: f64) -> String {
    format!("{value:.3}").replace('-', "−")
}

/// Which pictures the report shows: kind by kind in the order of the checkpoints, until there are enough. Untrained
/// checkpoints are baselines, and a map of zeros, where no difference is called, needs no picture.
fn shown(run: &RunRecord, all: &[TargetValues]) -> Vec<bool> {
    let is_baseline = |label: &str| run.checkpoints.iter().any(|c| c.label == label && c.untrained_seed.is_some());
    let mut shown = vec![false; all.len()];
    let mut left = MOST_IN_REPORT;
    for kind in SHOWN {
        for (map, shown) in all.iter().zip(&mut shown) {
            let is_empty = map.values.iter().flatten().all(|v| *v == 0.0);
            if map.kind == kind && left > 0 && !is_baseline(&map.checkpoint) && !is_empty {
                *shown = true;
                left -= 1;
            }
        }
    }
    shown
}

fn image(path: &Path, like: &VoxelMap, values: &[f32]) -> Result<()> {
    nifti::write(path, like.grid.shape, &like.grid.affine, 0.0, &[values])
}

/// `maps.csv`: one row per map.
fn table(folder: &Path, record: &MapsRecord) -> Result<()> {
    let text = |f: &dyn Fn(&MapRecord) -> String| Output::Text(record.maps.iter().map(f).collect());
    let count = |f: &dyn Fn(&MapRecord) -> usize| Output::Integer(record.maps.iter().map(|m| f(m) as i64).collect());
    OutputTable::new(vec![
        ("file", text(&|m| m.file.clone())),
        ("kind", text(&|m| m.kind.clone())),
        ("checkpoint", text(&|m| m.checkpoint.clone())),
        ("reference", text(&|m| m.reference.clone().unwrap_or_default())),
        ("layer", text(&|m| m.layer.map_or(String::new(), |l| l.to_string()))),
        ("unit", text(&|m| m.unit.clone())),
        ("low", Output::Real(record.maps.iter().map(|m| m.low).collect())),
        ("high", Output::Real(record.maps.iter().map(|m| m.high).collect())),
        ("defined_parcels", count(&|m| m.defined_parcels)),
        ("undefined_parcels", count(&|m| m.undefined_parcels)),
        ("defined", text(&|m| m.defined.clone().unwrap_or_default())),
    ])
    .write_csv(&folder.join(TABLE))
}
