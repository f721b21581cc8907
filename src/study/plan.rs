//! The plan: what will run. Nothing in it is optional any more, paths are resolved, flags have been applied.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::folds;
use super::inference::{InferenceFlags, SubjectsPlan, settings};
use super::narrative::{self, NarrativePlan};
use super::rois::{self, RoiFlags, RoisPlan};
use super::spec::{AlphasSection, FoldKind, StudySpec};
use super::trials::{self, TrialsPlan};
use super::unique::UniqueLayers;
use crate::compare::{Lineage, Settings, base_of};
use crate::compute::cpu;
use crate::compute::device::Device;
use crate::encoder::{CheckpointSpec, Context, LongText, Pooling, Source};
use crate::encoding::engine::Precision;
use crate::encoding::{AlphaGrid, Combine, FoldSpec, MetricName, ScoreName};
use crate::error::{Code, Error, Result, Warning};
use crate::ids::{Digest, Layer};
use crate::missing::MissingValues;
use crate::responses::MEAN_SUBJECT;
use crate::stimuli::StimuliColumns;

/// Resamples of a bootstrap.
pub const BOOTSTRAP_DRAWS: usize = 2000;
/// Seed of the resamples.
pub const BOOTSTRAP_SEED: u64 = 0;

/// What flags may change of a study.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// `--layers`
    pub layers: Option<String>,
    /// `--pooling`
    pub pooling: Option<Pooling>,
    /// `--long-text`
    pub long_text: Option<LongText>,
    /// `--permutations`, `--margin`
    pub inference: InferenceFlags,
    /// `--unique`
    pub unique: Option<UniqueLayers>,
    /// `--pca`
    pub pca: Option<NonZeroUsize>,
    /// `--combine`
    pub combine: Option<Vec<Combine>>,
    /// `--key`
    pub key: Option<String>,
    /// `--drop-nan-parcels`
    pub drop_nan_parcels: bool,
    /// `--precision`
    pub precision: Precision,
    /// `--device`
    pub device: Device,
    /// `--memory`, in bytes
    pub memory: Option<u64>,
    /// `--context`
    pub context: Option<Context>,
    /// `--folds`
    pub folds: Option<FoldKind>,
    /// `--allow-leaky-folds`
    pub allow_leaky_folds: bool,
    /// `--untrained`
    pub untrained: u64,
    /// `--metrics`
    pub metrics: Vec<MetricName>,
    /// What `--checkpoints` says of the checkpoints.
    pub lineage: Vec<Lineage>,
    /// `--keep-going`
    pub keep_going: bool,
    /// What the list of checkpoints left out.
    pub left_out: Vec<Warning>,
    /// `--roi`, `--rois`
    pub rois: RoiFlags,
}

/// Everything that a run needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The study's name.
    pub name: String,
    /// The study file.
    pub study_path: PathBuf,
    /// Its digest.
    pub study_digest: Digest,
    /// The stimuli table.
    pub stimuli_path: PathBuf,
    /// What its columns are.
    pub columns: StimuliColumns,
    /// The responses.
    pub responses: ResponsesPlan,
    /// How tokens become one vector.
    pub pooling: Pooling,
    /// What happens to texts with more tokens than a checkpoint takes.
    pub long_text: LongText,
    /// Which layers are scored.
    pub layers: LayerSelection,
    /// How outer folds are made.
    pub folds: FoldSpec,
    /// Rows on both sides of a test block that do not train, within its run.
    pub gap: usize,
    /// The gap of a time series when the study gives none; none for trials.
    pub default_gap: Option<usize>,
    /// Files with texts that checkpoints were fine-tuned on.
    pub finetuning: Vec<PathBuf>,
    /// Untrained seeds of the first checkpoint that were added.
    pub untrained: u64,
    /// Scores beyond those of single targets.
    pub metrics: Vec<MetricName>,
    /// The alpha grid.
    pub alphas: AlphaGrid,
    /// What layers and checkpoints are ranked by.
    pub score: ScoreName,
    /// Which layers get `unique cod` over the confounds: none where features are confined to principal components, which
    /// mix what a joint model must weigh apart.
    pub unique: UniqueLayers,
    /// Principal components of a model's features that each fit is confined to; none for all.
    pub components: Option<usize>,
    /// Models of all layers of a checkpoint together, each once.
    pub combine: Vec<Combine>,
    /// Number type of the ridge arithmetic.
    pub precision: Precision,
    /// What computes it.
    pub device: Device,
    /// Bytes that the encoding models may use.
    pub memory: u64,
    /// Whether a flag says so.
    pub memory_given: bool,
    /// The checkpoints, the reference first.
    pub checkpoints: Vec<CheckpointSpec>,
    /// What a list says of them.
    pub lineage: Vec<Lineage>,
    /// Whether checkpoints that cannot be used are left out by name.
    pub keep_going: bool,
    /// What was left out already.
    pub left_out: Vec<Warning>,
    /// How differences are tested.
    pub inference: Settings,
    /// Groups of subjects and their covariates.
    pub subjects: Option<SubjectsPlan>,
    /// Regions of interest.
    pub rois: Option<RoisPlan>,
    /// Flags that changed the study: flag → value.
    pub overrides: BTreeMap<String, String>,
}

