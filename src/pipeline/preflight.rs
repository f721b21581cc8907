//! Everything that can be checked before anything is computed; all problems come back at once.

use std::path::Path;
use std::sync::Arc;

use ndarray::Array2;

use super::design::Design;
use super::extract::read_texts;
use super::parts::Places;
use super::states::{Extraction, extract};
use super::watched::Watched;
use super::whole::WholeRuns;
use super::{narrative, rois, tables, trials};
use crate::compare::base_of;
use crate::compute::device::Offload;
use crate::encoder::{Checkpoint, CheckpointSpec, Pooling, Tokens};
use crate::encoding::{Folds, is_constant};
use crate::error::{Code, Error, Problems, Result, Warning, first_five};
use crate::features::FeatureSpace;
use crate::ids::{Layer, StimulusId, SubjectId, TargetId};
use crate::io::matrix::Matrix;
use crate::io::table::Table;
use crate::io::{digest_file, file_name, without_folders};
use crate::record::InputRecord;
use crate::responses::{Cohort, Responses};
use crate::roi::Rois;
use crate::stimuli::Stimuli;
use crate::store::{StateCache, default_cache_folder};
use crate::study::{self, Plan, ResponseTables};
use crate::subjects::{SubjectColumns, SubjectGroups};
use crate::watch::Watch;

/// A plan whose inputs have been read and found to belong together.
#[derive(Debug)]
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// The stimuli.
    pub stimuli: Stimuli,
    /// Their ids, shared by all feature spaces.
    pub ids: Arc<[StimulusId]>,
    /// The responses, subjects with the same stimuli together.
    pub cohorts: Vec<Cohort>,
    /// Subjects in the order of the study.
    pub subjects: Vec<SubjectId>,
    /// Targets in order.
    pub targets: Vec<TargetId>,
    /// The outer folds.
    pub folds: Folds,
    /// The checkpoints, opened and checked.
    pub checkpoints: Vec<OpenCheckpoint>,
    /// How vectors of texts become rows.
    pub design: Design,
    /// Whole runs, where fits leave volumes out.
    pub(super) whole: Option<WholeRuns>,
    /// What any model could know without reading.
    pub confounds: FeatureSpace,
    /// Names of its columns.
    pub confound_names: Vec<String>,
    /// What was left out because it could not be used.
    pub left_out: Vec<Warning>,
    /// Per cohort what its models are fitted on when subjects are left out: for every subject and target the mean of the
    /// other subjects; empty otherwise.
    pub others: Vec<Array2<f64>>,
    /// For each row the index of its distinct text; every volume of a narrative is one of its own.
    pub text_of_row: Vec<usize>,
    /// Texts that checkpoints were fine-tuned on.
    pub finetuning: Vec<String>,
    /// Groups of subjects, where the study has them.
    pub groups: Option<SubjectGroups>,
    /// Regions of interest, where the study has any.
    pub rois: Option<Rois>,
    /// Every file that was read.
    pub inputs: Vec<InputRecord>,
    /// The same, to be looked at again.
    pub(super) watched: Watched,
    /// The cards that take part, if any.
    pub offload: Option<Offload>,
    /// What the user must know.
    pub warnings: Vec<Warning>,
}

/// A checkpoint with the stimuli in its tokens.
#[derive(Debug)]
pub struct OpenCheckpoint {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The distinct texts, or the contexts of their parts; checkpoints with one tokenizer hold them in common.
    pub tokens: Arc<Vec<Tokens>>,
    /// Where the parts stand in them, when parts get vectors.
    pub(super) places: Option<Places>,
    /// The layers that are scored.
    pub layers: Vec<Layer>,
}

impl Prepared {
    /// The label of what a checkpoint is compared with, as [`crate::compare::Comparison::base_of`].
    pub fn base_of<'a>(&'a self, label: &str) -> Option<&'a str> {
        let first = self.checkpoints.first().map_or("", |c| c.checkpoint.record().label.as_str());
        base_of(&self.plan.lineage, first, label)
    }
}

impl OpenCheckpoint {
    /// The vectors of texts, or of their parts, at some layers.
    pub(super) fn states(
        &self,
        pooling: Pooling,
        layers: &[Layer],
        offload: Option<&Offload>,
        cache: Option<&StateCache>,
        watch: &dyn Watch,
    ) -> Result<Extraction> {
        match &self.places {
            Some(places) => places.vectors(&self.checkpoint, layers, offload, cache, watch),
            None => extract(&self.checkpoint, &self.tokens, pooling, layers, offload, cache, watch),
        }
    }
}

