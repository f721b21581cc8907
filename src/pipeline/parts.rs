//! Vectors of parts of texts: of every word, or of every segment, each within a context.
//!
//! A context is a stretch of the text that holds the part; it runs through the checkpoint by itself, and the part's
//! vector is the mean over the states of its own tokens there: those whose characters, by the tokenizer's offsets,
//! overlap the part's. Equal contexts run once.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::states::{Extraction, Pooled, Wanted, extract_wanted};
use crate::compute::device::Offload;
use crate::encoder::{Checkpoint, Context, LongText, Tokens};
use crate::error::{Code, Error, Result, Warning};
use crate::ids::Layer;
use crate::io::bounded;
use crate::io::table::{Output, OutputTable, Table};
use crate::store::StateCache;
use crate::watch::Watch;

/// What stands between segments in a table.
const SEPARATOR: &str = "|||";

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// Which text.
    text: usize,
    /// Its number within the text.
    number: usize,
    /// Its bytes in the text.
    bytes: Range<usize>,
    /// The bytes of its context.
    context: Range<usize>,
}

/// Texts and the parts of them that get vectors.
#[derive(Debug)]
pub(super) struct Parts {
    /// `word` or `segment`.
    kind: &'static str,
    texts: Vec<String>,
    parts: Vec<Part>,
    /// The context of words.
    context: Option<Context>,
}

/// Parts in the tokens of a checkpoint.
#[derive(Debug)]
pub(super) struct Places {
    /// The tokens of every distinct context.
    pub tokens: Arc<Vec<Tokens>>,
    /// For each context the tokens that its vectors are the means of.
    wanted: Vec<Vec<Vec<usize>>>,
    /// For each part its context and its vector there.
    vector_of: Vec<(usize, usize)>,
    /// What the user must know.
    pub warnings: Vec<Warning>,
}

impl Places {
    /// The vector of every part at every layer.
    pub fn vectors(
        &self,
        checkpoint: &Checkpoint,
        layers: &[Layer],
        offload: Option<&Offload>,
        cache: Option<&StateCache>,
        watch: &dyn Watch,
    ) -> Result<Extraction> {
        let wanted = Wanted::Means(&self.wanted);
        let mut found = extract_wanted(checkpoint, &self.tokens, wanted, layers, offload, cache, watch)?;
        let mut total = 0;
        let begins: Vec<usize> = self
            .wanted
            .iter()
            .map(|vectors| {
                total += vectors.len();
                total - vectors.len()
            })
            .collect();
        let width = checkpoint.width();
        let spread = |pooled: Pooled| {
            let mut vectors = Vec::with_capacity(self.vector_of.len() * width);
            for (context, vector) in &self.vector_of {
                let at = (begins[*context] + vector) * width;
                vectors.extend_from_slice(&pooled.vectors[at..at + width]);
            }
            Pooled { layer: pooled.layer, vectors }
        };
        found.layers = found.layers.into_iter().map(spread).collect();
        Ok(found)
    }
}

impl Parts {
    /// Every word (what stands between white space) of every text.
    ///
    /// # Errors
    /// All texts without a word.
    pub fn words(texts: Vec<String>, context: Context) -> std::result::Result<Parts, Vec<Error>> {
        let (mut parts, mut problems) = (Vec::new(), Vec::new());
        for (text, content) in texts.iter().enumerate() {
            let words = words(content);
            if words.is_empty() {
                problems.push(Error::new(Code::Sc03, format!("text {}", text + 1), "is blank").expected("words"));
            }
            parts.extend(Parts::spans(text, content, &words, context));
        }
        if problems.is_empty() {
            Ok(Parts { kind: "word", texts, parts, context: Some(context) })
        } else {
            Err(problems)
        }
    }

    /// The words of one text, as a table lists them.
    pub fn listed(words: &[String], context: Context) -> Parts {
        let mut text = String::new();
        let mut spans = Vec::with_capacity(words.len());
        for word in words {
            if !text.is_empty() {
                text.push(' ');
            }
            spans.push(text.len()..text.len() + word.len());
            text.push_str(word);
        }
        let parts = Parts::spans(0, &text, &spans, context);
        Parts { kind: "word", texts: vec![text], parts, context: Some(context) }
    }

