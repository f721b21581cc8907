//! What a run has to say of its units.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use crate::compute::cpu::blas_description;
use crate::compute::device::Offload;
use crate::error::Warning;
use crate::io::binary::binary;

/// What computed a unit: it is written with it.
pub(super) struct Machine {
    /// What the last bits of a sum depend on.
    kind: String,
    /// Why the CPU stood in for cards.
    lost: Option<String>,
}
binary!(Machine { kind, lost });

impl Machine {
    /// This one, at this moment.
    pub fn here(offload: Option<&Offload>) -> Machine {
        Machine {
            kind: format!("{} {}, {}", std::env::consts::OS, std::env::consts::ARCH, blas_description()),
            lost: offload.and_then(Offload::lost).map(ToString::to_string),
        }
    }
}

/// What became of units.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub damaged: usize,
    pub unwritten: usize,
    /// Units that could not be read, by what the system said.
    pub unreadable: BTreeMap<ErrorKind, usize>,
    /// Whether those that had been used went, so that results have their room.
    pub made_room: bool,
    /// Names of those whose values are at hand.
    pub used: Vec<String>,
    /// The kinds of machines that units come from.
    kinds: BTreeSet<String>,
    /// Units of processes whose cards had failed, by what those said.
    lost: BTreeMap<String, usize>,
}

impl Seen {
    /// A unit is computed here. That cards of this process failed is told by what it is asked of.
    pub fn made_on(&mut self, machine: Machine) {
        self.kinds.insert(machine.kind);
    }

    /// A unit was finished before.
    pub fn found_of(&mut self, machine: Machine) {
        if let Some(why) = machine.lost {
            *self.lost.entry(why).or_default() += 1;
        }
        self.kinds.insert(machine.kind);
    }

    /// What the user must know.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |code: &str, count: usize, text: &str| {
            if count > 0 {
                warnings.push(Warning::new(code, format!("{count} {text}")));
            }
        };
        const AGREE: &str = "scores agree to about 1e-6, not to the last byte";
        warn("UN-02", self.damaged, "damaged units were removed and computed again");
        let unwritten = match self.made_room {
            true => {
                "finished units could not be kept for want of room, and those before them went to leave it to the results: \
                 had the run been killed, they would have been lost"
            }
            false => "finished units could not be kept: had the run been killed, they would have been lost",
        };
        warn("UN-03", self.unwritten, unwritten);
        if self.kinds.len() > 1 {
            let list: Vec<&str> = self.kinds.iter().map(String::as_str).collect();
            warn("UN-04", list.len(), &format!("kinds of machines computed the units ({}): {AGREE}", list.join("; ")));
        }
        for (why, count) in &self.lost {
            warn("UN-04", *count, &format!("units come from processes whose cards had failed: {why}; {AGREE}"));
        }
        for (why, count) in &self.unreadable {
            warn("UN-05", *count, &format!("units could not be read ({why}) and were computed again"));
        }
        warnings
    }
}