/// Where responses come from.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponsesPlan {
    /// One table, or one per subject.
    pub tables: ResponseTables,
    /// Column of row ids.
    pub id: String,
    /// Columns of responses, when the study names them.
    pub targets: Option<Vec<String>>,
    /// Whether rows of arrays without ids follow the stimuli table.
    pub rows_in_order: bool,
    /// The array that is meant, of archives that hold several.
    pub key: Option<String>,
    /// What is done with targets whose values are missing.
    pub missing: MissingValues,
}

/// The files of the responses.
#[derive(Debug, Clone, PartialEq)]
pub enum ResponseTables {
    /// One table for all, with a column of subjects or for one averaged subject.
    One {
        /// The file.
        path: PathBuf,
        /// Column of subjects.
        subject: Option<String>,
    },
    /// One file per subject: name and path.
    PerSubject(Vec<(String, PathBuf)>),
    /// A series of volumes per subject, to a narrative.
    Series {
        /// Name and path.
        files: Vec<(String, PathBuf)>,
        /// The narrative.
        narrative: NarrativePlan,
    },
    /// Runs with trials.
    Trials(TrialsPlan),
}

/// Which layers of a checkpoint are scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerSelection {
    /// All of them.
    All,
    /// These; negative numbers count from the last layer (−1).
    Listed(Vec<i64>),
}

impl LayerSelection {
    /// Understands `all` or `0,3,-1`.
    pub fn parse(text: &str) -> Result<LayerSelection> {
        if text.trim() == "all" {
            return Ok(LayerSelection::All);
        }
        let numbers: std::result::Result<Vec<i64>, _> = text.split(',').map(|n| n.trim().parse()).collect();
        match numbers {
            Ok(numbers) => Ok(LayerSelection::Listed(numbers)),
            Err(_) => {
                Err(Error::new(Code::Fl02, "--layers", format!("is {text:?}"))
                    .expected("all, or numbers such as 0,3,-1"))
            }
        }
    }

    /// The layers of a checkpoint with `n` layers, ascending and distinct.
    ///
    /// # Errors
    /// `FL-02` for a layer that the checkpoint does not have.
    pub fn resolve(&self, n: usize, label: &str) -> Result<Vec<Layer>> {
        let LayerSelection::Listed(numbers) = self else { return Ok((0..n).map(Layer).collect()) };
        let mut layers = Vec::new();
        for number in numbers {
            let resolved = if *number < 0 { number + n as i64 } else { *number };
            match usize::try_from(resolved).ok().filter(|l| *l < n) {
                Some(layer) => layers.push(Layer(layer)),
                None => {
                    return Err(Error::new(
                        Code::Fl02,
                        "--layers",
                        format!("layer {number} does not exist in {label:?}"),
                    )
                    .expected(format!("0 to {} (or -1 to -{n})", n - 1)));
                }
            }
        }
        layers.sort_unstable();
        layers.dedup();
        Ok(layers)
    }
}

impl Plan {
    /// Whether other checkpoints are compared with this one.
    pub fn is_base(&self, label: &str) -> bool {
        let first = self.checkpoints.first().map_or("", |c| c.label.as_str());
        self.checkpoints.iter().any(|c| base_of(&self.lineage, first, &c.label) == Some(label))
    }