    /// Words at `spans` of a text, with their contexts.
    fn spans(text: usize, content: &str, spans: &[Range<usize>], context: Context) -> Vec<Part> {
        let sentences = sentences(content, spans);
        let part = |(number, bytes): (usize, &Range<usize>)| {
            let context = match context {
                Context::Full => 0..content.len(),
                Context::Sentence => sentences[number].clone(),
                Context::Causal(n) => spans[(number + 1).saturating_sub(n)].start..bytes.end,
            };
            Part { text, number, bytes: bytes.clone(), context }
        };
        spans.iter().enumerate().map(part).collect()
    }

    /// Every segment, each with the text before it as its context. Segments are trimmed and joined by single spaces.
    ///
    /// # Errors
    /// All texts without a segment, and all blank segments.
    pub fn segments(texts: &[Vec<String>]) -> std::result::Result<Parts, Vec<Error>> {
        let (mut parts, mut problems, mut joined) = (Vec::new(), Vec::new(), Vec::new());
        for (text, segments) in texts.iter().enumerate() {
            let name = format!("text {}", text + 1);
            if segments.is_empty() {
                problems.push(Error::new(Code::Sc01, &name, "holds no segment").expected("at least one"));
            }
            let mut whole = String::new();
            for (number, segment) in segments.iter().map(|s| s.trim()).enumerate() {
                if segment.is_empty() {
                    problems.push(
                        Error::new(Code::Sc03, format!("{name}, segment {}", number + 1), "is blank")
                            .expected("a segment with characters"),
                    );
                }
                if number > 0 {
                    whole.push(' ');
                }
                let start = whole.len();
                whole.push_str(segment);
                parts.push(Part { text, number, bytes: start..whole.len(), context: 0..whole.len() });
            }
            joined.push(whole);
        }
        if problems.is_empty() {
            Ok(Parts { kind: "segment", texts: joined, parts, context: None })
        } else {
            Err(problems)
        }
    }

    /// Number of parts.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Number of texts.
    pub fn n_texts(&self) -> usize {
        self.texts.len()
    }

    fn name(&self, part: &Part) -> String {
        format!("text {}, {} {}", part.text + 1, self.kind, part.number + 1)
    }

    fn string(&self, part: &Part) -> &str {
        &self.texts[part.text][part.bytes.clone()]
    }

    /// Whether vectors depend on words behind their own.
    fn sees_future(&self, checkpoint: &Checkpoint) -> bool {
        matches!(self.context, Some(Context::Full | Context::Sentence)) && !checkpoint.is_causal()
    }

