//! What went wrong, where, and what to do about it.
//!
//! Every error names a place, what was found there, what was expected and what to do, and carries a stable code
//! (`SC-02`, `ST-08`, …) whose first letters say which kind of input it is about. The code decides the exit status.

use std::cell::Cell;
use std::error::Error as StdError;
use std::fmt;

/// The result of anything that can fail for one reason.
pub type Result<T> = std::result::Result<T, Error>;

/// Exit status classes of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Finished, but some units failed.
    Partial,
    /// The command line does not make sense.
    Usage,
    /// An input was refused.
    Input,
    /// Disk, memory or permissions.
    Environment,
    /// A card that was asked for is missing, or failed.
    Device,
    /// A defect of this program.
    Bug,
    /// Stopped by the user (SIGINT).
    Interrupted,
    /// Stopped by the system (SIGTERM).
    Terminated,
}

impl Status {
    /// The process exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Status::Partial => 1,
            Status::Usage => 2,
            Status::Input => 3,
            Status::Environment => 4,
            Status::Device => 5,
            Status::Bug => 70,
            Status::Interrupted => 130,
            Status::Terminated => 143,
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $text:literal, $status:ident, $title:literal;)*) => {
        /// Stable error codes. A code is never reused for another meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $title] $variant,)* }

        impl Code {
            /// All codes, in the order of their families.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The code as printed, e.g. `SC-02`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// One line that says what the code means.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }

            /// The exit status class that this code leads to.
            pub fn status(self) -> Status {
                match self { $(Code::$variant => Status::$status,)* }
            }
        }
    };
}