    /// The plan for a study file, checkpoints and flags.
    ///
    /// # Errors
    /// All problems at once.
    pub fn new(
        study: &Path,
        mut checkpoints: Vec<CheckpointSpec>,
        overrides: &Overrides,
    ) -> std::result::Result<Plan, Vec<Error>> {
        let (spec, study_digest) = StudySpec::read(study)?;
        let mut problems = Vec::new();
        let folder = study.parent().unwrap_or(Path::new("")).to_owned();
        let narrative = narrative::planned(&spec, &folder, study, overrides.context, &mut problems);
        let trials = trials::planned(&spec, overrides.drop_nan_parcels, &folder, study, &mut problems);
        let rois = rois::planned(spec.rois.as_ref(), &overrides.rois, trials.as_ref(), (&folder, study), &mut problems);
        let responses =
            responses(&spec, overrides, &folder, study, narrative, trials).map_err(|e| problems.push(e)).ok();
        let alphas = alphas(&spec).map_err(|e| problems.push(e)).ok();
        let layers = overrides.layers.as_deref().map_or(Ok(LayerSelection::All), LayerSelection::parse);
        let layers = layers.map_err(|e| problems.push(e)).ok();
        checkpoints.extend(untrained(&checkpoints, overrides.untrained));
        problems.extend(repeated_label(&checkpoints));
        let inference = settings(&spec.inference, &overrides.inference, study).map_err(|e| problems.push(e)).ok();
        let pca = overrides.pca.or(spec.features.pca);
        let combine = overrides.combine.as_ref().unwrap_or(&spec.features.combine);
        let unique = UniqueLayers::planned(overrides.unique, pca).map_err(|e| problems.push(e)).ok();
        let (folds, default_gap) = folds::planned(&spec, study, overrides, &mut problems);
        let (Some(responses), Some(alphas), Some(layers), Some(inference), Some(unique), true) =
            (responses, alphas, layers, inference, unique, problems.is_empty())
        else {
            return Err(problems);
        };
        let mut applied = BTreeMap::new();
        applied.extend(overrides.layers.as_ref().map(|l| ("--layers".to_owned(), l.clone())));
        applied.extend(overrides.pooling.map(|p| ("--pooling".to_owned(), p.to_string())));
        applied.extend(overrides.long_text.map(|l| ("--long-text".to_owned(), l.to_string())));
        applied.extend(overrides.inference.permutations.map(|n| ("--permutations".to_owned(), n.to_string())));
        applied.extend(overrides.inference.margin.map(|m| ("--margin".to_owned(), m.to_string())));
        applied.extend(overrides.pca.map(|n| ("--pca".to_owned(), n.to_string())));
        applied.extend(overrides.combine.as_ref().map(|list| {
            let names: Vec<&str> = list.iter().map(|c| c.as_str()).collect();
            ("--combine".to_owned(), names.join(","))
        }));
        applied.extend(overrides.key.as_ref().map(|key| ("--key".to_owned(), key.clone())));
        applied.extend(overrides.drop_nan_parcels.then(|| ("--drop-nan-parcels".to_owned(), "yes".to_owned())));
        applied.extend(overrides.unique.map(|u| ("--unique".to_owned(), u.as_str().to_owned())));
        applied.extend(overrides.context.map(|c| ("--context".to_owned(), c.to_string())));
        applied.extend(overrides.folds.map(|_| ("--folds".to_owned(), folds.to_string())));
        applied.extend(overrides.allow_leaky_folds.then(|| ("--allow-leaky-folds".to_owned(), "yes".to_owned())));
        applied.extend((overrides.untrained > 0).then(|| ("--untrained".to_owned(), overrides.untrained.to_string())));
        applied.extend(overrides.keep_going.then(|| ("--keep-going".to_owned(), "yes".to_owned())));
        applied.extend((!overrides.metrics.is_empty()).then(|| {
            let names: Vec<&str> = overrides.metrics.iter().map(|m| m.as_str()).collect();
            ("--metrics".to_owned(), names.join(","))
        }));
        applied.extend((!overrides.rois.maps.is_empty()).then(|| {
            // The record holds no directories.
            let named = overrides.rois.maps.iter().map(|m| match m.rsplit_once('/') {
                Some((head, file)) => format!("{}={file}", head.split('=').next().unwrap_or_default()),
                None => m.clone(),
            });
            ("--roi".to_owned(), named.collect::<Vec<_>>().join(" "))
        }));
        applied.extend(overrides.rois.coordinates.then(|| ("--rois".to_owned(), "coordinates".to_owned())));
        Ok(Plan {
            name: spec.study.name,
            study_path: study.to_owned(),
            study_digest,
            stimuli_path: folder.join(&spec.stimuli.table),
            columns: StimuliColumns {
                id: spec.stimuli.id,
                text: spec.stimuli.text,
                group: spec.stimuli.group,
                fold: spec.stimuli.fold,
                run: spec.stimuli.run,
                confounds: spec.stimuli.confounds,
            },
            responses,
            pooling: overrides.pooling.or(spec.features.pooling).unwrap_or(Pooling::Mean),
            long_text: overrides.long_text.or(spec.features.long_text).unwrap_or_default(),
            layers,
            folds,
            // Among shuffled rows a gap would leave nothing to train on, and hide what shuffling does.
            gap: if folds.leaks() { 0 } else { spec.encoding.gap.or(default_gap).unwrap_or(0) },
            default_gap,
            finetuning: spec.finetuning.texts.iter().map(|t| folder.join(t)).collect(),
            untrained: overrides.untrained,
            metrics: overrides.metrics.clone(),
            alphas,
            score: spec.encoding.score.unwrap_or(ScoreName::Cod),
            unique,
            components: pca.map(NonZeroUsize::get),
            combine: Combine::ALL.into_iter().filter(|c| combine.contains(c)).collect(),
            precision: overrides.precision,
            device: overrides.device,
            memory: overrides.memory.unwrap_or_else(cpu::default_memory),
            memory_given: overrides.memory.is_some(),
            checkpoints,
            lineage: overrides.lineage.clone(),
            keep_going: overrides.keep_going,
            left_out: overrides.left_out.clone(),
            inference,
            subjects: spec.subjects.map(|section| SubjectsPlan::new(section, &folder)),
            rois,
            overrides: applied,
        })
    }
}