    /// Where every part stands in the tokens of its context.
    ///
    /// # Errors
    /// All contexts that cannot be encoded and all parts without tokens.
    pub fn places(&self, checkpoint: &Checkpoint, long: LongText) -> std::result::Result<Places, Vec<Error>> {
        // Every distinct context once, named after the first part that needs it.
        let (mut contexts, mut names, mut known) = (Vec::<&str>::new(), Vec::<String>::new(), HashMap::new());
        let context_of: Vec<usize> = self
            .parts
            .iter()
            .map(|part| {
                let context = &self.texts[part.text][part.context.clone()];
                *known.entry(context).or_insert_with(|| {
                    contexts.push(context);
                    names.push(self.name(part));
                    contexts.len() - 1
                })
            })
            .collect();
        let short: Vec<&str> = names.iter().map(String::as_str).collect();
        let tokens = checkpoint.tokenize_long(&contexts, &short, long)?;
        let spans: Vec<Spans> = tokens.iter().map(Spans::new).collect();

        // Every distinct place in a context once.
        let mut wanted: Vec<Vec<Vec<usize>>> = vec![Vec::new(); contexts.len()];
        let (mut places, mut problems, mut cut) = (HashMap::new(), Vec::new(), None);
        let mut vector_of: Vec<(usize, usize)> = Vec::with_capacity(self.parts.len());
        for (part, context) in self.parts.iter().zip(context_of) {
            let own = part.bytes.start - part.context.start..part.bytes.end - part.context.start;
            let found = spans[context].within(&own);
            if tokens[context].dropped > 0 && own.end > spans[context].end() {
                if cut.replace(part.text) != Some(part.text) {
                    problems.push(
                        Error::new(Code::Tk05, self.place(part), "lies behind the tokens that truncation keeps")
                            .hint("Choose --long-text window, or a shorter context"),
                    );
                }
            } else if found.is_empty() {
                problems.push(
                    Error::new(
                        Code::Tk04,
                        self.place(part),
                        format!("yields no token in {:?}", checkpoint.record().label),
                    )
                    .hint("Remove it from the text, or join it to a neighbour"),
                );
            }
            let vectors = &mut wanted[context];
            let vector = *places.entry((context, own.start, own.end)).or_insert_with(|| {
                vectors.push(found);
                vectors.len() - 1
            });
            vector_of.push((context, vector));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut warnings: Vec<Warning> = checkpoint.long_texts(&tokens, &short).into_iter().collect();
        if let Some(context) = self.context.filter(|_| self.sees_future(checkpoint)) {
            let label = &checkpoint.record().label;
            warnings.push(Warning::new(
                "CT-01",
                format!("{label:?} is bidirectional: in context {context} the vectors of words depend on the words behind them; causal:N does not let them"),
            ));
        }
        Ok(Places { tokens: Arc::new(tokens), wanted, vector_of, warnings })
    }

    fn place(&self, part: &Part) -> String {
        format!("{} ({:?})", self.name(part), self.string(part))
    }

    /// `rows.csv`: which row of the features is which part, by its characters (Unicode code points) in the text. Where
    /// vectors depend on words behind their own, a column `sees_future` says so.
    pub fn write_rows(&self, checkpoint: &Checkpoint, folder: &Path) -> Result<()> {
        let integers = |of: &dyn Fn(&Part) -> usize| Output::Integer(self.parts.iter().map(|p| of(p) as i64).collect());
        let (mut starts, mut ends) = (Vec::with_capacity(self.len()), Vec::with_capacity(self.len()));
        let (mut text, mut byte, mut character) = (usize::MAX, 0, 0);
        for part in &self.parts {
            if part.text != text {
                (text, byte, character) = (part.text, 0, 0);
            }
            for (at, found) in [(part.bytes.start, &mut starts), (part.bytes.end, &mut ends)] {
                character += self.texts[text][byte..at].chars().count();
                byte = at;
                found.push(character as i64);
            }
        }
        let mut table = OutputTable::new(vec![
            ("row", Output::Integer((0..self.len() as i64).collect())),
            ("text", integers(&|p| p.text)),
            (self.kind, integers(&|p| p.number)),
            ("string", Output::Text(self.parts.iter().map(|p| self.string(p).to_owned()).collect())),
            ("start", Output::Integer(starts)),
            ("end", Output::Integer(ends)),
        ]);
        if let Some(context) = self.context {
            table.push("context".to_owned(), Output::Text(vec![context.to_string(); self.len()]));
        }
        if self.sees_future(checkpoint) {
            table.push("sees_future".to_owned(), Output::Text(vec!["yes".to_owned(); self.len()]));
        }
        table.write_csv(&folder.join("rows.csv"))
    }
}

/// Where the tokens of a context stand in it.
struct Spans(Vec<(usize, usize, usize)>);

impl Spans {
    fn new(tokens: &Tokens) -> Spans {
        let spans = tokens.offsets.iter().zip(&tokens.special).enumerate();
        let mut spans: Vec<_> = spans
            .filter(|(_, ((start, end), special))| !**special && start < end)
            .map(|(token, ((start, end), _))| (*start, *end, token))
            .collect();
        spans.sort_unstable();
        Spans(spans)
    }

    /// The tokens that overlap these bytes.
    fn within(&self, bytes: &Range<usize>) -> Vec<usize> {
        let from = self.0.partition_point(|(_, end, _)| *end <= bytes.start);
        let overlap = self.0[from..].iter().take_while(|(start, _, _)| *start < bytes.end);
        overlap.filter(|(_, end, _)| *end > bytes.start).map(|(_, _, token)| *token).collect()
    }

