//! One ROI at a time: what it is made of, before it is a row of the matrix.

use std::path::Path;

use crate::atlas::{Atlas, Grid, StatisticMap, Threshold};
use crate::error::{Code, Error, Result, first_five, nearest};
use crate::ids::{Digest, TargetId};
use crate::io::file_name;
use crate::io::table::{Table, find_cell, plain};
use crate::roi::{COORDINATES, CoordinateRoi, RoiInfo};
use crate::study::RoiSource;

/// An ROI that is not yet a row.
pub(super) struct Draft {
    pub info: RoiInfo,
    /// Where it was written, for messages.
    pub place: String,
    pub of: Material,
}

/// What an ROI is made of.
pub(super) enum Material {
    /// A weight per voxel of the atlas's grid.
    Voxels(Vec<f32>),
    /// A weight per target.
    Targets(Vec<f64>),
}

impl Material {
    /// Whether nothing has weight.
    pub fn is_empty(&self) -> bool {
        match self {
            Material::Voxels(weights) => weights.iter().all(|w| *w <= 0.0),
            Material::Targets(weights) => weights.iter().all(|w| *w <= 0.0),
        }
    }
}

fn info(name: String, source: String) -> RoiInfo {
    RoiInfo {
        name,
        source,
        threshold: None,
        rule: String::new(),
        voxels: None,
        voxels_outside: None,
        covered: 1.0,
        targets: 0,
        effective_targets: 0.0,
        control: false,
        citations: Vec::new(),
    }
}

/// An ROI of a map or a label; without a `grid` only what is wrong with the map itself is found.
pub(super) fn of_map(
    name: &str,
    source: &RoiSource,
    path: &Path,
    grid: Option<&Grid>,
) -> Result<(Option<Draft>, StatisticMap)> {
    let mut map = StatisticMap::open(path)?;
    let (threshold, rule) = match source {
        RoiSource::Label { label, .. } => {
            map = map.of_label(*label)?;
            (Threshold::Own, Some(format!("label {label}")))
        }
        RoiSource::Map { threshold, .. } => (*threshold, None),
        RoiSource::Targets { .. } => (Threshold::Own, None),
    };
    let cut = map.cut(threshold)?;
    let Some(grid) = grid else { return Ok((None, map)) };
    let weights = map.weights_on(grid, &cut)?;
    let negative = if map.has_negative() { "; values below 0 have no weight" } else { "" };
    let rule = format!("{}{negative}", rule.unwrap_or(cut.rule));
    let info = RoiInfo { threshold: Some(cut.at), rule, ..info(name.to_owned(), file_name(path)) };
    Ok((Some(Draft { info, place: path.display().to_string(), of: Material::Voxels(weights) }), map))
}

/// A built-in ROI on the atlas's grid.
pub(super) fn of_peaks(roi: &CoordinateRoi, atlas: &Atlas) -> Result<Draft> {
    let weights = roi.weights_on(atlas.grid());
    let name = format!("{}{COORDINATES}", roi.name);
    let place = format!("ROI {name:?}");
    if weights.iter().all(|w| *w <= 0.0) {
        return Err(Error::new(Code::Ro03, &place, format!("has no voxel on {}", atlas.grid()))
            .expected("an atlas in MNI space"));
    }
    let mut citations: Vec<String> = roi.peaks.iter().map(|p| p.source.clone()).collect();
    citations.sort_unstable();
    citations.dedup();
    let approximate = if roi.peaks.iter().any(|p| p.approximate) { ", some approximate" } else { "" };
    let rule = format!("spheres of {} mm around {} published peaks{approximate}", roi.radius, roi.peaks.len());
    let info = RoiInfo { rule, citations, ..info(name, "built in".to_owned()) };
    Ok(Draft { info, place, of: Material::Voxels(weights) })
}

