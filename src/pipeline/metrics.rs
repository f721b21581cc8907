//! Scores beyond ridge on single targets: patterns, identification, geometries; per subject, over all targets.

use std::path::Path;

use ndarray::{Array2, ArrayView2, Axis, s};

use super::fit::SpaceFit;
use super::outputs::{reason, stamp};
use super::preflight::Prepared;
use crate::compare::{LEVEL, MetricPoint};
use crate::encoding::geometry::{Geometry, Permutations};
use crate::encoding::{MetricName, Reason, Score, patterns};
use crate::error::Result;
use crate::features::FeatureSpace;
use crate::ids::Layer;
use crate::io::binary::binary;
use crate::io::table::{Output, OutputTable};
use crate::stats::bootstrap::{Resamples, mean_intervals};
use crate::study::{BOOTSTRAP_DRAWS, BOOTSTRAP_SEED};

/// Seed of the permutations.
const SEED: u64 = 0;

/// What depends on the responses alone, computed once.
pub(super) struct Metrics {
    wanted: Vec<MetricName>,
    /// Stimuli that all subjects share, their cross-validated geometry, and the null's permutations.
    rsa: Option<(Vec<usize>, Geometry, Permutations)>,
    /// Per cohort: each subject's kernel, and the null's permutations.
    cka: Vec<(Vec<Option<Geometry>>, Permutations)>,
}

/// One metric of one feature space.
pub(super) struct Measured {
    metric: MetricName,
    /// Per subject; one value for a metric of the group.
    values: Vec<Score>,
    intercept_only: Vec<Score>,
    p: Option<f64>,
}
binary!(Measured { metric, values, intercept_only, p });

/// The columns of one subject of a cohort.
fn columns(all: &Array2<f64>, subject: usize, targets: usize) -> ArrayView2<'_, f64> {
    all.slice(s![.., subject * targets..(subject + 1) * targets])
}

/// The responses of one subject of a cohort.
fn own(prepared: &Prepared, cohort: usize, subject: usize) -> ArrayView2<'_, f64> {
    columns(prepared.cohorts[cohort].y(), subject, prepared.targets.len())
}

impl Metrics {
    pub(super) fn new(prepared: &Prepared) -> Result<Metrics> {
        let wanted = prepared.plan.metrics.clone();
        let rsa = if wanted.contains(&MetricName::Rsa) { shared_geometry(prepared)? } else { None };
        let offload = prepared.offload.as_ref();
        let mut cka = Vec::new();
        if wanted.contains(&MetricName::Cka) {
            for (index, cohort) in prepared.cohorts.iter().enumerate() {
                let kernel = |s: usize| Geometry::kernel(own(prepared, index, s), false, offload);
                let kernels = (0..cohort.subjects().len()).map(kernel).collect::<Result<_>>()?;
                cka.push((kernels, Permutations::new(cohort.rows().len(), SEED)));
            }
        }
        Ok(Metrics { wanted, rsa, cka })
    }

    /// All metrics of one feature space.
    pub(super) fn of(&self, prepared: &Prepared, space: &FeatureSpace, fit: &SpaceFit) -> Result<Vec<Measured>> {
        self.wanted.iter().map(|metric| self.one(*metric, prepared, space, fit)).collect()
    }

    fn one(&self, metric: MetricName, prepared: &Prepared, space: &FeatureSpace, fit: &SpaceFit) -> Result<Measured> {
        match metric {
            MetricName::Rsa => self.rsa(prepared, space),
            MetricName::Cka => self.cka(prepared, space),
            _ => self.patterns(metric, prepared, space, fit),
        }
    }