/// Collects problems and warnings while inputs are read.
#[derive(Default)]
pub(super) struct Findings {
    pub problems: Vec<Error>,
    pub warnings: Vec<Warning>,
    pub left_out: Vec<Warning>,
    inputs: Vec<InputRecord>,
    watched: Watched,
}

/// The stimuli and responses of a study, whatever kind they are of.
pub(super) struct Inputs {
    pub stimuli: Stimuli,
    pub design: Design,
    /// For each row the index of its distinct text.
    pub text_of_row: Vec<usize>,
    /// Targets, and the responses of every subject; absent when they could not be read.
    pub responses: Option<(Vec<TargetId>, Vec<Responses>)>,
    /// Whole runs, where fits leave volumes out.
    pub whole: Option<WholeRuns>,
    pub confounds: FeatureSpace,
    pub confound_names: Vec<String>,
}

impl Findings {
    pub fn keep<T>(&mut self, result: std::result::Result<T, impl IntoProblems>) -> Option<T> {
        result.map_err(|e| self.problems.extend(e.into_problems())).ok()
    }

    /// Notes that something is left out, and why; the rest goes on.
    pub fn leave_out(&mut self, error: &Error) {
        self.left_out.push(Warning::new(error.code().as_str(), without_folders(error)));
    }

    /// Leaves out a subject none of whose targets varies.
    pub fn leave_out_constant(&mut self, place: &str, subject: &str, rows: usize) {
        let found = format!("all {rows} rows of subject {subject:?} are the same");
        self.leave_out(
            &Error::new(Code::Rs09, place, found).expected("responses that vary").hint("The subject is left out"),
        );
    }

    pub fn input(&mut self, role: &str, path: &Path, sha256: crate::ids::Digest) {
        self.inputs.push(InputRecord { role: role.to_owned(), name: file_name(path), sha256 });
        self.watched.add(path, sha256);
    }

    /// Records responses that were read; of an archive also which array.
    pub fn responses(&mut self, path: &Path, read: &Matrix) {
        self.input("responses", path, read.digest);
        self.inputs.extend(read.member.iter().map(|(name, sha256)| InputRecord {
            role: "array of responses".to_owned(),
            name: format!("{}: {name}", file_name(path)),
            sha256: *sha256,
        }));
    }
}

/// One error or many.
pub(super) trait IntoProblems {
    fn into_problems(self) -> Vec<Error>;
}

impl IntoProblems for Error {
    fn into_problems(self) -> Vec<Error> {
        vec![self]
    }
}

impl IntoProblems for Vec<Error> {
    fn into_problems(self) -> Vec<Error> {
        self
    }
}