/// Fresh initialisations of the first checkpoint's architecture.
fn untrained(checkpoints: &[CheckpointSpec], seeds: u64) -> Vec<CheckpointSpec> {
    let Some(first) = checkpoints.first() else { return Vec::new() };
    let one = |seed| CheckpointSpec {
        label: format!("untrained-{seed}"),
        source: Source { untrained: Some(seed), ..first.source.clone() },
    };
    (0..seeds).map(one).collect()
}

fn alphas(spec: &StudySpec) -> Result<AlphaGrid> {
    match &spec.encoding.alphas {
        None => Ok(AlphaGrid::default()),
        Some(AlphasSection::Spaced { from, to, per_decade }) => AlphaGrid::log_spaced(*from, *to, *per_decade),
        Some(AlphasSection::Listed(values)) => AlphaGrid::given(values.clone()),
    }
}

fn responses(
    spec: &StudySpec,
    overrides: &Overrides,
    folder: &Path,
    study: &Path,
    narrative: Option<NarrativePlan>,
    trials: Option<TrialsPlan>,
) -> Result<ResponsesPlan> {
    let key = spec.responses.key(overrides.key.as_ref(), study)?;
    let planned = |tables| ResponsesPlan {
        tables,
        id: spec.responses.id.clone(),
        targets: spec.responses.targets.clone(),
        rows_in_order: spec.responses.rows_in_order,
        key: key.clone(),
        missing: spec.responses.missing(overrides.drop_nan_parcels),
    };
    if let Some(trials) = trials {
        return Ok(planned(ResponseTables::Trials(trials)));
    }
    let tables = tables(spec, folder, study)?;
    Ok(planned(match (narrative, tables) {
        (Some(narrative), ResponseTables::PerSubject(files)) => ResponseTables::Series { files, narrative },
        (Some(narrative), ResponseTables::One { path, .. }) => {
            ResponseTables::Series { files: vec![(MEAN_SUBJECT.to_owned(), path)], narrative }
        }
        (_, tables) => tables,
    }))
}