    fn patterns(
        &self,
        metric: MetricName,
        prepared: &Prepared,
        space: &FeatureSpace,
        fit: &SpaceFit,
    ) -> Result<Measured> {
        let targets = prepared.targets.len();
        let undefined = Score::undefined(Reason::NothingDefined);
        let mut found =
            Measured { metric, values: vec![undefined; prepared.subjects.len()], intercept_only: Vec::new(), p: None };
        found.intercept_only = found.values.clone();
        for predictions in &fit.predictions {
            let cohort = &prepared.cohorts[predictions.cohort];
            let folds = prepared.folds.subset(cohort.rows());
            let x = space.x().select(Axis(0), cohort.rows());
            for (s, subject) in cohort.subjects().iter().enumerate() {
                // A pattern is one of the targets that have values.
                let missing = &cohort.missing()[s * targets..(s + 1) * targets];
                let there: Vec<usize> = (0..targets).filter(|t| missing[*t] == 0).collect();
                let [y, predicted, mean] = [cohort.y(), &predictions.values, &predictions.train_mean]
                    .map(|all| columns(all, s, targets).select(Axis(1), &there));
                let (y, predicted, mean) = (y.view(), predicted.view(), mean.view());
                let (value, alone) = match metric {
                    MetricName::PatternR => {
                        // Nothing is left of a mean map that is removed from itself.
                        (
                            patterns::pattern_r(y, predicted, mean, &folds),
                            Score::undefined(Reason::ConstantPrediction(0)),
                        )
                    }
                    MetricName::Rank => (patterns::rank(y, predicted, mean, &folds), Score::Value(0.5)),
                    _ => {
                        let legacy = patterns::legacy(x.view(), y)?;
                        (legacy.value, legacy.intercept_only)
                    }
                };
                if let Some(at) = prepared.subjects.iter().position(|known| known == subject) {
                    (found.values[at], found.intercept_only[at]) = (value, alone);
                }
            }
        }
        Ok(found)
    }

    fn rsa(&self, prepared: &Prepared, space: &FeatureSpace) -> Result<Measured> {
        let none = |why| Measured {
            metric: MetricName::Rsa,
            values: vec![Score::undefined(why)],
            intercept_only: vec![Score::undefined(Reason::ConstantPrediction(0))],
            p: None,
        };
        let Some((rows, responses, permutations)) = &self.rsa else { return Ok(none(Reason::NoReplication)) };
        let x = space.x().select(Axis(0), rows);
        let Some(features) = Geometry::of_features(x.view(), prepared.offload.as_ref())? else {
            return Ok(none(Reason::NoVaryingFeature(0)));
        };
        let similarity = features.similarity(responses);
        let p = share_above(similarity, &features.null(responses, permutations));
        Ok(Measured { values: vec![Score::Value(similarity)], p: Some(p), ..none(Reason::NothingDefined) })
    }

    /// The mean over subjects has its null by one permutation of rows for all subjects of a cohort.
    fn cka(&self, prepared: &Prepared, space: &FeatureSpace) -> Result<Measured> {
        let mut values = vec![Score::undefined(Reason::NothingDefined); prepared.subjects.len()];
        let (mut total, mut count) = (0.0, 0usize);
        let mut null: Vec<f64> = Vec::new();
        for (cohort, (kernels, permutations)) in prepared.cohorts.iter().zip(&self.cka) {
            let x = space.x().select(Axis(0), cohort.rows());
            let Some(features) = Geometry::kernel(x.view(), true, prepared.offload.as_ref())? else { continue };
            for (subject, kernel) in cohort.subjects().iter().zip(kernels) {
                let at = prepared.subjects.iter().position(|known| known == subject);
                let (Some(at), Some(kernel)) = (at, kernel) else { continue };
                let similarity = features.similarity(kernel);
                values[at] = Score::Value(similarity);
                total += similarity;
                count += 1;
            }
            let known: Vec<Geometry> = kernels.iter().flatten().cloned().collect();
            let Some(mean) = Geometry::mean(&known) else { continue };
            let own = features.null(&mean, permutations);
            null.resize(own.len(), 0.0);
            null.iter_mut().zip(own).for_each(|(sum, v)| *sum += v * known.len() as f64);
        }
        Ok(Measured {
            metric: MetricName::Cka,
            intercept_only: vec![Score::undefined(Reason::ConstantPrediction(0)); values.len()],
            values,
            p: (count > 0).then(|| share_above(total, &null)),
        })
    }
}

/// (b + 1) / (m + 1) of replicates that are at least as large; rounding must not make a value lose against itself.
fn share_above(found: f64, null: &[f64]) -> f64 {
    let above = null.iter().filter(|v| **v >= found - 1e-12).count();
    (above + 1) as f64 / (null.len() + 1) as f64
}

