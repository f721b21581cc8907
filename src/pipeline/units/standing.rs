//! How far the units of a run are, and who has those that are not finished.

use std::collections::BTreeSet;
use std::path::Path;

use super::JOINT;
use super::tokens::tokens;
use crate::error::{Code, Error, Problems, first_five};
use crate::pipeline::preflight::Prepared;
use crate::store::{Holding, UnitFolder, holdings, open_claims};

/// How far a run in shares is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// All units that there are to claim.
    pub all: usize,
    /// Those that are finished.
    pub finished: usize,
    /// Those that nobody has claimed or finished.
    pub open: usize,
    /// The shares that have claimed any.
    pub shards: Vec<ShardStanding>,
}

/// How far one share is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardStanding {
    /// `i/n`.
    pub shard: String,
    /// Units that it has claimed.
    pub claimed: usize,
    /// Those of them that are finished.
    pub finished: usize,
    /// Whether a process of it is at work.
    pub alive: bool,
}

/// How far the shares that use a folder of units are.
pub fn standing(units: &Path) -> Standing {
    let (open, held) = (open_claims(units), holdings(units));
    let finished = UnitFolder::names(units);
    let done = |names: &BTreeSet<String>| names.iter().filter(|token| is_finished(&finished, token)).count();
    let shard = |held: &Holding| ShardStanding {
        shard: held.shard.clone(),
        claimed: held.units.len(),
        finished: done(&held.units),
        alive: held.alive,
    };
    Standing {
        all: open.len() + held.iter().map(|h| h.units.len()).sum::<usize>(),
        finished: done(&open) + held.iter().map(|h| done(&h.units)).sum::<usize>(),
        open: open.len() - done(&open),
        shards: held.iter().map(shard).collect(),
    }
}

/// Whether what a token stands for is there: the unit of that name, or the joint model of any layer.
pub(super) fn is_finished(finished: &BTreeSet<String>, token: &str) -> bool {
    let best = |checkpoint: &str| {
        let prefix = format!("{checkpoint}-");
        let units = finished.range(prefix.clone()..).take_while(|name| name.starts_with(&prefix));
        !checkpoint.contains('-') && units.into_iter().any(|name| name.ends_with(JOINT))
    };
    finished.contains(token) || token.strip_suffix(JOINT).is_some_and(best)
}

/// `OD-08` for the units that are not there, share by share.
pub(super) fn all_there(prepared: &Prepared, units: &Path) -> std::result::Result<(), Problems> {
    let all = tokens(prepared);
    let finished = UnitFolder::names(units);
    let mut missing: Vec<_> = all.iter().filter(|token| !is_finished(&finished, &token.name)).collect();
    let mut problems = Vec::new();
    let mut problem = |missing: &[&super::tokens::Token], whose: String| {
        let names = first_five(missing.iter().map(|token| &token.words));
        problems.push(
            Error::new(
                Code::Od08,
                units.display(),
                format!("{} of {} units are missing: {names}; {whose}", missing.len(), all.len()),
            )
            .hint("Start the shards again, or give --compute-missing"),
        );
    };
    for held in holdings(units) {
        let (own, others): (Vec<_>, Vec<_>) = missing.into_iter().partition(|token| held.units.contains(&token.name));
        missing = others;
        if !own.is_empty() {
            let life = if held.alive { "at work" } else { "not at work" };
            problem(&own, format!("shard {} has claimed them and is {life}", held.shard));
        }
    }
    if !missing.is_empty() {
        problem(&missing, "no shard has claimed them".to_owned());
    }
    Problems::check(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_joint_model_of_a_best_layer_goes_by_any_layer() {
        let finished: BTreeSet<String> =
            ["c0001-l002", "c0001-l002-joint", "c0010-l000", "c0010-weights", "c10000-l002-joint"]
                .map(str::to_owned)
                .into();
        assert!(is_finished(&finished, "c0001-joint") && is_finished(&finished, "c0001-l002-joint"));
        for not in ["c0001-l003-joint", "c0010-joint", "c0000-joint", "c0001-weights", "c00010-joint", "c1000-joint"] {
            assert!(!is_finished(&finished, not), "{not}");
        }
    }
}
