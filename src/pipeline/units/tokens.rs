//! What shares can claim of a comparison.

use super::{JOINT, Unit};
use crate::encoding::Combine;
use crate::ids::Layer;
use crate::pipeline::preflight::Prepared;
use crate::study::UniqueLayers;

/// Something to claim: the name of a unit; of the joint model of a best layer, which has no layer before it is known, the
/// name of its checkpoint.
pub(super) struct Token {
    /// The name.
    pub name: String,
    /// What it is, for people.
    pub words: String,
    /// The layer, where it is known.
    pub layer: Option<Layer>,
}

/// The tokens of one checkpoint.
pub(super) struct Tokens {
    pub fits: Vec<Token>,
    pub joint: Vec<Token>,
    pub together: Vec<(Combine, Token)>,
    pub weights: Token,
}

impl Tokens {
    pub fn of(prepared: &Prepared, checkpoint: usize) -> Tokens {
        let open = &prepared.checkpoints[checkpoint];
        let label = &open.checkpoint.record().label;
        let token = |unit: Unit, layer: Option<Layer>, words: String| Token { name: unit.to_string(), words, layer };
        let fit = |l: &Layer| token(Unit::Fit(checkpoint, *l), Some(*l), format!("layer {l} of {label}"));
        let joint =
            |l: &Layer| token(Unit::Joint(checkpoint, *l), Some(*l), format!("joint model of layer {l} of {label}"));
        let joint = match prepared.plan.unique {
            UniqueLayers::None => Vec::new(),
            UniqueLayers::Best => vec![Token {
                name: format!("c{checkpoint:04}{JOINT}"),
                words: format!("joint model of {label}"),
                layer: None,
            }],
            UniqueLayers::All => open.layers.iter().map(joint).collect(),
        };
        let together = |model: &Combine| {
            let words = format!("all layers of {label} together ({})", model.as_str());
            (*model, token(Unit::Together(checkpoint, *model), None, words))
        };
        let fits = open.layers.iter().map(fit).collect();
        let together = prepared.plan.combine.iter().map(together).collect();
        let weights = token(Unit::Attestation(checkpoint), None, format!("weights of {label}"));
        Tokens { fits, joint, together, weights }
    }
}

/// All tokens, checkpoint by checkpoint.
pub(super) fn tokens(prepared: &Prepared) -> Vec<Token> {
    let of = |checkpoint| {
        let Tokens { fits, joint, together, weights } = Tokens::of(prepared, checkpoint);
        fits.into_iter().chain(joint).chain(together.into_iter().map(|(_, token)| token)).chain([weights])
    };
    (0..prepared.checkpoints.len()).flat_map(of).collect()
}