/// Reads and checks all inputs of a plan.
///
/// # Errors
/// Every problem of every input, not just the first.
pub fn prepare(mut plan: Plan, watch: &dyn Watch) -> std::result::Result<Prepared, Problems> {
    let mut found = Findings { left_out: plan.left_out.clone(), ..Findings::default() };
    found.input("study", &plan.study_path, plan.study_digest);
    let inputs = match &plan.responses.tables {
        ResponseTables::Series { files, narrative } => narrative::read(&plan, narrative, files, &mut found),
        ResponseTables::Trials(trials) => trials::read(&plan, trials, watch, &mut found),
        ResponseTables::One { .. } | ResponseTables::PerSubject(_) => tables::read(&plan, &mut found),
    };
    let (stimuli, text_of_row, design, responses, whole, confounds) = match inputs {
        Some(i) => (
            Some(i.stimuli),
            i.text_of_row,
            Some(i.design),
            i.responses,
            i.whole,
            Some((i.confounds, i.confound_names)),
        ),
        None => (None, Vec::new(), None, None, None, None),
    };
    let responses = responses.map(|(targets, all)| (targets, without_constant(all, &mut found)));
    let folds = stimuli.as_ref().and_then(|stimuli| {
        let made = found.keep(Folds::new(plan.folds, plan.gap, stimuli))?;
        found.warnings.extend(made.1);
        Some(made.0)
    });
    let mut checkpoints = Vec::new();
    let mut left_out = Vec::new();
    for spec in &plan.checkpoints {
        let before = (found.problems.len(), found.warnings.len());
        let opened = open(spec, stimuli.as_ref().zip(design.as_ref()), &plan, &checkpoints, &mut found);
        checkpoints.extend(opened);
        // Without what others are compared with there would be nothing to say of them; nor of one alone.
        let is_spare = plan.checkpoints.len() > 1 && !plan.is_base(&spec.label);
        if plan.keep_going && is_spare && found.problems.len() > before.0 {
            let problems = found.problems.split_off(before.0);
            found.warnings.truncate(before.1);
            found.left_out.extend(problems.iter().map(|problem| study::left_out(&spec.label, problem)));
            left_out.push(spec.label.clone());
        }
    }
    let rois = responses.as_ref().and_then(|(targets, _)| rois::read(&plan, targets, &mut found));
    let mut joined = match (&stimuli, responses) {
        (Some(stimuli), Some((targets, responses))) => {
            let subjects: Vec<SubjectId> = responses.iter().map(|r| r.subject().clone()).collect();
            let ids: Arc<[StimulusId]> = stimuli.ids().into();
            found.keep(Cohort::join(&ids, responses)).map(|(cohorts, warnings)| {
                if !matches!(plan.responses.tables, ResponseTables::Trials(_)) {
                    // That nobody is shown everything is the design of an experiment with versions.
                    found.warnings.extend(warnings);
                }
                (ids, cohorts, subjects, targets)
            })
        }
        _ => None,
    };
    let groups = joined.as_ref().and_then(|(_, _, subjects, _)| read_subjects(&plan, subjects, &mut found));
    let others = match &mut joined {
        Some((_, cohorts, ..)) if plan.folds.across_subjects() => {
            found.keep(Cohort::others(cohorts)).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    if let (Some((_, cohorts, _, targets)), Some(folds)) = (&joined, &folds) {
        check_folds(cohorts, folds, &mut found);
        check_targets(cohorts, targets, &mut found);
    }
    let mut finetuning = Vec::new();
    for path in &plan.finetuning {
        let Some(texts) = found.keep(read_texts(path)) else { continue };
        finetuning.extend(texts);
        if let Some(digest) = found.keep(digest_file(path)) {
            found.input("fine-tuning texts", path, digest);
        }
    }
    let opened = found.keep(crate::compute::open(plan.device, default_cache_folder().ok().as_deref()));
    let (offload, warning) = opened.unwrap_or_default();
    found.warnings.extend(warning);
    Problems::check(found.problems)?;
    plan.checkpoints.retain(|c| !left_out.contains(&c.label));
    match (stimuli, design.zip(confounds), joined, folds) {
        (Some(stimuli), Some((design, confounds)), Some((ids, cohorts, subjects, targets)), Some(folds)) => {
            Ok(Prepared {
                plan,
                stimuli,
                ids,
                cohorts,
                subjects,
                targets,
                folds,
                checkpoints,
                text_of_row,
                design,
                whole,
                confounds: confounds.0,
                confound_names: confounds.1,
                left_out: found.left_out,
                others,
                finetuning,
                groups,
                rois,
                inputs: found.inputs,
                watched: found.watched,
                offload,
                warnings: found.warnings,
            })
        }
        // Whatever is absent left a problem behind; this arm only satisfies the types.
        _ => Err(Error::new(Code::Rc01, "preflight", "an input is absent").into()),
    }
}

/// Opens a checkpoint and its stimuli; none when anything is wrong with it.
fn open(
    spec: &CheckpointSpec,
    texts: Option<(&Stimuli, &Design)>,
    plan: &Plan,
    before: &[OpenCheckpoint],
    found: &mut Findings,
) -> Option<OpenCheckpoint> {
    let mut checkpoint = found.keep(Checkpoint::open(spec))?;
    found.warnings.extend(checkpoint.record().warnings.iter().cloned());
    let layers = found.keep(plan.layers.resolve(checkpoint.n_layers(), &spec.label));
    let (stimuli, design) = texts?;
    let (mut tokens, mut places) = tokenize(&checkpoint, stimuli, design, plan, found)?;
    let tokenizer = |one: &Checkpoint| one.record().tokenizer_sha256;
    if let Some(other) = before.iter().find(|other| tokenizer(&other.checkpoint) == tokenizer(&checkpoint)) {
        checkpoint.share_tokenizer(&other.checkpoint);
        if tokens == other.tokens {
            tokens = Arc::clone(&other.tokens);
            places.iter_mut().for_each(|places| places.tokens = Arc::clone(&tokens));
        }
    }
    Some(OpenCheckpoint { checkpoint, tokens, places, layers: layers? })
}

/// The texts in a checkpoint's tokens, and where their parts stand when parts get vectors.
fn tokenize(
    checkpoint: &Checkpoint,
    stimuli: &Stimuli,
    design: &Design,
    plan: &Plan,
    found: &mut Findings,
) -> Option<(Arc<Vec<Tokens>>, Option<Places>)> {
    if let Some(parts) = &design.parts {
        let mut places = found.keep(parts.places(checkpoint, plan.long_text))?;
        found.warnings.append(&mut places.warnings);
        return Some((Arc::clone(&places.tokens), Some(places)));
    }
    let names = first_names(stimuli);
    let tokens = found.keep(checkpoint.tokenize_long(&stimuli.distinct_texts().0, &names, plan.long_text))?;
    found.warnings.extend(checkpoint.long_texts(&tokens, &names));
    found.warnings.extend(checkpoint.unknown_texts(&tokens, &names));
    Some((Arc::new(tokens), None))
}

/// Leaves out subjects none of whose targets varies: their file is damaged, and the others' need not suffer.
fn without_constant(all: Vec<Responses>, found: &mut Findings) -> Vec<Responses> {
    let (constant, varying): (Vec<Responses>, Vec<Responses>) = all.into_iter().partition(Responses::all_constant);
    if varying.is_empty() {
        return constant;
    }
    for one in constant {
        found.leave_out_constant(one.place(), one.subject().as_str(), one.n_rows());
    }
    varying
}

fn read_subjects(plan: &Plan, subjects: &[SubjectId], found: &mut Findings) -> Option<SubjectGroups> {
    let of = plan.subjects.as_ref()?;
    let table = found.keep(Table::read(&of.path))?;
    found.input("subjects", &of.path, table.digest());
    let columns = SubjectColumns { id: &of.id, group: &of.group, covariates: &of.covariates };
    let (groups, warnings) = found.keep(SubjectGroups::from_table(&table, columns, subjects))?;
    found.warnings.extend(warnings);
    Some(groups)
}

/// The id of the first stimulus with each distinct text.
fn first_names(stimuli: &Stimuli) -> Vec<&str> {
    let (distinct, of_row) = stimuli.distinct_texts();
    let mut names = vec![""; distinct.len()];
    for (row, text) in of_row.iter().enumerate().rev() {
        names[*text] = stimuli.ids()[row].as_str();
    }
    names
}

fn check_folds(cohorts: &[Cohort], folds: &Folds, found: &mut Findings) {
    for cohort in cohorts {
        let own = folds.subset(cohort.rows());
        if own.count() < 3 {
            let who = first_five(cohort.subjects());
            found.problems.push(
                Error::new(
                    Code::Rs12,
                    format!("responses of {who}"),
                    format!("{} rows lie in {} folds", cohort.rows().len(), own.count()),
                )
                .expected("at least 3 folds: alpha is chosen on the folds that remain when one is held out"),
            );
        }
        let small = (0..own.count()).filter(|k| own.test_rows(*k).len() < 3).count();
        if small > 0 {
            found.warnings.push(Warning::new(
                "RS-12",
                format!(
                    "{small} folds have fewer than 3 rows (subjects {}): their scores are undefined",
                    first_five(cohort.subjects())
                ),
            ));
        }
    }
}

fn check_targets(cohorts: &[Cohort], targets: &[TargetId], found: &mut Findings) {
    let (mut constant, mut missing) = (Vec::new(), Vec::new());
    let mut total = 0;
    for cohort in cohorts {
        for (column, values) in cohort.y().columns().into_iter().enumerate() {
            total += 1;
            let (target, subject) = (&targets[column % targets.len()], &cohort.subjects()[column / targets.len()]);
            match cohort.missing()[column] {
                0 if is_constant(values) => constant.push(format!("{target} ({subject})")),
                0 => {}
                n => missing.push(format!("{target} ({subject}, {n} of {} rows)", values.len())),
            }
        }
    }
    if !missing.is_empty() {
        found.warnings.push(Warning::new(
            "RS-08",
            format!(
                "{} of {total} targets lack values, of the subject or of all others that it is predicted from; their scores are \
                 undefined: {}",
                missing.len(),
                first_five(&missing)
            ),
        ));
    }
    if constant.is_empty() {
        return;
    }
    if constant.len() + missing.len() == total {
        found.problems.push(
            Error::new(
                Code::Rs09,
                "responses",
                match missing.len() {
                    0 => format!("all {total} targets are constant"),
                    lacking => format!("{lacking} of {total} targets lack values, and all others are constant"),
                },
            )
            .expected("responses that vary"),
        );
    } else {
        found.warnings.push(Warning::new(
            "RS-09",
            format!(
                "{} of {total} targets are constant; their scores are undefined: {}",
                constant.len(),
                first_five(&constant)
            ),
        ));
    }
}
