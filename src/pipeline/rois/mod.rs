//! The regions of interest of a study: their maps, the atlas whose maps are the targets, the matrix.

mod draft;
pub(super) mod tables;

use draft::{Draft, Material, of_map, of_peaks, of_table, of_targets};

use super::preflight::Findings;
use crate::atlas::Atlas;
use crate::error::{Code, Error, Result, Warning, first_five, nearest};
use crate::ids::TargetId;
use crate::io::file_name;
use crate::roi::{COORDINATES, CoordinateRoi, RoiMatrix, RoiRow, Rois, coordinate_rois, overlaps};
use crate::study::{Coordinates, Plan, RoiSource, RoisPlan};
use crate::watch::Quiet;

/// The control where a study names none.
const CONTROL: &str = "vision";
/// ROIs whose effect is also compared with that of language, where a study has both and names no contrasts.
const SOCIAL: [&str; 2] = ["tom", "moral"];
const LANGUAGE: &str = "language";

/// Reads and checks all ROIs; every problem of every one goes to `found`.
pub(super) fn read(plan: &Plan, targets: &[TargetId], found: &mut Findings) -> Option<Rois> {
    let of = plan.rois.as_ref()?;
    let before = found.problems.len();
    let study = plan.study_path.display().to_string();
    let built_in = found.keep(built_in(of, &study)).unwrap_or_default();
    // An atlas that is named is read even where no ROI needs it: the run's maps will be made with it.
    let needs_atlas = of.atlas.is_some()
        || !built_in.is_empty()
        || of.rois.iter().any(|(_, s)| !matches!(s, RoiSource::Targets { .. }));
    let atlas = if needs_atlas { open_atlas(of, &study, found) } else { None };
    let target_of = atlas.as_ref().and_then(|atlas| {
        let named = of.atlas.as_ref().is_some_and(|(_, labels)| labels.is_some());
        let (target_of, warning) = found.keep(targets_of(atlas, targets, named))?;
        found.warnings.extend(warning);
        Some(target_of)
    });
    let mut drafts: Vec<Draft> = Vec::new();
    for (name, source) in &of.rois {
        match source {
            RoiSource::Targets { targets: named, weights } => {
                drafts.extend(found.keep(of_targets(name, named, weights.as_deref(), targets, &study)));
            }
            RoiSource::Map { path, .. } | RoiSource::Label { path, .. } => {
                let grid = atlas.as_ref().map(Atlas::grid);
                let Some((draft, map)) = found.keep(of_map(name, source, path, grid)) else { continue };
                found.input("ROI", path, map.digest());
                found.warnings.extend(map.warnings().iter().cloned());
                drafts.extend(draft);
            }
        }
    }
    if let Some(atlas) = &atlas {
        drafts.extend(built_in.iter().filter_map(|roi| found.keep(of_peaks(roi, atlas))));
    }
    if let Some(path) = &of.matrix
        && let Some((rows, digest)) = found.keep(of_table(path, targets))
    {
        found.input("ROI matrix", path, digest);
        drafts.extend(rows);
    }
    if let Some(at) = (1..drafts.len()).find(|i| drafts[..*i].iter().any(|d| d.info.name == drafts[*i].info.name)) {
        let text = format!("two ROIs have the name {:?}", drafts[at].info.name);
        found.problems.push(Error::new(Code::Ro10, &study, text).expected("a name of its own for each"));
    }
    if drafts.is_empty() && found.problems.len() == before {
        let error = Error::new(Code::Ro10, &study, "[rois] names no ROI").expected("at least one");
        found.problems.push(error.hint("Write name = \"map.nii.gz\", or coordinates = true for the built-in ones"));
    }
    // What names ROIs can only be checked where all could be read.
    if found.problems.len() > before {
        return None;
    }
    let names: Vec<String> = drafts.iter().map(|d| d.info.name.clone()).collect();
    let control = found.keep(control(of, &names, &study))?;
    let contrasts = found.keep(contrasts(of, &names, control, &study))?;
    if of.disjoint {
        disjoint(&mut drafts);
    }
    let mut rois = rows(drafts, atlas.as_ref().zip(target_of.as_deref()), targets, found)?;
    if let Some(control) = control {
        rois.list[control].control = true;
    }
    Some(Rois { control, contrasts, ..rois })
}