codes! {
    St01 = "ST-01", Input, "a safetensors file is empty or shorter than its header";
    St02 = "ST-02", Input, "a safetensors header reaches beyond the file";
    St03 = "ST-03", Input, "a weights file holds pickle or zip bytes under a safetensors name";
    St04 = "ST-04", Input, "a weights file is a Git-LFS pointer or a web page";
    St05 = "ST-05", Input, "a safetensors file is damaged (overlap, hole, trailing bytes, bad header)";
    St06 = "ST-06", Input, "a tensor name stands twice in one file";
    St07 = "ST-07", Input, "tensors that the architecture needs are absent";
    St08 = "ST-08", Input, "a tensor's shape disagrees with the configuration";
    St09 = "ST-09", Input, "a tensor's number type cannot be used as a weight";
    St10 = "ST-10", Input, "a weight is NaN or infinite";
    St11 = "ST-11", Input, "the list of shards cannot be used";
    St13 = "ST-13", Input, "a pickle holds more than tensors and plain values, or is damaged";
    St14 = "ST-14", Input, "a checkpoint folder holds no weights file that can be read";
    St15 = "ST-15", Input, "an adapter cannot be merged";
    Cf01 = "CF-01", Input, "config.json is missing or is no JSON object";
    Cf02 = "CF-02", Input, "config.json holds a key twice";
    Cf03 = "CF-03", Input, "the model type is not supported";
    Cf04 = "CF-04", Input, "a configuration key is missing or has the wrong type";
    Cf05 = "CF-05", Input, "configured sizes are impossible";
    Cf06 = "CF-06", Input, "a setting that changes results is not implemented";
    Tk01 = "TK-01", Input, "no readable tokenizer";
    Tk02 = "TK-02", Input, "a token id has no embedding row";
    Tk03 = "TK-03", Input, "the tokenizer adds no special tokens where the model needs them";
    Tk04 = "TK-04", Input, "a stimulus yields no token";
    Tk05 = "TK-05", Input, "a stimulus is longer than the model allows";
    Ck01 = "CK-01", Input, "a checkpoint does not exist or is no folder";
    Ck02 = "CK-02", Environment, "a checkpoint could not be downloaded";
    Ck03 = "CK-03", Input, "what a list says of a checkpoint is impossible";
    Sc01 = "SC-01", Input, "a table is empty or lacks a column";
    Sc02 = "SC-02", Input, "an id stands twice";
    Sc03 = "SC-03", Input, "a text is blank";
    Sc05 = "SC-05", Input, "a quoted field is never closed";
    Sc06 = "SC-06", Input, "a table is not UTF-8";
    Sc08 = "SC-08", Input, "a table is larger than allowed";
    Sc09 = "SC-09", Input, "a row has another number of fields than the header";
    Sc10 = "SC-10", Input, "a column name stands twice";
    Sc11 = "SC-11", Input, "a cell that must be a number is none";
    Rs01 = "RS-01", Input, "an array holds Python objects";
    Rs02 = "RS-02", Input, "an array has the wrong number of dimensions or is empty";
    Rs03 = "RS-03", Input, "an array claims more data than its file holds";
    Rs04 = "RS-04", Input, "an array file is damaged";
    Rs06 = "RS-06", Input, "an array holds no real numbers";
    Rs07 = "RS-07", Input, "responses and stimuli do not belong together";
    Rs08 = "RS-08", Input, "responses are missing, NaN, infinite or no numbers";
    Rs09 = "RS-09", Input, "every target is constant";
    Rs10 = "RS-10", Input, "an archive of arrays is damaged, or does not hold one array";
    Rs11 = "RS-11", Input, "a Parquet file cannot be used";
    Rs12 = "RS-12", Input, "there are fewer rows or groups than the folds need";
    Rs13 = "RS-13", Input, "an archive of a run is damaged or lacks a part";
    Ni01 = "NI-01", Input, "an image is no NIfTI file";
    Ni04 = "NI-04", Input, "a compressed image is damaged";
    Ni05 = "NI-05", Input, "an image is cut short";
    Ni07 = "NI-07", Input, "bytes follow an image's last volume";
    Ni08 = "NI-08", Input, "an image's extents are impossible";
    Ni09 = "NI-09", Input, "an image claims more than its file can hold or memory takes";
    Ni10 = "NI-10", Input, "an image's voxel type and size disagree";
    Ni11 = "NI-11", Input, "the place where an image's voxels start is impossible";
    Ni13 = "NI-13", Input, "an image's header extension is damaged";
    Ni14 = "NI-14", Input, "an image's slope or intercept is not finite";
    Ni15 = "NI-15", Input, "an image holds no real numbers";
    Ni16 = "NI-16", Input, "an image has the wrong number of axes";
    Ni17 = "NI-17", Input, "where an image's voxels lie is not known";
    Ni18 = "NI-18", Input, "the time between volumes is unknown or contradicted";
    Ni19 = "NI-19", Input, "an image holds NaN or infinite values where they count";
    Ni20 = "NI-20", Input, "a run is constant or a mask is empty";
    Ni21 = "NI-21", Input, "two images do not overlap";
    Gi01 = "GI-01", Input, "a file is no GIFTI document";
    Gi02 = "GI-02", Input, "an array of a GIFTI file is damaged";
    Gi03 = "GI-03", Input, "a GIFTI file holds no surface";
    Ev01 = "EV-01", Input, "an events file is empty or lacks a column";
    Ev02 = "EV-02", Input, "an events file is not separated by tabs";
    Ev03 = "EV-03", Input, "an events file is no clean table";
    Ev04 = "EV-04", Input, "an event's time is no number";
    Ev05 = "EV-05", Input, "a word or event ends before it begins";
    Ev06 = "EV-06", Input, "no word or event lies within the run";
    Ev08 = "EV-08", Input, "a trial's text is not among the stimuli";
    Ev09 = "EV-09", Input, "an events file is not UTF-8";
    Ev12 = "EV-12", Input, "a TextGrid cannot be used";
    Bo01 = "BO-01", Input, "a confounds table does not belong to its run";
    Bo02 = "BO-02", Input, "a run has too few volumes for the cleaning that was asked for";
    Ro01 = "RO-01", Input, "an atlas has another number of maps than labels";
    Ro02 = "RO-02", Input, "an atlas label is empty or stands twice";
    Ro03 = "RO-03", Input, "an ROI lies outside the atlas";
    Ro04 = "RO-04", Input, "an image is no atlas";
    Ro05 = "RO-05", Input, "an ROI is empty";
    Ro07 = "RO-07", Input, "too many maps of an atlas are empty where the data are";
    Ro09 = "RO-09", Input, "the maps of an atlas are not the targets";
    Ro10 = "RO-10", Input, "ROIs cannot be used as they are written";
    Ns01 = "NS-01", Input, "a database of studies lacks a file, a feature or a term";
    Ns02 = "NS-02", Input, "parts of a database of studies do not belong together";
    Ns03 = "NS-03", Input, "a file of a database of studies is damaged";
    Ns04 = "NS-04", Input, "a selection of studies leaves nothing to compare";
    At01 = "AT-01", Environment, "a file that was fetched is not what it should be";
    At02 = "AT-02", Environment, "a file could not be fetched";
    At03 = "AT-03", Input, "an address is not encrypted";
    At04 = "AT-04", Input, "a registry of atlases cannot be used";
    Rc01 = "RC-01", Input, "the study file cannot be understood";
    Rc02 = "RC-02", Input, "the alpha grid is impossible";
    Rc03 = "RC-03", Input, "the folds are impossible";
    Rc04 = "RC-04", Input, "two checkpoints have one label";
    Rc05 = "RC-05", Input, "leaky folds were asked for and not allowed";
    Rc06 = "RC-06", Input, "a setting of the tests is out of range";
    Sj01 = "SJ-01", Input, "subjects cannot be compared by group";
    Od01 = "OD-01", Environment, "the output directory holds something else";
    Od02 = "OD-02", Environment, "the output place cannot be written";
    Od03 = "OD-03", Usage, "the output lies inside an input or holds one";
    Od05 = "OD-05", Input, "an input is missing, unreadable or no regular file";
    Od06 = "OD-06", Environment, "another run is writing to this output directory";
    Od07 = "OD-07", Environment, "the unfinished run at the output place has another plan";
    Od08 = "OD-08", Environment, "units of an unfinished run are missing";
    Fl01 = "FL-01", Device, "the device that was asked for is not there";
    Fl02 = "FL-02", Usage, "a flag's value is out of range";
    Rr01 = "RR-01", Input, "run.json cannot be read back";
    Rr02 = "RR-02", Input, "runs cannot be merged into one comparison";
    Io01 = "IO-01", Environment, "reading or writing failed";
    In01 = "IN-01", Environment, "an input changed while the run was reading it";
    Nu01 = "NU-01", Environment, "a computation overflowed or did not converge";
    Gp01 = "GP-01", Device, "a card has too little memory";
    Gp02 = "GP-02", Device, "a card or its libraries failed";
    Gp03 = "GP-03", Device, "the kernels cannot be compiled";
    Ix01 = "IX-01", Interrupted, "interrupted by the user";
    Ix02 = "IX-02", Terminated, "terminated by the system";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One problem: `PLACE: what was found; what was expected. What to do. [CODE]`
pub struct Error(Box<Inner>);

struct Inner {
    code: Code,
    place: String,
    found: String,
    expected: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A problem with `code` at `place` (a file, a line of it, a flag), saying what was found there.
    pub fn new(code: Code, place: impl fmt::Display, found: impl fmt::Display) -> Self {
        Error(Box::new(Inner {
            code,
            place: place.to_string(),
            found: found.to_string(),
            expected: None,
            hint: None,
            source: None,
        }))
    }

    /// Says what was expected instead.
    pub fn expected(mut self, what: impl fmt::Display) -> Self {
        self.0.expected = Some(what.to_string());
        self
    }

    /// Says what the user can do.
    pub fn hint(mut self, what: impl fmt::Display) -> Self {
        self.0.hint = Some(what.to_string());
        self
    }

    /// Keeps the underlying cause.
    pub fn source(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(cause.into());
        self
    }

    /// The same problem under the code of a more particular kind of input.
    pub fn under(mut self, code: Code) -> Self {
        self.0.code = code;
        self
    }

    /// Says what was being computed; problems that are not of computing say by themselves where they lie.
    pub fn computing(mut self, what: impl fmt::Display) -> Self {
        if self.0.code == Code::Nu01 {
            self.0.place = format!("{what}: {}", self.0.place);
        }
        self
    }

    /// An operating-system error while doing something to `place`.
    pub fn io(place: impl fmt::Display, doing: &str, cause: std::io::Error) -> Self {
        let code = match cause.kind() {
            std::io::ErrorKind::NotFound => Code::Od05,
            _ => Code::Io01,
        };
        Error::new(code, place, format!("{doing} failed: {cause}")).source(cause)
    }

    /// The message without its code, for places that show the code by itself.
    pub fn message(&self) -> String {
        let text = self.to_string();
        text.strip_suffix(&format!(" [{}]", self.0.code)).unwrap_or(&text).to_owned()
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Where the problem lies.
    pub fn place(&self) -> &str {
        &self.0.place
    }

    /// The exit status class.
    pub fn status(&self) -> Status {
        self.0.code.status()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        write!(f, "{}: {}", inner.place, inner.found)?;
        if let Some(expected) = &inner.expected {
            write!(f, "; expected {expected}")?;
        }
        f.write_str(".")?;
        if let Some(hint) = &inner.hint {
            write!(f, " {hint}")?;
            if !hint.ends_with(['.', '?']) {
                f.write_str(".")?;
            }
        }
        write!(f, " [{}]", inner.code)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|s| s.as_ref() as &(dyn StdError + 'static))
    }
}

/// Everything that is wrong with a run, found before anything was computed. Never empty.
#[derive(Debug)]
pub struct Problems(Vec<Error>);

impl Problems {
    /// All problems, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        self.0.iter()
    }

    /// `Ok` when the list is empty.
    pub fn check(list: Vec<Error>) -> std::result::Result<(), Problems> {
        if list.is_empty() { Ok(()) } else { Err(Problems(list)) }
    }

    /// Problems from a list that holds at least one.
    pub(crate) fn from_list(mut list: Vec<Error>) -> Problems {
        if list.is_empty() {
            list.push(Error::new(Code::Io01, "preflight", "an unnamed problem"));
        }
        Problems(list)
    }

    /// All of them, owned.
    pub(crate) fn into_list(self) -> Vec<Error> {
        self.0
    }

    /// Adds problems.
    pub(crate) fn extend(&mut self, more: impl IntoIterator<Item = Error>) {
        self.0.extend(more);
    }

    /// The exit status: that of the first problem.
    pub fn status(&self) -> Status {
        self.0.first().map_or(Status::Bug, Error::status)
    }
}

impl From<Error> for Problems {
    fn from(error: Error) -> Self {
        Problems(vec![error])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl StdError for Problems {}

/// Something the user must know although the run goes on. Warnings land in `run.json` and in the report.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Warning {
    /// Stable code, e.g. `SC-04`.
    pub code: String,
    /// What was noticed and what was done about it.
    pub message: String,
}

impl Warning {
    /// A warning with a stable code.
    pub fn new(code: &str, message: impl fmt::Display) -> Self {
        Warning { code: code.to_owned(), message: message.to_string() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code)
    }
}

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs code of others that panics on some of what files hold; nothing when it did. Such a panic is no defect of ours, and is not
/// reported as one ([`is_contained`]).
pub(crate) fn contained<T>(run: impl FnOnce() -> T) -> Option<T> {
    let before = CONTAINED.replace(true);
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    CONTAINED.set(before);
    done.ok()
}

/// Whether a panic of this thread would end in an error of a file. For panic hooks.
#[doc(hidden)]
pub fn is_contained() -> bool {
    CONTAINED.get()
}

/// The first five of `items` for a message, with `…` when there are more.
pub fn first_five<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let mut shown = Vec::new();
    for (i, item) in items.into_iter().enumerate() {
        if i == 5 {
            shown.push("…".to_owned());
            break;
        }
        shown.push(item.to_string());
    }
    shown.join(", ")
}

/// The known name that is nearest to `name`, if any is near enough to be a slip of the pen.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&name.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(distance, k)| *distance <= (k.chars().count().max(3) / 2).min(4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}
