//! One share of a comparison that several processes compute: units are claimed, computed and kept until none is left.
//!
//! The states of a checkpoint are made for all its layers at once. So a share begins with checkpoints that nobody has begun,
//! each share at its own place in the plan, and then helps with what is left of others', from the last layer: the two meet.
//! A joint model follows when all layers of its checkpoint are there, whoever made them.

use std::collections::BTreeSet;
use std::path::Path;

use rayon::prelude::*;

use super::standing::is_finished;
use super::tokens::{Token, Tokens, tokens};
use super::{Fitted, Unit, Units};
use crate::compute::cpu::single_threaded_blas;
use crate::compute::device::Offload;
use crate::encoding::AlphaGrid;
use crate::error::{Problems, Result, Warning};
use crate::ids::Layer;
use crate::pipeline::attest::{Held, attest_one};
use crate::pipeline::compare::fit_layer;
use crate::pipeline::destination::{Destination, apart};
use crate::pipeline::gather::States;
use crate::pipeline::metrics::Metrics;
use crate::pipeline::preflight::{Prepared, prepare};
use crate::pipeline::together::together_fit;
use crate::pipeline::unique::joint_fit;
use crate::store::{Claims, RunDir, Shard, StateCache, UnitFolder};
use crate::study::Plan;
use crate::watch::Watch;

/// What a share has come to when it finds nothing more to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shared {
    /// Units that it computed now.
    pub computed: usize,
    /// Units that are finished, by whomever.
    pub finished: usize,
    /// All units.
    pub all: usize,
    /// Units that others have claimed and not finished.
    pub others: usize,
    /// Whether the results were there already.
    pub before: bool,
    /// What was left out because it could not be used.
    pub left_out: Vec<Warning>,
    /// What the user must know.
    pub warnings: Vec<Warning>,
}

/// Computes a share of a comparison into the folder of units beside the output.
///
/// # Errors
/// As [`crate::pipeline::compare`]; `OD-06` while another process writes the output or is the same share.
pub fn share(
    plan: Plan,
    to: &Destination<'_>,
    shard: Shard,
    cache: Option<&StateCache>,
    watch: &dyn Watch,
) -> std::result::Result<Shared, Problems> {
    apart(&plan, to.out, cache)?;
    to.check()?;
    let mut prepared = prepare(plan, watch)?;
    let tokens: Vec<String> = tokens(&prepared).into_iter().map(|token| token.name).collect();
    let lock = RunDir::share(to.out)?;
    // From here on nobody finishes it.
    if let Some(record) = to.finished(&prepared)? {
        drop(lock);
        to.clear(&record);
        let (left_out, warnings) = (prepared.left_out, prepared.warnings);
        return Ok(Shared {
            finished: tokens.len(),
            all: tokens.len(),
            before: true,
            left_out,
            warnings,
            ..Shared::default()
        });
    }
    let units = Units::together(to.out, &mut prepared, &to.resume)?;
    let path = UnitFolder::beside(to.out)?;
    let claims = Claims::join(&path, shard, &tokens)?;
    single_threaded_blas();
    let mut worker = Worker {
        shard,
        prepared: &prepared,
        path: &path,
        units: &units,
        claims: &claims,
        others: BTreeSet::new(),
        states: States::new(&prepared, cache, watch),
        wanted: Metrics::new(&prepared)?,
        held: None,
        computed: 0,
        watch,
    };
    let worked = worker.work(shard.start(prepared.checkpoints.len()));
    let (computed, of_cache) = (worker.computed, std::mem::take(&mut worker.states.warnings));
    worked.map_err(|error| units.explained(error))?;
    let finished = UnitFolder::names(&path);
    let left: Vec<&String> = tokens.iter().filter(|token| !is_finished(&finished, token)).collect();
    let open = claims.open()?;
    let others = left.iter().filter(|token| !open.contains(**token)).count();
    let lost = prepared.offload.as_ref().and_then(Offload::lost).cloned();
    let of_locks = lock.warning().or_else(|| claims.warning());
    let mut warnings = prepared.warnings;
    warnings.extend(of_locks.into_iter().chain(of_cache).chain(units.warnings()).chain(lost));
    let (finished, all) = (tokens.len() - left.len(), tokens.len());
    Ok(Shared { computed, finished, all, others, before: false, left_out: prepared.left_out, warnings })
}

