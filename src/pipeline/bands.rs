//! Banded ridge on plain arrays: bands from a file, weights by random search, what each band contributes.

use std::path::Path;

use ndarray::{Array2, ArrayView2, Axis};

use super::arrays::{Scored, read};
use crate::encoding::engine::{self, Banded, Bands, Options, Report, Targets};
use crate::encoding::{AlphaGrid, Folds, score};
use crate::error::{Code, Error, Result};
use crate::io::table::{Output, OutputTable};
use crate::watch::Watch;

/// The band of each of `features` features.
pub(super) fn read_bands(path: &Path, features: usize) -> Result<Bands> {
    let array = read(path)?;
    if array.len() != features {
        return Err(Error::new(Code::Rs07, path.display(), format!("has {} values", array.len()))
            .expected(format!("{features}, one per feature")));
    }
    let whole = |v: &f64| {
        let ok = v.fract() == 0.0 && (0.0..features as f64).contains(v);
        ok.then_some(*v as usize).ok_or_else(|| {
            Error::new(Code::Rs07, path.display(), format!("names band {v}")).expected("bands counted from 0")
        })
    };
    Bands::new(array.iter().map(whole).collect::<Result<_>>()?)
}

/// The scale of each feature from the scale of each band.
pub(super) fn band_scales(bands: &Bands, path: &Path) -> Result<Vec<f64>> {
    let of_band: Vec<f64> = read(path)?.iter().copied().collect();
    if of_band.len() < bands.count() {
        return Err(Error::new(Code::Rs07, path.display(), format!("has {} scales", of_band.len()))
            .expected(format!("{}, one per band", bands.count())));
    }
    Ok(bands.of_feature().iter().map(|b| of_band[*b]).collect())
}

/// A random search over weights of bands.
pub(super) struct Search<'a> {
    pub bands: &'a Bands,
    pub weights: Array2<f64>,
    pub folds: &'a Folds,
}

/// What one band contributes to one target.
pub(super) struct Share {
    response: usize,
    target: usize,
    band: usize,
    /// The band's part of cod.
    split: Option<f64>,
    /// cod less that of a model without the band.
    unique: Option<f64>,
    /// Mean weight over folds.
    weight: f64,
}

impl Search<'_> {
    /// Fits every response; scores, contributions, and what was done.
    pub(super) fn run(
        &self,
        x: ArrayView2<'_, f64>,
        responses: &[&dyn Targets],
        grid: &AlphaGrid,
        options: &Options,
        watch: &dyn Watch,
    ) -> Result<(Vec<Scored>, Vec<Share>, Report)> {
        let (mut all, mut shares, mut total) = (Vec::new(), Vec::new(), Report::default());
        for (response, targets) in responses.iter().enumerate() {
            let y = targets.read(0..targets.columns())?;
            let fit = |x: ArrayView2<'_, f64>, bands: &Bands, weights: &Array2<f64>| {
                let of = Banded { x, y: y.view(), bands, weights, folds: self.folds };
                engine::fit_banded(of, grid, options, watch)
            };
            let (found, report) = fit(x, self.bands, &self.weights)?;
            total.add(&report);
            let scores = score(y.view(), &found.fit, self.folds);
            let mut without: Vec<Option<Vec<_>>> = Vec::new();
            for band in 0..self.bands.count() {
                let Some((features, rest)) = self.bands.without(band) else {
                    without.push(None);
                    continue;
                };
                // With one band left there is nothing to weigh.
                let one = Array2::ones((1, 1));
                let weights = if rest.count() == 1 { one } else { self.reweighted(band) };
                let (found, report) = fit(x.select(Axis(1), &features).view(), &rest, &weights)?;
                total.add(&report);
                without.push(Some(score(y.view(), &found.fit, self.folds)));
            }
            for (target, scores) in scores.iter().enumerate() {
                for (band, without) in without.iter().enumerate() {
                    let alone = match without {
                        // Without its only band a model predicts the training mean: cod 0.
                        None => Some(0.0),
                        Some(without) => without[target].cod.value(),
                    };
                    let cod = scores.cod.value();
                    let weights = found.draw.column(target).mapv(|d| self.weights[[d, band]]);
                    shares.push(Share {
                        response,
                        target,
                        band,
                        split: cod.map(|_| found.split[[band, target]]),
                        unique: cod.zip(alone).map(|(cod, alone)| cod - alone),
                        weight: weights.mean().unwrap_or(f64::NAN),
                    });
                }
            }
            all.push((response, 0..y.ncols(), scores));
        }
        Ok((all, shares, total))
    }

    /// The draws without a band; the others' weights sum to 1 again.
    fn reweighted(&self, band: usize) -> Array2<f64> {
        let others: Vec<usize> = (0..self.bands.count()).filter(|b| *b != band).collect();
        let mut weights = self.weights.select(Axis(1), &others);
        for mut row in weights.rows_mut() {
            let sum = row.sum();
            if sum > 0.0 {
                row /= sum;
            } else {
                row.fill(1.0 / others.len() as f64);
            }
        }
        weights
    }
}

/// `bands.csv`: one row per feature space, response, target and band.
pub(super) fn bands_table(shares: &[(String, Share)], subjects: &[String]) -> OutputTable {
    let integer =
        |f: &dyn Fn(&Share) -> usize| Output::Integer(shares.iter().map(|(_, share)| f(share) as i64).collect());
    let real = |f: &dyn Fn(&Share) -> Option<f64>| Output::Real(shares.iter().map(|(_, share)| f(share)).collect());
    OutputTable::new(vec![
        ("feature_space", Output::Text(shares.iter().map(|(space, _)| space.clone()).collect())),
        ("subject", Output::Text(shares.iter().map(|(_, share)| subjects[share.response].clone()).collect())),
        ("target", integer(&|s| s.target)),
        ("band", integer(&|s| s.band)),
        ("cod_split", real(&|s| s.split)),
        ("cod_unique", real(&|s| s.unique)),
        ("weight_mean", real(&|s| Some(s.weight))),
    ])
}
