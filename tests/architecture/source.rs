//! Rust source as the rules need it: tokens without comments and string contents, what is test code, which module
//! a file is, and which top-level modules it names.

/// A file of `src`, by its path from the repository's root, with `/` between folders.
pub struct Source {
    pub path: String,
    pub text: String,
}

/// A word or a sign of the source. `::` is one sign; a string, byte or character literal is the sign `"`.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// A path as seen from the crate's root, e.g. `["io", "npy", "read"]`. Empty when it is the root itself that gets
/// another name, `["*"]` when all of the root is imported.
#[derive(Debug, PartialEq)]
pub struct Reference {
    pub line: usize,
    pub path: Vec<String>,
}

impl Source {
    /// The module that the file holds: `["io", "npy"]` for `src/io/npy.rs`, `["io"]` for `src/io/mod.rs`.
    pub fn module(&self) -> Vec<String> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        path.strip_suffix("/mod").unwrap_or(path).split('/').map(str::to_owned).collect()
    }

    pub fn tokens(&self) -> Vec<Token> {
        tokens(&self.text)
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Reads `text` into tokens. Rust that does not compile may give nonsense, but never a panic.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut reader = Reader { chars: text.chars().collect(), at: 0, line: 1 };
    let mut found = Vec::new();
    while let Some(c) = reader.peek(0) {
        let line = reader.line;
        let sign = match (c, reader.peek(1)) {
            (c, _) if c.is_whitespace() => {
                reader.skip(1);
                continue;
            }
            ('/', Some('/')) => {
                reader.skip_while(|c| c != '\n');
                continue;
            }
            ('/', Some('*')) => {
                reader.skip_block_comment();
                continue;
            }
            ('"', _) => reader.skip_string(),
            ('\'', _) => match reader.skip_quote() {
                true => "\"".to_owned(),
                false => continue,
            },
            (':', Some(':')) => reader.take(2),
            (c, _) if is_word(c) => {
                let word = reader.take_while(is_word);
                match word.as_str() {
                    "r" | "br" | "cr" if reader.at_raw_string() => reader.skip_raw_string(),
                    "b" | "c" if reader.peek(0) == Some('"') => reader.skip_string(),
                    "r" if reader.peek(0) == Some('#') => {
                        reader.skip(1);
                        reader.take_while(is_word)
                    }
                    _ => word,
                }
            }
            _ => reader.take(1),
        };
        found.push(Token { text: sign, line });
    }
    found
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn take(&mut self, n: usize) -> String {
        let end = (self.at + n).min(self.chars.len());
        let taken: String = self.chars[self.at..end].iter().collect();
        self.line += taken.matches('\n').count();
        self.at = end;
        taken
    }

    fn skip(&mut self, n: usize) {
        self.take(n);
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let n = self.chars[self.at..].iter().take_while(|c| wanted(**c)).count();
        self.take(n)
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        self.take_while(wanted);
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.skip(2);
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.skip(2);
                }
                (Some(_), _) => self.skip(1),
                (None, _) => return,
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// A string with escapes; the reader stands at its opening quote.
    fn skip_string(&mut self) -> String {
        self.skip(1);
        while let Some(c) = self.peek(0) {
            self.skip(if c == '\\' { 2 } else { 1 });
            if c == '"' {
                break;
            }
        }
        "\"".to_owned()
    }

    fn at_raw_string(&self) -> bool {
        self.chars[self.at..].iter().find(|c| **c != '#') == Some(&'"')
    }

    /// A raw string; the reader stands behind its `r`.
    fn skip_raw_string(&mut self) -> String {
        let hashes = self.take_while(|c| c == '#').len();
        self.skip(1);
        while let Some(c) = self.peek(0) {
            self.skip(1);
            if c == '"' && (0..hashes).all(|i| self.peek(i) == Some('#')) {
                self.skip(hashes);
                break;
            }
        }
        "\"".to_owned()
    }

    /// A character literal (true), or a lifetime or label (false); the reader stands at the quote.
    fn skip_quote(&mut self) -> bool {
        match (self.peek(1), self.peek(2)) {
            (Some('\\'), _) => {
                self.skip(3);
                self.skip_while(|c| c != '\'');
                self.skip(1);
                true
            }
            (Some(_), Some('\'')) => {
                self.skip(3);
                true
            }
            _ => {
                self.skip(1);
                self.skip_while(is_word);
                false
            }
        }
    }
}

