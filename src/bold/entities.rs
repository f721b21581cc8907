use std::path::Path;

/// What a BIDS file name says about a run: `sub-03_ses-1_task-dis_run-01_…`
/// (<https://bids-specification.readthedocs.io>, file name structure). Other prefixes, such as `ds-ds000212_`, are
/// entities like any other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Entities {
    /// `sub-`
    pub subject: Option<String>,
    /// `ses-`
    pub session: Option<String>,
    /// `task-`
    pub task: Option<String>,
    /// `run-`, without leading zeros: `01` and `1` are one run.
    pub run: Option<String>,
    /// `space-`
    pub space: Option<String>,
    /// `desc-`
    pub description: Option<String>,
}

impl Entities {
    /// The entities of a file's name.
    pub fn of(path: &Path) -> Entities {
        let name = crate::io::file_name(path);
        let stem = name.split('.').next().unwrap_or_default();
        let mut found = Entities::default();
        for (key, value) in stem.split('_').filter_map(|part| part.split_once('-')) {
            let value = value.to_owned();
            match key {
                "sub" => found.subject = Some(value),
                "ses" => found.session = Some(value),
                "task" => found.task = Some(value),
                "run" => found.run = Some(without_zeros(&value)),
                "space" => found.space = Some(value),
                "desc" => found.description = Some(value),
                _ => {}
            }
        }
        found
    }

    /// Whether both are of one subject, session, task and run.
    pub fn same_run(&self, other: &Entities) -> bool {
        (&self.subject, &self.session, &self.task, &self.run)
            == (&other.subject, &other.session, &other.task, &other.run)
    }

    /// The run for messages and for lists of runs to leave out: `sub-03_task-dis_run-1`.
    pub fn label(&self) -> String {
        let parts = [("sub", &self.subject), ("ses", &self.session), ("task", &self.task), ("run", &self.run)];
        let named: Vec<String> =
            parts.iter().filter_map(|(key, value)| value.as_ref().map(|v| format!("{key}-{v}"))).collect();
        named.join("_")
    }

    /// Order of runs: by subject, session, task, and number of the run.
    pub fn order(&self) -> (Option<&str>, Option<&str>, Option<&str>, usize, Option<&str>) {
        let number = self.run.as_deref().and_then(|r| r.parse().ok()).unwrap_or(0);
        (self.subject.as_deref(), self.session.as_deref(), self.task.as_deref(), number, self.run.as_deref())
    }
}

fn without_zeros(run: &str) -> String {
    let short = run.trim_start_matches('0');
    if short.is_empty() { run.to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_which_run() {
        let long = Entities::of(Path::new("x/sub-03_task-dis_run-01_space-MNI_desc-preproc_bold.nii.gz"));
        let tar = Entities::of(Path::new("ds-ds000212_sub-03_task-dis_run-1.tar"));
        assert!(long.same_run(&tar), "{long:?} {tar:?}");
        assert_eq!(long.label(), "sub-03_task-dis_run-1");
        assert_eq!((long.space.as_deref(), long.description.as_deref()), (Some("MNI"), Some("preproc")));
        assert!(Entities::of(Path::new("run-2_x.tar")).order() < Entities::of(Path::new("run-10_x.tar")).order());
    }
}