/// The geometry of the stimuli that all subjects share.
fn shared_geometry(prepared: &Prepared) -> Result<Option<(Vec<usize>, Geometry, Permutations)>> {
    let everyone = |row: &usize| prepared.cohorts.iter().all(|c| c.rows().binary_search(row).is_ok());
    let rows: Vec<usize> = (0..prepared.stimuli.len()).filter(everyone).collect();
    let mut subjects: Vec<Array2<f64>> = Vec::new();
    for (index, cohort) in prepared.cohorts.iter().enumerate() {
        let at: Vec<usize> = rows.iter().filter_map(|row| cohort.rows().binary_search(row).ok()).collect();
        subjects.extend((0..cohort.subjects().len()).map(|s| own(prepared, index, s).select(Axis(0), &at)));
    }
    let views: Vec<ArrayView2<'_, f64>> = subjects.iter().map(|y| y.view()).collect();
    let geometry = Geometry::across_subjects(&views, prepared.offload.as_ref())?;
    Ok(geometry.map(|geometry| {
        let permutations = Permutations::new(rows.len(), SEED);
        (rows, geometry, permutations)
    }))
}

impl Measured {
    /// The mean over subjects, for the record.
    pub(super) fn point(&self, checkpoint: &str, layer: Layer) -> MetricPoint {
        let column = |all: &[Score]| Array2::from_shape_fn((all.len(), 1), |(i, _)| all[i].value().unwrap_or(f64::NAN));
        let resamples = Resamples::new(self.values.len(), BOOTSTRAP_DRAWS, BOOTSTRAP_SEED);
        let (mean, mut interval) = mean_intervals(&column(&self.values), &resamples, LEVEL);
        let first = |all: &[Score]| all.iter().find_map(|s| s.reason()).unwrap_or(Reason::NothingDefined);
        let score =
            |mean: f64, all: &[Score]| if mean.is_finite() { Score::Value(mean) } else { Score::undefined(first(all)) };
        let (alone, _) = mean_intervals(&column(&self.intercept_only), &resamples, LEVEL);
        MetricPoint {
            checkpoint: checkpoint.to_owned(),
            layer,
            metric: self.metric,
            mean: score(mean[0], &self.values),
            interval: interval.pop().flatten(),
            intercept_only: score(alone[0], &self.intercept_only),
            p: self.p,
        }
    }
}

/// Why a value, or what the mean map alone reaches, is absent.
fn why(value: Score, alone: Score) -> String {
    match (reason(value), reason(alone)) {
        (own, _) if !own.is_empty() => own,
        (own, alone) if alone.is_empty() => own,
        (_, alone) => format!("intercept_only: {alone}"),
    }
}

/// `metrics.csv`: one row per checkpoint, layer, metric and subject (empty for a metric of the group).
pub(super) fn write(folder: &Path, prepared: &Prepared, all: &[(String, Layer, Vec<Measured>)]) -> Result<()> {
    if prepared.plan.metrics.is_empty() {
        return Ok(());
    }
    let mut rows = Vec::new();
    for (checkpoint, layer, measured) in all {
        for one in measured {
            let group = one.metric == MetricName::Rsa;
            for (i, (value, alone)) in one.values.iter().zip(&one.intercept_only).enumerate() {
                let subject = if group { String::new() } else { prepared.subjects[i].to_string() };
                rows.push((checkpoint, layer, one.metric, subject, *value, *alone, one.p));
            }
        }
    }
    let mut table = OutputTable::new(vec![
        ("checkpoint", Output::Text(rows.iter().map(|r| r.0.clone()).collect())),
        ("layer", Output::Integer(rows.iter().map(|r| r.1.0 as i64).collect())),
        ("metric", Output::Text(rows.iter().map(|r| r.2.to_string()).collect())),
        ("subject", Output::Text(rows.iter().map(|r| r.3.clone()).collect())),
        ("value", Output::Real(rows.iter().map(|r| r.4.value()).collect())),
        ("intercept_only", Output::Real(rows.iter().map(|r| r.5.value()).collect())),
        ("p_over_subjects", Output::Real(rows.iter().map(|r| r.6).collect())),
        ("undefined", Output::Text(rows.iter().map(|r| why(r.4, r.5)).collect())),
    ]);
    stamp(&mut table, prepared.plan.folds, rows.len());
    table.write(folder, "metrics")
}