fn text_at(tokens: &[Token], i: usize) -> &str {
    tokens.get(i).map_or("", |token| &token.text)
}

/// Whether the tokens from `i` on read as `texts`.
pub fn reads(tokens: &[Token], i: usize, texts: &[&str]) -> bool {
    texts.iter().enumerate().all(|(k, text)| text_at(tokens, i + k) == *text)
}

/// The index behind the bracket that closes the one at `open`.
fn behind_closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// For every token whether it lies in an item under `#[cfg(test)]`, and the names of files that are such modules.
pub fn test_code(tokens: &[Token]) -> (Vec<bool>, Vec<String>) {
    let mut inside = vec![false; tokens.len()];
    let mut files = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        if !reads(tokens, i, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            i += 1;
            continue;
        }
        let start = i;
        while reads(tokens, i, &["#", "["]) {
            i = behind_closing(tokens, i + 1);
        }
        while i < tokens.len() && !["{", ";"].contains(&text_at(tokens, i)) {
            if text_at(tokens, i) == "mod" && text_at(tokens, i + 2) == ";" {
                files.push(text_at(tokens, i + 1).to_owned());
            }
            i = if ["(", "["].contains(&text_at(tokens, i)) { behind_closing(tokens, i) } else { i + 1 };
        }
        i = if text_at(tokens, i) == "{" { behind_closing(tokens, i) } else { i + 1 }.min(tokens.len());
        inside[start..i].fill(true);
    }
    (inside, files)
}

/// Every path in a file of module `module` that starts at `crate`, `super` or `self`, as seen from the crate's root.
pub fn references(module: &[String], tokens: &[Token]) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut here = module.to_vec();
    let mut inline_ends = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        while inline_ends.last().is_some_and(|end| *end <= i) {
            inline_ends.pop();
            here.pop();
        }
        let text = text_at(tokens, i);
        if text == "mod" && text_at(tokens, i + 2) == "{" {
            inline_ends.push(behind_closing(tokens, i + 2));
            here.push(text_at(tokens, i + 1).to_owned());
            i += 3;
        } else if ["crate", "super", "self"].contains(&text)
            && ["::", "as"].contains(&text_at(tokens, i + 1))
            && (i == 0 || text_at(tokens, i - 1) != "::")
        {
            i = follow(tokens, i, (here.clone(), tokens[i].line), &mut found);
        } else {
            i += 1;
        }
    }
    found
}

/// Follows a path or a tree of paths from `base` (and the line where its first module stands) on; returns the index
/// behind it.
fn follow(tokens: &[Token], mut i: usize, base: (Vec<String>, usize), found: &mut Vec<Reference>) -> usize {
    let (mut path, mut line) = base;
    loop {
        match text_at(tokens, i) {
            "{" => {
                let end = behind_closing(tokens, i);
                i += 1;
                while i + 1 < end {
                    i = follow(tokens, i, (path.clone(), line), found);
                    while i + 1 < end && text_at(tokens, i) != "," {
                        i += 1;
                    }
                    i += 1;
                }
                return end;
            }
            "crate" => path.clear(),
            "super" => {
                path.pop();
            }
            "self" => {}
            word if word == "*" || word.starts_with(is_word) => {
                if path.is_empty() {
                    line = tokens[i].line;
                }
                path.push(word.to_owned());
            }
            _ => break,
        }
        i += 1;
        if text_at(tokens, i) != "::" {
            break;
        }
        i += 1;
    }
    found.push(Reference { line, path });
    i
}
