//! Several feature spaces as one model: which ways there are.

use serde::{Deserialize, Serialize};

/// How several feature spaces (the layers of a checkpoint, say) become one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// Their columns side by side, each z-scored, with one alpha.
    Concat,
    /// Their predictions, mixed per target ([`super::stacking`]).
    Stack,
}

impl Combine {
    /// All of them.
    pub const ALL: [Combine; 2] = [Combine::Concat, Combine::Stack];

    /// Its name, also that of its model in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Combine::Concat => "concat",
            Combine::Stack => "stack",
        }
    }
}