/// The files that the study names.
fn tables(spec: &StudySpec, folder: &Path, study: &Path) -> Result<ResponseTables> {
    const PATTERN: &str = "{subject}";
    let section = &spec.responses;
    let refuse = |found: &str, hint: &str| Err(Error::new(Code::Rc01, study.display(), found).hint(hint));
    let Some(table) = &section.table else {
        return refuse("[responses] has no table", "Write table = \"responses.csv\", or another kind of responses");
    };
    let pattern = table.contains(PATTERN);
    Ok(match (&section.subjects, pattern) {
        (None, true) => {
            return refuse(
                "[responses] table holds {subject}, but subjects are not listed",
                "List them: subjects = [\"01\", \"02\"]",
            );
        }
        (Some(_), false) => {
            return refuse(
                "[responses] lists subjects, but table does not say where {subject} stands",
                "Write table = \"sub-{subject}.csv\"",
            );
        }
        (Some(subjects), true) if subjects.is_empty() => {
            return refuse("[responses] subjects is empty", "List at least one");
        }
        (Some(_), true) if section.subject.is_some() => {
            return refuse(
                "[responses] names a subject column and one file per subject",
                "Keep one of subject and subjects",
            );
        }
        (Some(subjects), true) => {
            let mut sorted = subjects.clone();
            sorted.sort_unstable();
            if let Some(twice) = sorted.windows(2).find(|w| w[0] == w[1]) {
                return refuse(&format!("[responses] lists subject {:?} twice", twice[0]), "List every subject once");
            }
            let path = |s: &String| (s.clone(), folder.join(table.replace(PATTERN, s)));
            ResponseTables::PerSubject(subjects.iter().map(path).collect())
        }
        (None, false) => ResponseTables::One { path: folder.join(table), subject: section.subject.clone() },
    })
}

fn repeated_label(checkpoints: &[CheckpointSpec]) -> Option<Error> {
    let twice = checkpoints
        .iter()
        .enumerate()
        .find(|(i, c)| checkpoints[..*i].iter().any(|other| other.label == c.label))
        .map(|(_, c)| c)?;
    Some(
        Error::new(Code::Rc04, format!("checkpoint {:?}", twice.label), "two checkpoints have this label")
            .expected("a label of its own for each")
            .hint("Write label=path"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_resolved_per_checkpoint() {
        let selection = LayerSelection::parse("0, 3,-1,3").unwrap();
        assert_eq!(selection.resolve(7, "m").unwrap(), [Layer(0), Layer(3), Layer(6)]);
        assert_eq!(selection.resolve(3, "m").unwrap_err().code(), Code::Fl02);
        assert_eq!(LayerSelection::parse("all").unwrap().resolve(2, "m").unwrap(), [Layer(0), Layer(1)]);
        assert_eq!(LayerSelection::parse("1;2").unwrap_err().code(), Code::Fl02);
    }

    fn plan(responses: &str, encoding: &str) -> std::result::Result<Plan, Vec<Error>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("study.toml");
        let text = format!(
            "[study]\nname = \"s\"\n[stimuli]\ntable = \"s.csv\"\n[responses]\n{responses}\n[encoding]\n{encoding}\n"
        );
        std::fs::write(&path, text).unwrap();
        Plan::new(&path, vec![], &Overrides::default())
    }

    #[test]
    fn subjects_and_pattern_belong_together() {
        let ok = plan("table = \"sub-{subject}.csv\"\nsubjects = [\"01\", \"02\"]", "").unwrap();
        let ResponseTables::PerSubject(files) = ok.responses.tables else { panic!("one file per subject") };
        assert!(files[1].1.ends_with("sub-02.csv"));
        for bad in ["table = \"sub-{subject}.csv\"", "table = \"r.csv\"\nsubjects = [\"01\"]"] {
            assert_eq!(plan(bad, "").unwrap_err()[0].code(), Code::Rc01);
        }
    }

    #[test]
    fn impossible_settings_are_all_listed() {
        let problems = plan("table = \"sub-{subject}.csv\"", "k = 1\nalphas = [-1.0]").unwrap_err();
        let codes: Vec<Code> = problems.iter().map(Error::code).collect();
        assert_eq!(codes, [Code::Rc01, Code::Rc02, Code::Rc03]);
    }
}
