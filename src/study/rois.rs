//! `[rois]` of a study, and the flags that add to it: what regions of interest are made of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Spanned, Value};

use super::trials::{RunSource, TrialsPlan};
use crate::atlas::Threshold;
use crate::error::{Code, Error, Result, nearest};

/// Keys of `[rois]` that are no names of ROIs.
pub(super) const RESERVED: &[&str] = &["atlas", "labels", "control", "contrasts", "coordinates", "disjoint", "matrix"];
/// Keys of an ROI that is written as a table.
pub(super) const ROI_KEYS: &[&str] = &["map", "threshold", "label", "targets", "weights"];

/// `[rois]` as written: settings, and one entry per ROI.
pub type RoisSection = BTreeMap<String, Spanned<Value>>;

/// What `--roi` and `--rois` say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoiFlags {
    /// `--roi name=PATH[:threshold]`, as often as it stands there.
    pub maps: Vec<String>,
    /// `--rois coordinates`
    pub coordinates: bool,
}

/// The regions of interest of a study.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoisPlan {
    /// Name and source, in the order of the file, then of the flags.
    pub rois: Vec<(String, RoiSource)>,
    /// Which built-in ROIs are added.
    pub coordinates: Coordinates,
    /// A table of ROIs and their weights over targets.
    pub matrix: Option<PathBuf>,
    /// The atlas whose maps are the targets, and the names of its maps.
    pub atlas: Option<(PathBuf, Option<PathBuf>)>,
    /// Name of the control, where it is not `vision`.
    pub control: Option<String>,
    /// Pairs of ROIs whose effects are compared, where the study names them.
    pub contrasts: Option<Vec<(String, String)>>,
    /// Voxels (and targets of lists) that more than one ROI claims are taken from all.
    pub disjoint: bool,
}

/// Which built-in ROIs a study takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Coordinates {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// These, by their plain names.
    Named(Vec<String>),
}

/// What an ROI is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum RoiSource {
    /// A statistic map or a mask.
    Map {
        /// The image.
        path: PathBuf,
        /// Where it is cut.
        threshold: Threshold,
    },
    /// One label of an image of labels.
    Label {
        /// The image.
        path: PathBuf,
        /// The label.
        label: i64,
    },
    /// Targets by name.
    Targets {
        /// Their names.
        targets: Vec<String>,
        /// A weight for each, else all alike.
        weights: Option<Vec<f64>>,
    },
}

/// What the study and the flags say of ROIs, if anything; what is wrong with it goes to `problems`.
pub(super) fn planned(
    section: Option<&RoisSection>,
    flags: &RoiFlags,
    trials: Option<&TrialsPlan>,
    (folder, study): (&Path, &Path),
    problems: &mut Vec<Error>,
) -> Option<RoisPlan> {
    if section.is_none() && *flags == RoiFlags::default() {
        return None;
    }
    let mut plan = RoisPlan::default();
    let reader = Reader { folder, study };
    // Names in the order of the file.
    let mut entries: Vec<(&String, &Spanned<Value>)> = section.into_iter().flatten().collect();
    entries.sort_by_key(|(_, value)| value.span().start);
    let mut labels = None;
    for (name, value) in entries {
        let value = value.get_ref();
        let done = match name.as_str() {
            "atlas" => reader.file(name, value).map(|path| plan.atlas = Some((path, None))),
            "labels" => reader.file(name, value).map(|path| labels = Some(path)),
            "matrix" => reader.file(name, value).map(|path| plan.matrix = Some(path)),
            "control" => reader.text(name, value).map(|text| plan.control = Some(text)),
            "disjoint" => {
                value.as_bool().map(|on| plan.disjoint = on).ok_or_else(|| reader.wrong(name, value, "true or false"))
            }
            "coordinates" => reader.coordinates(value).map(|which| plan.coordinates = which),
            "contrasts" => reader.contrasts(value).map(|pairs| plan.contrasts = Some(pairs)),
            _ => reader.roi(name, value).map(|source| plan.rois.push((name.clone(), source))),
        };
        problems.extend(done.err());
    }
    match (&mut plan.atlas, labels) {
        (Some((_, own)), labels) => *own = labels,
        (None, Some(_)) => {
            problems.push(reader.refuse("[rois] has labels and no atlas", "Write atlas = \"maps.nii.gz\""))
        }
        (None, None) => plan.atlas = of_runs(trials),
    }
    for flag in &flags.maps {
        match flagged(flag) {
            Ok(roi) => plan.rois.push(roi),
            Err(e) => problems.push(e),
        }
    }
    if flags.coordinates {
        plan.coordinates = Coordinates::All;
    }
    Some(plan)
}