    /// Where the last token ends.
    fn end(&self) -> usize {
        self.0.last().map_or(0, |(_, end, _)| *end)
    }
}

/// The bytes of what stands between white space.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, character) in text.char_indices().chain([(text.len(), ' ')]) {
        match (start, character.is_whitespace()) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                words.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    words
}

/// For each word the bytes of its sentence.
fn sentences(text: &str, words: &[Range<usize>]) -> Vec<Range<usize>> {
    let ends = |word: &&Range<usize>| text[..word.end].ends_with(['.', '!', '?']);
    words
        .split_inclusive(|word| ends(&word))
        .flat_map(|sentence| {
            let bytes = sentence[0].start..sentence[sentence.len() - 1].end;
            std::iter::repeat_n(bytes, sentence.len())
        })
        .collect()
}

/// The segments of a file: a `.json` list of lists, or a table whose column `segments` holds them, `|||` between them.
pub(super) fn read_segments(path: &Path) -> Result<Vec<Vec<String>>> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let texts: Vec<Vec<String>> = match extension.as_str() {
        "json" => {
            let (text, _) = bounded::read_text(path, bounded::MAX_DOCUMENT_BYTES, "a list of texts", Code::Sc06)?;
            serde_json::from_str(&text).map_err(|e| {
                Error::new(Code::Sc01, path.display(), format!("is no list of lists of segments: {e}"))
                    .expected("[[\"…\", \"…\"], [\"…\"]]")
                    .source(e)
            })?
        }
        "txt" => {
            return Err(Error::new(Code::Sc01, path.display(), "has no segments")
                .expected("a .json list of lists of strings, or a table with a column `segments`, ||| between them"));
        }
        _ => {
            let cells = Table::read(path)?.required_texts("segments")?;
            cells.iter().map(|cell| cell.split(SEPARATOR).map(str::to_owned).collect()).collect()
        }
    };
    if texts.is_empty() {
        return Err(Error::new(Code::Sc01, path.display(), "holds no text").expected("at least one"));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str, context: Context) -> Vec<(String, String)> {
        let parts = Parts::words(vec![text.to_owned()], context).unwrap();
        let of = |range: &Range<usize>| text[range.clone()].to_owned();
        parts.parts.iter().map(|p| (of(&p.bytes), of(&p.context))).collect()
    }

    #[test]
    fn contexts_hold_their_words() {
        let text = " Naïve  cats? Yes.\u{2003}No 3.5 ";
        let contexts = |context| strings(text, context).into_iter().map(|(_, c)| c).collect::<Vec<_>>();
        let words: Vec<String> = strings(text, Context::Full).into_iter().map(|(w, _)| w).collect();
        assert_eq!(words, ["Naïve", "cats?", "Yes.", "No", "3.5"]);
        assert!(contexts(Context::Full).iter().all(|c| c == text));
        assert_eq!(contexts(Context::Sentence), ["Naïve  cats?", "Naïve  cats?", "Yes.", "No 3.5", "No 3.5"]);
        assert_eq!(contexts(Context::Causal(2)), ["Naïve", "Naïve  cats?", "cats? Yes.", "Yes.\u{2003}No", "No 3.5"]);
        assert_eq!(contexts(Context::Causal(1)), words);
    }

    #[test]
    fn segments_see_what_was_before() {
        let texts = [vec!["One. ".to_owned(), " Two.".to_owned()]];
        let parts = Parts::segments(&texts).unwrap();
        assert_eq!(parts.texts, ["One. Two."]);
        assert_eq!(parts.parts[1].bytes, 5..9);
        assert_eq!((&parts.parts[0].context, &parts.parts[1].context), (&(0..4), &(0..9)));
    }

    #[test]
    fn tokens_belong_where_they_overlap() {
        let tokens = Tokens {
            ids: vec![0; 6],
            special: vec![true, false, false, false, false, true],
            offsets: vec![(0, 0), (0, 3), (3, 5), (5, 5), (5, 9), (0, 0)],
            ..Tokens::default()
        };
        let spans = Spans::new(&tokens);
        assert_eq!(spans.within(&(0..5)), [1, 2]);
        assert_eq!(spans.within(&(6..9)), [4]);
        assert!(spans.within(&(9..12)).is_empty());
        assert_eq!(spans.end(), 9);
    }
}