/// The built-in ROIs that a study takes.
fn built_in(of: &RoisPlan, study: &str) -> Result<Vec<CoordinateRoi>> {
    let all = coordinate_rois();
    match &of.coordinates {
        Coordinates::None => Ok(Vec::new()),
        Coordinates::All => Ok(all),
        Coordinates::Named(names) => names
            .iter()
            .map(|name| {
                all.iter().find(|roi| roi.name == *name).cloned().ok_or_else(|| {
                    let known: Vec<&str> = all.iter().map(|roi| roi.name.as_str()).collect();
                    unknown(study, "built-in ROI", name, &known)
                })
            })
            .collect(),
    }
}

fn unknown(study: &str, what: &str, name: &str, known: &[&str]) -> Error {
    let error = Error::new(Code::Ro10, study, format!("there is no {what} {name:?}"))
        .expected(format!("one of {}", known.join(", ")));
    match nearest(name, known.iter().copied()) {
        Some(near) => error.hint(format!("Did you mean {near:?}?")),
        None => error,
    }
}

fn open_atlas(of: &RoisPlan, study: &str, found: &mut Findings) -> Option<Atlas> {
    let Some((path, labels)) = &of.atlas else {
        let error = Error::new(Code::Ro10, study, "[rois] has maps, and the maps of the targets are not known");
        found.problems.push(error.expected("the atlas whose maps are the targets").hint(
            "Write [rois] atlas = \"maps.nii.gz\" (and labels, where targets have names), or give ROIs as targets",
        ));
        return None;
    };
    let atlas = found.keep(Atlas::open(path, labels.as_deref()))?;
    found.input("ROI atlas", path, atlas.digest());
    found.warnings.extend(atlas.warnings().iter().cloned());
    Some(atlas)
}

/// The target that each map is: by name where the names are the same, else by order where the numbers are.
pub(super) fn targets_of(
    atlas: &Atlas,
    targets: &[TargetId],
    named: bool,
) -> Result<(Vec<Option<usize>>, Option<Warning>)> {
    let by_name: Vec<Option<usize>> =
        atlas.names().iter().map(|name| targets.iter().position(|t| t.as_str() == name)).collect();
    let found: Vec<usize> = by_name.iter().flatten().copied().collect();
    if found.len() == targets.len() {
        return Ok((by_name, None));
    }
    let place = atlas.path().display();
    let absent = || (0..targets.len()).filter(|t| !found.contains(t)).map(|t| &targets[t]);
    if !found.is_empty() && named {
        let text =
            format!("{} of {} targets are none of its maps: {}", absent().count(), targets.len(), first_five(absent()));
        return Err(Error::new(Code::Ro09, place, text)
            .expected("a map for every target")
            .hint("Names of maps come from [rois] labels; they must be those of the targets"));
    }
    if atlas.names().len() != targets.len() {
        return Err(Error::new(Code::Ro09, place, format!("has {} maps", atlas.names().len()))
            .expected(format!("{}, one per target, or maps with the targets\u{2019} names", targets.len()))
            .hint("Is it the atlas that the responses were made with?"));
    }
    let (first, map) = (&targets[0], &atlas.names()[0]);
    let text = format!(
        "the targets are taken for the maps of {} in order ({first} is {map}, …), because the names differ",
        file_name(atlas.path())
    );
    Ok(((0..targets.len()).map(Some).collect(), Some(Warning::new("RO-09", text))))
}

/// The ROI of this name, with or without the mark of built-in ones.
fn position(names: &[String], wanted: &str) -> Option<usize> {
    let marked = format!("{wanted}{COORDINATES}");
    names.iter().position(|n| n == wanted).or_else(|| names.iter().position(|n| *n == marked))
}

fn control(of: &RoisPlan, names: &[String], study: &str) -> Result<Option<usize>> {
    let Some(wanted) = &of.control else { return Ok(position(names, CONTROL)) };
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    position(names, wanted).map(Some).ok_or_else(|| unknown(study, "ROI to be the control,", wanted, &known))
}