/// The atlas that made the parcels of a study's own runs.
fn of_runs(trials: Option<&TrialsPlan>) -> Option<(PathBuf, Option<PathBuf>)> {
    match &trials?.source {
        RunSource::Tars(_) => None,
        RunSource::Bold { parcels, .. } | RunSource::Bids { parcels, .. } => {
            Some((parcels.atlas.clone(), parcels.labels.clone()))
        }
    }
}

/// `name=PATH[:threshold]`.
fn flagged(flag: &str) -> Result<(String, RoiSource)> {
    let bad = |found: String| {
        Error::new(Code::Fl02, "--roi", found)
            .expected("name=PATH or name=PATH:threshold")
            .hint(format!("A threshold is {}", Threshold::FORMS))
    };
    let Some((name, place)) = flag.split_once('=').filter(|(n, p)| !n.trim().is_empty() && !p.is_empty()) else {
        return Err(bad(format!("is {flag:?}")));
    };
    let (path, threshold) = match place.rsplit_once(':') {
        Some((path, text)) => match Threshold::parse(text) {
            Some(threshold) => (path, threshold),
            // A colon may belong to the path.
            None if Path::new(place).exists() => (place, Threshold::Own),
            None => return Err(bad(format!("has the threshold {text:?}"))),
        },
        None => (place, Threshold::Own),
    };
    Ok((name.trim().to_owned(), RoiSource::Map { path: PathBuf::from(path), threshold }))
}

struct Reader<'a> {
    folder: &'a Path,
    study: &'a Path,
}