/// An ROI of named targets.
pub(super) fn of_targets(
    name: &str,
    named: &[String],
    weights: Option<&[f64]>,
    targets: &[TargetId],
    study: &str,
) -> std::result::Result<Draft, Vec<Error>> {
    let mut row = vec![0.0; targets.len()];
    let mut unknown = Vec::new();
    for (i, one) in named.iter().enumerate() {
        match targets.iter().position(|t| t.as_str() == one) {
            Some(at) => row[at] += weights.map_or(1.0, |w| w[i]),
            None => unknown.push(one),
        }
    }
    if let Some(first) = unknown.first() {
        let text = format!("[rois] {name:?} names {} targets that are none: {}", unknown.len(), first_five(&unknown));
        let error = Error::new(Code::Ro10, study, text).expected("names of targets");
        return Err(vec![match nearest(first, targets.iter().map(TargetId::as_str)) {
            Some(near) => error.hint(format!("Did you mean {near:?}?")),
            None => error,
        }]);
    }
    if row.iter().all(|w| *w == 0.0) {
        let text = format!("[rois] {name:?} has no target with weight");
        return Err(vec![Error::new(Code::Ro05, study, text).expected("at least one")]);
    }
    let info = info(name.to_owned(), "targets of the study".to_owned());
    Ok(Draft { info, place: study.to_owned(), of: Material::Targets(row) })
}

/// ROIs of a table: a column `roi` and one column of weights per target, or columns `roi`, `target`, `weight`.
pub(super) fn of_table(path: &Path, targets: &[TargetId]) -> std::result::Result<(Vec<Draft>, Digest), Vec<Error>> {
    let table = Table::read(path).map_err(|e| vec![e])?;
    let names = table.required_texts("roi").map_err(|e| vec![e])?;
    let names: Vec<&str> = names.iter().map(|name| plain(name)).collect();
    let long = table.has("target") && table.has("weight");
    let mut problems = Vec::new();
    let mut rois: Vec<(String, Vec<f64>)> = Vec::new();
    let mut row_of = |name: &&str| match rois.iter().position(|(n, _)| n == name) {
        Some(at) => at,
        None => {
            rois.push(((*name).to_owned(), vec![0.0; targets.len()]));
            rois.len() - 1
        }
    };
    let at: Vec<usize> = names.iter().map(&mut row_of).collect();
    let unknown = |found: Vec<&str>| {
        let text = format!("{} of its targets are none of the study: {}", found.len(), first_five(&found));
        Error::new(Code::Ro10, path.display(), text).expected("names of targets")
    };
    let position = |cell: &str| find_cell(cell, |name| targets.iter().position(|t| t.as_str() == name));
    if long {
        let of = table.required_texts("target").map_err(|e| problems.push(e)).unwrap_or_default();
        let weights = table.finite_numbers("weight").map_err(|e| problems.push(e)).unwrap_or_default();
        let bad: Vec<&str> = of.iter().map(String::as_str).filter(|t| position(t).is_none()).collect();
        if !bad.is_empty() {
            problems.push(unknown(bad));
        }
        for ((row, target), weight) in at.iter().zip(&of).zip(&weights) {
            if let Some(target) = position(target) {
                rois[*row].1[target] += weight;
            }
        }
    } else {
        let columns: Vec<String> = table.names().filter(|n| *n != "roi").map(str::to_owned).collect();
        let bad: Vec<&str> = columns.iter().map(String::as_str).filter(|t| position(t).is_none()).collect();
        if !bad.is_empty() {
            problems.push(unknown(bad));
        }
        for column in &columns {
            let Some(target) = position(column) else { continue };
            let weights = table.finite_numbers(column).map_err(|e| problems.push(e)).unwrap_or_default();
            for (row, weight) in at.iter().zip(weights) {
                rois[*row].1[target] += weight;
            }
        }
    }
    for (name, weights) in &rois {
        if weights.iter().any(|w| *w < 0.0) || weights.iter().all(|w| *w == 0.0) {
            let text = format!("the weights of ROI {name:?} are below 0, or all 0");
            problems
                .push(Error::new(Code::Ro05, path.display(), text).expected("weights of 0 or more, and some above"));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let draft = |(name, weights): (String, Vec<f64>)| Draft {
        info: info(name, file_name(path)),
        place: path.display().to_string(),
        of: Material::Targets(weights),
    };
    Ok((rois.into_iter().map(draft).collect(), table.digest()))
}
