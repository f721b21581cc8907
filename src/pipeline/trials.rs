//! x
use super::preflight::{Findings, Inputs};
use crate::study::{Plan, TrialsPlan};
pub(super) fn read(_: &Plan, _: &TrialsPlan, _: &mut Findings) -> Option<Inputs> { None }