impl Reader<'_> {
    fn refuse(&self, found: &str, hint: &str) -> Error {
        Error::new(Code::Ro10, self.study.display(), found).hint(hint)
    }

    fn wrong(&self, name: &str, value: &Value, expected: &str) -> Error {
        Error::new(Code::Ro10, self.study.display(), format!("[rois] {name} is {}", value.type_str()))
            .expected(expected)
    }

    fn text(&self, name: &str, value: &Value) -> Result<String> {
        value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(name, value, "a name"))
    }

    fn file(&self, name: &str, value: &Value) -> Result<PathBuf> {
        value.as_str().map(|path| self.folder.join(path)).ok_or_else(|| self.wrong(name, value, "a file"))
    }

    fn texts(&self, name: &str, value: &Value) -> Result<Vec<String>> {
        let list = value.as_array().map(|all| all.iter().map(|v| v.as_str().map(str::to_owned)).collect());
        list.flatten().ok_or_else(|| self.wrong(name, value, "a list of names"))
    }

    fn coordinates(&self, value: &Value) -> Result<Coordinates> {
        match value {
            Value::Boolean(true) => Ok(Coordinates::All),
            Value::Boolean(false) => Ok(Coordinates::None),
            other => self.texts("coordinates", other).map(Coordinates::Named),
        }
    }

    fn contrasts(&self, value: &Value) -> Result<Vec<(String, String)>> {
        let bad = || self.wrong("contrasts", value, "pairs of ROIs such as [[\"tom\", \"language\"]]");
        let all = value.as_array().ok_or_else(bad)?;
        all.iter()
            .map(|pair| match self.texts("contrasts", pair).ok().as_deref() {
                Some([a, b]) if a != b => Ok((a.clone(), b.clone())),
                _ => Err(bad()),
            })
            .collect()
    }

    fn threshold(&self, name: &str, value: &Value) -> Result<Threshold> {
        let text = match value {
            Value::Integer(n) => n.to_string(),
            Value::Float(v) => v.to_string(),
            Value::String(text) => text.clone(),
            other => return Err(self.wrong(&format!("{name:?} threshold"), other, Threshold::FORMS)),
        };
        Threshold::parse(&text).ok_or_else(|| {
            Error::new(Code::Ro10, self.study.display(), format!("[rois] {name:?} has the threshold {text:?}"))
                .expected(Threshold::FORMS)
        })
    }

    fn roi(&self, name: &str, value: &Value) -> Result<RoiSource> {
        if name.trim().is_empty() {
            return Err(self.refuse("[rois] has an ROI without a name", "Name it"));
        }
        let hinted = |error: Error| match nearest(name, RESERVED.iter().copied()) {
            Some(near) => error.hint(format!("Did you mean {near:?}?")),
            None => error,
        };
        let table = match value {
            Value::String(path) => {
                let path = self.folder.join(path);
                if !path.exists() && nearest(name, RESERVED.iter().copied()).is_some() {
                    let found = format!("[rois] {name:?} names {}, which does not exist", path.display());
                    return Err(hinted(Error::new(Code::Od05, self.study.display(), found)));
                }
                return Ok(RoiSource::Map { path, threshold: Threshold::Own });
            }
            Value::Table(table) => table,
            other => {
                return Err(hinted(self.wrong(&format!("{name:?}"), other, "a map, or a table of what it is made of")));
            }
        };
        let threshold = table.get("threshold").map(|v| self.threshold(name, v)).transpose()?;
        // Each kind has keys of its own; one that says nothing here would be taken for one that does.
        let idle = match (table.contains_key("map"), table.contains_key("targets")) {
            (true, false) => ["weights"].as_slice(),
            (false, true) => ["threshold", "label"].as_slice(),
            _ => &[],
        };
        if let Some(key) = idle.iter().find(|key| table.contains_key(**key)) {
            let of = if *key == "weights" { "targets" } else { "a map" };
            return Err(
                self.refuse(&format!("[rois] {name:?} has {key}, which says something of {of} only"), "Leave it out")
            );
        }
        match (table.get("map"), table.get("targets")) {
            (Some(map), None) => {
                let path = self.file(name, map)?;
                match (table.get("label"), threshold) {
                    (None, threshold) => Ok(RoiSource::Map { path, threshold: threshold.unwrap_or(Threshold::Own) }),
                    (Some(label), None) => {
                        let label = label
                            .as_integer()
                            .ok_or_else(|| self.wrong(&format!("{name:?} label"), label, "a whole number"))?;
                        Ok(RoiSource::Label { path, label })
                    }
                    (Some(_), Some(_)) => {
                        Err(self.refuse(&format!("[rois] {name:?} has a label and a threshold"), "Keep one of them"))
                    }
                }
            }
            (None, Some(targets)) => {
                let targets = self.texts(name, targets)?;
                let weights = match table.get("weights") {
                    None => None,
                    Some(list) => Some(self.weights(name, list, targets.len())?),
                };
                Ok(RoiSource::Targets { targets, weights })
            }
            _ => Err(self
                .refuse(&format!("[rois] {name:?} is made of nothing, or of two things"), "Give it a map or targets")),
        }
    }

    fn weights(&self, name: &str, value: &Value, targets: usize) -> Result<Vec<f64>> {
        let number = |v: &Value| v.as_float().or_else(|| v.as_integer().map(|n| n as f64));
        let list: Option<Vec<f64>> = value.as_array().and_then(|all| all.iter().map(number).collect());
        match list {
            Some(all) if all.len() == targets && all.iter().all(|w| w.is_finite() && *w >= 0.0) => Ok(all),
            _ => {
                Err(Error::new(Code::Ro10, self.study.display(), format!("the weights of [rois] {name:?} do not fit"))
                    .expected(format!("{targets} numbers of 0 or more, one per target")))
            }
        }
    }
}