/// The pairs that the study names; else every ROI against the control, and theory of mind and moral against language.
fn contrasts(of: &RoisPlan, names: &[String], control: Option<usize>, study: &str) -> Result<Vec<(usize, usize)>> {
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let at = |name: &str| position(names, name).ok_or_else(|| unknown(study, "ROI to be compared,", name, &known));
    if let Some(pairs) = &of.contrasts {
        return pairs.iter().map(|(a, b)| Ok((at(a)?, at(b)?))).collect();
    }
    let against = |other: usize| (0..names.len()).filter(move |r| *r != other).map(move |r| (r, other));
    let mut pairs: Vec<(usize, usize)> = control.into_iter().flat_map(against).collect();
    if let Some(language) = position(names, LANGUAGE) {
        let social = SOCIAL.iter().filter_map(|name| position(names, name));
        pairs.extend(social.map(|roi| (roi, language)).filter(|pair| Some(pair.1) != control));
    }
    Ok(pairs)
}

/// Takes from all what more than one claims: voxels of maps, targets of lists.
fn disjoint(drafts: &mut [Draft]) {
    fn claimed<'a, T: PartialOrd + Default + 'a>(all: impl Iterator<Item = &'a mut Vec<T>>) {
        let mut all: Vec<&mut Vec<T>> = all.collect();
        for at in 0..all.first().map_or(0, |v| v.len()) {
            if all.iter().filter(|weights| weights[at] > T::default()).count() > 1 {
                all.iter_mut().for_each(|weights| weights[at] = T::default());
            }
        }
    }
    claimed(drafts.iter_mut().filter_map(|d| if let Material::Voxels(w) = &mut d.of { Some(w) } else { None }));
    claimed(drafts.iter_mut().filter_map(|d| if let Material::Targets(w) = &mut d.of { Some(w) } else { None }));
}

/// Rows of weights over targets, and what the ROIs have in common.
fn rows(
    mut drafts: Vec<Draft>,
    atlas: Option<(&Atlas, &[Option<usize>])>,
    targets: &[TargetId],
    found: &mut Findings,
) -> Option<Rois> {
    let of_voxels = |d: &Draft| if let Material::Voxels(weights) = &d.of { Some(weights.clone()) } else { None };
    let voxels: Vec<Option<Vec<f32>>> = drafts.iter().map(of_voxels).collect();
    let mut maps = Vec::new();
    let mut reached = Vec::new();
    if let Some((atlas, _)) = atlas.filter(|_| voxels.iter().any(Option::is_some)) {
        let wanted = vec![true; atlas.grid().voxels()];
        let (entries, warnings) = found.keep(atlas.weights_at(&wanted, &Quiet))?;
        found.warnings.extend(warnings);
        reached = vec![false; wanted.len()];
        entries.iter().flatten().for_each(|(voxel, _)| reached[*voxel as usize] = true);
        maps = entries;
    }
    let mut made = Vec::new();
    for (draft, voxels) in drafts.iter_mut().zip(&voxels) {
        let row = match (&draft.of, voxels, atlas) {
            (Material::Targets(weights), ..) => RoiRow::of_weights(weights.clone()),
            (_, Some(weights), Some((_, target_of))) => {
                let inside = weights.iter().zip(&reached).filter(|(w, r)| **w > 0.0 && **r).count();
                let all = weights.iter().filter(|w| **w > 0.0).count();
                draft.info.voxels = Some(inside);
                draft.info.voxels_outside = Some(all - inside).filter(|n| *n > 0);
                RoiRow::of_voxels(weights, &maps, target_of, targets.len())
            }
            _ => None,
        };
        let Some(row) = row else {
            let claimed = draft.of.is_empty();
            let text = format!("nothing of the ROI {:?} is left", draft.info.name);
            let error = Error::new(if claimed { Code::Ro05 } else { Code::Ro03 }, &draft.place, text);
            found.problems.push(match claimed {
                true => error.expected("parts that no other ROI claims").hint("Leave disjoint = true out"),
                false => error.expected("voxels that a map of the atlas reaches").hint("Are both in one space?"),
            });
            continue;
        };
        draft.info.covered = row.covered;
        draft.info.targets = row.weights.iter().filter(|w| **w > 0.0).count();
        draft.info.effective_targets = 1.0 / row.weights.iter().map(|w| w * w).sum::<f64>();
        made.push(row);
    }
    if made.len() < drafts.len() {
        return None;
    }
    let list: Vec<_> = drafts.into_iter().map(|d| d.info).collect();
    let matrix = RoiMatrix::new(&made);
    let names: Vec<String> = list.iter().map(|info| info.name.clone()).collect();
    let overlaps = overlaps(&names, &matrix, &voxels, &reached);
    Some(Rois { list, matrix, overlaps, control: None, contrasts: Vec::new() })
}
