//! `unique cod`: which layers get it.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};

/// Which layers get `unique cod`: the joint model searches 100 weightings, about 100 times the work of a plain fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UniqueLayers {
    /// The layer of each checkpoint with the highest score.
    #[default]
    Best,
    /// All that are scored.
    All,
    /// No layer.
    None,
}

impl UniqueLayers {
    /// All choices.
    pub const ALL: [UniqueLayers; 3] = [UniqueLayers::Best, UniqueLayers::All, UniqueLayers::None];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            UniqueLayers::Best => "best",
            UniqueLayers::All => "all",
            UniqueLayers::None => "none",
        }
    }

    /// Principal components mix what a joint model must weigh apart: with them `unique cod` is not there to be asked for.
    pub(super) fn planned(asked: Option<UniqueLayers>, pca: Option<NonZeroUsize>) -> Result<UniqueLayers> {
        match (asked, pca) {
            (Some(asked), Some(n)) if asked != UniqueLayers::None => {
                let found = format!("is {}, and every fit is confined to {n} principal components", asked.as_str());
                Err(Error::new(Code::Fl02, "--unique", found)
                    .expected("none: components mix the features, and unique cod weighs bands of features")
                    .hint("Leave out --unique, or the components"))
            }
            (asked, Some(_)) => Ok(asked.unwrap_or(UniqueLayers::None)),
            (asked, None) => Ok(asked.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_cod_is_not_dropped_where_it_was_asked_for() {
        let five = NonZeroUsize::new(5);
        for asked in [UniqueLayers::All, UniqueLayers::Best] {
            let refused = UniqueLayers::planned(Some(asked), five).unwrap_err();
            assert!(refused.to_string().contains("--unique") && refused.code() == Code::Fl02, "{refused}");
        }
        assert_eq!(UniqueLayers::planned(None, five).unwrap(), UniqueLayers::None);
        assert_eq!(UniqueLayers::planned(Some(UniqueLayers::None), five).unwrap(), UniqueLayers::None);
        assert_eq!(UniqueLayers::planned(None, None).unwrap(), UniqueLayers::Best);
        assert_eq!(UniqueLayers::planned(Some(UniqueLayers::All), None).unwrap(), UniqueLayers::All);
    }
}
