//! The invented scenarios: thirty stories, each told in four versions that cross what a person has in mind with how it
//! ends.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Number of runs in which the scenarios are shown; a story's versions lie in one run.
pub(super) const RUNS: usize = 5;
/// Scenarios in a run.
pub(super) const RUN_ROWS: usize = STORIES / RUNS * VERSIONS.len();
const STORIES: usize = 30;
const ORDER_SEED: u64 = 11;

/// One row of the stimuli table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scenario {
    /// Row id.
    pub id: String,
    /// What is read.
    pub text: String,
    /// The story that the text is a version of.
    pub group: String,
    /// Which version.
    pub condition: &'static str,
    /// Place in its run, from 1.
    pub position: usize,
}

/// What an action needs to become a scenario. Slots: `{p}` the person, `{he}` their pronoun, `{a}` and `{t}` the other
/// person with either article, `{place}`; a capital first letter (`{He}`, `{A}`, `{T}`) starts a sentence.
struct Action {
    setting: &'static str,
    /// What an innocent and what a malicious person has in mind.
    mind: [&'static str; 2],
    /// A bad and a harmless end. Both follow from either mind.
    outcome: [&'static str; 2],
}

/// The versions of a story: name, mind, outcome.
const VERSIONS: [(&str, usize, usize); 4] = [
    ("accidental_harm", 0, 0),
    ("intentional_harm", 1, 0),
    ("accidental_neutral", 0, 1),
    ("intentional_neutral", 1, 1),
];

const PEOPLE: [(&str, &str); STORIES] = [
    ("Anna", "she"),
    ("Boris", "he"),
    ("Clara", "she"),
    ("David", "he"),
    ("Elena", "she"),
    ("Felix", "he"),
    ("Grace", "she"),
    ("Henry", "he"),
    ("Ines", "she"),
    ("Jonas", "he"),
    ("Karin", "she"),
    ("Leo", "he"),
    ("Maria", "she"),
    ("Nils", "he"),
    ("Olga", "she"),
    ("Paul", "he"),
    ("Rosa", "she"),
    ("Simon", "he"),
    ("Tanja", "she"),
    ("Victor", "he"),
    ("Wanda", "she"),
    ("Yusuf", "he"),
    ("Zoe", "she"),
    ("Adam", "he"),
    ("Bella", "she"),
    ("Carlo", "he"),
    ("Dina", "she"),
    ("Emil", "he"),
    ("Fatima", "she"),
    ("Georg", "he"),
];

const OTHERS: [&str; 10] =
    ["colleague", "neighbour", "visitor", "student", "friend", "stranger", "cousin", "nurse", "guest", "driver"];

const PLACES: [&str; 8] = [
    "at the library",
    "at the office",
    "at the school",
    "at the museum",
    "at the station",
    "at the hotel",
    "at the harbour",
    "at the clinic",
];

/// A first sentence, for some stories.
const OPENERS: [Option<&str>; 4] = [None, Some("It is a rainy morning."), None, Some("It is late in the afternoon.")];

/// A last sentence, for some scenarios without a first one.
const CLOSERS: [Option<&str>; 4] =
    [None, Some("Nobody else notices."), None, Some("The two of them talk about it for a long time afterwards.")];

const ACTIONS: [Action; 15] = [
    Action {
        setting: "{p} carries a cup of hot coffee past {a} {place}.",
        mind: ["The floor is wet, but {he} has no idea of that.", "{He} is angry and wants to spoil the work of {t}."],
        outcome: [
            "The cup tips over, and the coffee ruins a week of work.",
            "The cup tips over, but only a few drops land on the table.",
        ],
    },
    Action {
        setting: "{p} brings a cake and offers a slice to {a} {place}.",
        mind: [
            "{He} believes that there are no nuts in it.",
            "{He} knows about the allergy and has added nuts on purpose.",
        ],
        outcome: ["{T} eats the slice and falls ill.", "{T} eats the slice and feels fine."],
    },
    Action {
        setting: "{p} holds the ladder for {a} {place}.",
        mind: ["A bolt is loose, and nobody has told {p}.", "{He} has loosened a bolt because of an old quarrel."],
        outcome: ["The ladder gives way, and {t} sprains an ankle.", "The ladder holds, and {t} climbs down safely."],
    },
    Action {
        setting: "{p} has to pass on a message to {a} {place}.",
        mind: [
            "{He} mixes up the hours and writes down the wrong time.",
            "{He} writes down the wrong time so that {t} comes too late.",
        ],
        outcome: [
            "{T} misses the meeting and loses the contract.",
            "The meeting starts late, and {t} is there before it begins.",
        ],
    },
    Action {
        setting: "{p} borrows a camera from {a} {place}.",
        mind: ["{He} is sure that the strap is fastened.", "{He} envies {t} and unfastens the strap."],
        outcome: ["The camera drops onto the stones and breaks.", "The camera drops onto a cushion and still works."],
    },
    Action {
        setting: "{p} repairs the bicycle of {a} {place}.",
        mind: ["{He} thinks that the brakes are tight.", "{He} leaves the brakes loose to teach {t} a lesson."],
        outcome: ["{T} cannot stop in time and rides into a fence.", "{T} tries the brakes first and walks home."],
    },
    Action {
        setting: "{p} tells a story about {a} {place}.",
        mind: [
            "{He} does not know that it was told in confidence.",
            "{He} wants everyone to hear what was told in confidence.",
        ],
        outcome: ["The rumour spreads, and {t} is deeply hurt.", "No one listens, and the story is soon forgotten."],
    },
    Action {
        setting: "{p} tidies a computer {place} on which {a} keeps a report.",
        mind: ["{He} takes the report for an old copy.", "{He} hopes that the report of {t} will never be read."],
        outcome: [
            "The report is deleted, and there is no other one.",
            "The report is deleted, but another copy turns up the same day.",
        ],
    },
    Action {
        setting: "{p} locks up for the night {place} while {a} is in the cellar.",
        mind: ["{He} believes that everyone has gone home.", "{He} hears steps below and turns the key all the same."],
        outcome: ["{T} spends a cold night in the dark.", "{T} has a second key and leaves a minute later."],
    },
    Action {
        setting: "{p} looks after the plants of {a} {place}.",
        mind: [
            "{He} takes the bottle on the shelf for water.",
            "{He} takes the bottle on the shelf for vinegar and pours it all out.",
        ],
        outcome: ["By Friday all of the plants are dead.", "By Friday all of the plants are in bloom."],
    },
    Action {
        setting: "{p} fetches a chair for {a} {place}.",
        mind: ["{He} does not see the crack in one leg.", "{He} sees the crack in one leg and smiles."],
        outcome: ["The chair collapses, and {t} is bruised.", "The chair creaks, but it bears the weight."],
    },
    Action {
        setting: "{p} picks up an umbrella {place} where {a} has left it.",
        mind: ["It looks exactly like {p}'s own.", "{He} knows very well whose it is."],
        outcome: ["{T} walks home in the rain and catches a cold.", "The rain stops, and {t} walks home in the sun."],
    },
    Action {
        setting: "{A} asks {p} for the way {place}.",
        mind: ["{He} honestly recalls a road to the left.", "{He} points to the wrong road just for fun."],
        outcome: [
            "{T} gets lost and misses an important appointment.",
            "The road turns out to be a short cut, and {t} arrives early.",
        ],
    },
    Action {
        setting: "{p} paints a bench {place} before {a} comes along.",
        mind: ["{He} trusts that the warning sign is still up.", "{He} takes down the warning sign and waits."],
        outcome: ["{T} sits down and ruins a new coat.", "{T} smells the paint and keeps standing."],
    },
    Action {
        setting: "{p} lends a charger to {a} {place}.",
        mind: ["{He} has never heard that it is faulty.", "{He} picks the faulty one in revenge."],
        outcome: [
            "The phone overheats, and all of the pictures are lost.",
            "The phone charges slowly, but nothing is lost.",
        ],
    },
];

/// All scenarios in the order in which they are shown: five runs of six stories, the versions of a run shuffled.
pub(super) fn scenarios() -> Vec<Scenario> {
    let mut rng = ChaCha8Rng::seed_from_u64(ORDER_SEED);
    let mut all: Vec<Scenario> = Vec::with_capacity(RUNS * RUN_ROWS);
    for run in 0..RUNS {
        let stories = run * STORIES / RUNS..(run + 1) * STORIES / RUNS;
        let mut rows: Vec<(usize, usize)> =
            stories.flat_map(|story| (0..VERSIONS.len()).map(move |version| (story, version))).collect();
        rows.shuffle(&mut rng);
        all.extend(rows.into_iter().enumerate().map(|(place, (story, version))| Scenario {
            id: format!("s{:03}", run * RUN_ROWS + place + 1),
            text: text(story, version),
            group: format!("story_{:02}", story + 1),
            condition: VERSIONS[version].0,
            position: place + 1,
        }));
    }
    all
}

fn text(story: usize, version: usize) -> String {
    let action = &ACTIONS[story % ACTIONS.len()];
    let (_, mind, outcome) = VERSIONS[version];
    let opener = OPENERS[story / 2 % OPENERS.len()];
    let closer = CLOSERS[(story / 2 + version) % CLOSERS.len()].filter(|_| opener.is_none());
    let parts = [opener, Some(action.setting), Some(action.mind[mind]), Some(action.outcome[outcome]), closer];
    let template = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let (person, pronoun) = PEOPLE[story];
    // Strides without a common divisor, so that both tellings of an action differ in everything else.
    let other = OTHERS[(3 * story + story / ACTIONS.len()) % OTHERS.len()];
    let place = PLACES[(5 * story) % PLACES.len()];
    template
        .replace("{p}", person)
        .replace("{he}", pronoun)
        .replace("{He}", if pronoun == "he" { "He" } else { "She" })
        .replace("{a}", &format!("a {other}"))
        .replace("{A}", &format!("A {other}"))
        .replace("{t}", &format!("the {other}"))
        .replace("{T}", &format!("The {other}"))
        .replace("{place}", place)
}