/// Where everything stood at one moment.
struct Look {
    open: BTreeSet<String>,
    own: BTreeSet<String>,
    finished: BTreeSet<String>,
}

struct Worker<'a> {
    shard: Shard,
    prepared: &'a Prepared,
    path: &'a Path,
    units: &'a Units,
    claims: &'a Claims,
    /// Units that turned out to be claimed by others: over a network, a list of names may be an old one.
    others: BTreeSet<String>,
    states: States<'a>,
    wanted: Metrics,
    held: Held,
    computed: usize,
    watch: &'a dyn Watch,
}

impl Worker<'_> {
    fn look(&self) -> Result<Look> {
        // Finished units last: one that is finished in between is not taken for one that must be computed again.
        let (mut open, own) = (self.claims.open()?, self.claims.own()?);
        open.retain(|name| !self.others.contains(name));
        Ok(Look { open, own, finished: UnitFolder::names(self.path) })
    }

    fn work(&mut self, start: usize) -> Result<()> {
        let count = self.prepared.checkpoints.len();
        let order: Vec<usize> = (0..count).map(|i| (start + i) % count).collect();
        let all: Vec<Tokens> = (0..count).map(|c| Tokens::of(self.prepared, c)).collect();
        loop {
            self.watch.check()?;
            let now = self.look()?;
            let left = |t: &Token| now.own.contains(&t.name) && !is_finished(&now.finished, &t.name);
            let open = |t: &Token| now.open.contains(&t.name) && !is_finished(&now.finished, &t.name);
            let doable = |t: &Token| left(t) || open(t);
            let find = |is: &dyn Fn(&Tokens) -> bool| order.iter().copied().find(|c| is(&all[*c]));
            let resumed = || find(&|t| left(&t.weights) || t.fits.iter().any(left));
            let fresh = || find(&|t| !t.fits.is_empty() && t.fits.iter().all(open));
            let begun = || find(&|t| doable(&t.weights) || t.fits.iter().any(doable));
            let fitted = |t: &Tokens| t.fits.iter().all(|fit| now.finished.contains(&fit.name));
            let joint =
                || find(&|t| fitted(t) && (t.joint.iter().any(doable) || t.together.iter().any(|(_, t)| doable(t))));
            let (checkpoint, helping) = match (resumed().or_else(fresh), begun(), joint()) {
                (Some(own), ..) => (own, false),
                (None, Some(other), _) => (other, true),
                (None, None, Some(joint)) => (joint, true),
                (None, None, None) => return Ok(()),
            };
            let done = self.work_on(checkpoint, &all[checkpoint], helping);
            self.states.release(checkpoint);
            self.watch.end();
            done?;
        }
    }

    /// Claims and computes what can be had of a checkpoint.
    fn work_on(&mut self, checkpoint: usize, tokens: &Tokens, helping: bool) -> Result<()> {
        loop {
            let batch = self.batch(tokens, helping)?;
            if batch.is_empty() {
                break;
            }
            if !self.states.holds(checkpoint) {
                self.states.hold(checkpoint)?;
                self.watch.begin(&format!("shard {}", self.shard), "units", self.units.all as u64);
                self.watch.advance(UnitFolder::count(self.path) as u64);
            }
            let one = |layer: &Layer| -> Result<()> {
                let unit = Unit::Fit(checkpoint, *layer);
                let place = (checkpoint, *layer);
                let make = || fit_layer(self.prepared, &self.states, &self.wanted, place, self.watch);
                self.units.must(unit, make)?;
                self.watch.advance(1);
                Ok(())
            };
            batch.par_iter().map(one).collect::<Result<Vec<()>>>()?;
            self.computed += batch.len();
        }
        if self.take(&tokens.weights.name)? {
            let (prepared, held, watch) = (self.prepared, &mut self.held, self.watch);
            self.units.must(Unit::Attestation(checkpoint), || attest_one(prepared, checkpoint, held, watch))?;
            self.advance();
        }
        let now = self.look()?;
        if !tokens.fits.iter().all(|fit| now.finished.contains(&fit.name)) {
            return Ok(());
        }
        for token in &tokens.joint {
            if !self.take(&token.name)? {
                continue;
            }
            let layer = token.layer.map_or_else(|| self.best(checkpoint, tokens), Ok)?;
            let make = || joint_fit(self.prepared, &self.states, (checkpoint, layer), self.watch);
            self.units.must(Unit::Joint(checkpoint, layer), make)?;
            self.advance();
        }
        for (model, token) in &tokens.together {
            if !self.take(&token.name)? {
                continue;
            }
            // All models need all layers: they run once.
            if !self.states.holds(checkpoint) {
                self.states.hold(checkpoint)?;
            }
            let make = || {
                let grids = self.grids(checkpoint, tokens)?;
                let layers = self.states.layers(checkpoint)?;
                together_fit(self.prepared, &layers, &grids, (checkpoint, *model), self.watch)
            };
            self.units.must(Unit::Together(checkpoint, *model), make)?;
            self.advance();
        }
        Ok(())
    }

    fn advance(&mut self) {
        self.computed += 1;
        self.watch.advance(1);
    }

    /// As many layers as threads: first those that were claimed in an earlier life.
    fn batch(&mut self, tokens: &Tokens, helping: bool) -> Result<Vec<Layer>> {
        let now = self.look()?;
        let most = rayon::current_num_threads().max(1);
        let mut claimed: Vec<&Token> = tokens.fits.iter().filter(|fit| !now.finished.contains(&fit.name)).collect();
        if helping {
            claimed.reverse();
        }
        // First those of an earlier life.
        claimed.sort_by_key(|fit| !now.own.contains(&fit.name));
        let mut batch = Vec::new();
        for fit in claimed {
            if now.own.contains(&fit.name) || (now.open.contains(&fit.name) && self.claim(&fit.name)?) {
                batch.extend(fit.layer);
            }
            if batch.len() == most {
                break;
            }
        }
        Ok(batch)
    }

    /// Whether this share is to compute a unit now.
    fn take(&mut self, name: &str) -> Result<bool> {
        let now = self.look()?;
        Ok(!is_finished(&now.finished, name) && (now.own.contains(name) || self.claim(name)?))
    }

    fn claim(&mut self, name: &str) -> Result<bool> {
        let claimed = self.claims.claim(name)?;
        if !claimed {
            self.others.insert(name.to_owned());
        }
        Ok(claimed)
    }

    /// A layer that was fitted before, or is fitted again where its unit turns out to be damaged.
    fn fitted(&self, checkpoint: usize, layer: Layer) -> Result<Fitted> {
        let place = (checkpoint, layer);
        let make = || fit_layer(self.prepared, &self.states, &self.wanted, place, self.watch);
        self.units.of(Unit::Fit(checkpoint, layer), make)
    }

    /// The alphas of a checkpoint's fits, layer by layer.
    fn grids(&self, checkpoint: usize, tokens: &Tokens) -> Result<Vec<Vec<AlphaGrid>>> {
        let layers = tokens.fits.iter().filter_map(|fit| fit.layer);
        layers.map(|layer| Ok(self.fitted(checkpoint, layer)?.space.grids)).collect()
    }

    /// The layer of a checkpoint with the highest score, the first of equals; the first of all where none has a score.
    fn best(&self, checkpoint: usize, tokens: &Tokens) -> Result<Layer> {
        let mut best: Option<(Layer, f64)> = None;
        for layer in tokens.fits.iter().filter_map(|fit| fit.layer) {
            let mean = self.fitted(checkpoint, layer)?.space.fit.mean(self.prepared.plan.score).value();
            if let Some(mean) = mean.filter(|mean| best.is_none_or(|(_, most)| *mean > most)) {
                best = Some((layer, mean));
            }
        }
        Ok(best.map(|(layer, _)| layer).or(tokens.fits[0].layer).unwrap_or(Layer(0)))
    }
}