/// Keys of ROIs that are tables: unknown ones are refused like those of sections.
pub(super) fn unknown(
    roi: &str,
    table: &toml::de::DeTable<'_>,
    refuse: impl Fn(&str, &str, &[&str], usize) -> Error,
) -> Vec<Error> {
    let what = format!("key in [rois.{roi}]");
    let bad = table.iter().filter(|(key, _)| !ROI_KEYS.contains(&key.get_ref().as_ref()));
    bad.map(|(key, _)| refuse(&what, key.get_ref().as_ref(), ROI_KEYS, key.span().start)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, flags: &[&str]) -> std::result::Result<RoisPlan, Vec<String>> {
        let section: RoisSection = toml::from_str(text).unwrap();
        let flags = RoiFlags { maps: flags.iter().map(|f| (*f).to_owned()).collect(), coordinates: false };
        let mut problems = Vec::new();
        let plan = planned(Some(&section), &flags, None, (Path::new("d"), Path::new("study.toml")), &mut problems);
        if problems.is_empty() { Ok(plan.unwrap()) } else { Err(problems.iter().map(ToString::to_string).collect()) }
    }

    #[test]
    fn all_kinds_of_rois_in_the_order_of_the_file() {
        let text = "zeta = \"z.nii.gz\"\natlas = \"a.nii\"\nlabels = \"l.csv\"\ncontrol = \"b\"\ncoordinates = [\"tom\"]\n\
            contrasts = [[\"zeta\", \"b\"]]\n[b]\nmap = \"b.nii\"\nthreshold = \"fdr=0.01\"\n[c]\nmap = \"c.nii\"\nlabel = 3\n\
            [a]\ntargets = [\"p\", \"q\"]\nweights = [1, 2.5]\n";
        let plan = plan(text, &["d=x:y/d.nii:2.5", "e=e.nii"]).unwrap();
        let names: Vec<&str> = plan.rois.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["zeta", "b", "c", "a", "d", "e"]);
        assert_eq!(plan.rois[1].1, RoiSource::Map { path: "d/b.nii".into(), threshold: Threshold::Fdr(0.01) });
        assert_eq!(plan.rois[2].1, RoiSource::Label { path: "d/c.nii".into(), label: 3 });
        assert_eq!(plan.rois[4].1, RoiSource::Map { path: "x:y/d.nii".into(), threshold: Threshold::AtLeast(2.5) });
        assert_eq!(plan.atlas, Some(("d/a.nii".into(), Some("d/l.csv".into()))));
        assert_eq!(plan.coordinates, Coordinates::Named(vec!["tom".to_owned()]));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let found = plan(
            "a = 3\nlabels = \"l.csv\"\ncontrasts = [[\"a\"]]\n[b]\nmap = \"m.nii\"\nthreshold = \"-1\"\n[c]\nthreshold = 2\n[d]\n\
             targets = [\"p\"]\nweights = [1, 2]\n[e]\nmap = \"m.nii\"\ntargets = [\"p\"]\n",
            &["noname", "a=b:zz"],
        )
        .unwrap_err();
        for says in [
            "\"a\" is integer",
            "pairs of ROIs",
            "the threshold \"-1\"",
            "made of nothing",
            "1 numbers of 0 or more",
            "labels and no atlas",
            "--roi: is \"noname\"",
            "the threshold \"zz\"",
        ] {
            assert!(found.iter().any(|f| f.contains(says)), "{says}: {found:#?}");
        }
        assert_eq!(found.len(), 9, "{found:#?}");
        let slip = plan("contol = \"vision\"\n", &[]).unwrap_err();
        assert!(slip[0].contains("Did you mean \"control\"?"), "{slip:?}");
    }
}
