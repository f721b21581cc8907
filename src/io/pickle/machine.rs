use std::collections::HashMap;
use std::ops::Range;

use super::{Id, Pickle, Value};
use crate::error::{Code, Error, Result};

/// Most values in one pickle: hundreds of times more than a checkpoint of a thousand layers has.
const MAX_VALUES: usize = 1 << 22;

/// Reads the pickle at the start of `bytes`, and says how many bytes it takes.
///
/// `allowed` lists the classes and functions that may be named, as `module name`; `place` and `code` are for messages.
///
/// # Errors
/// A foreign class or function, by name; an unknown instruction; a pickle that is cut short or makes no sense.
pub fn read<'a>(bytes: &'a [u8], allowed: &[&str], place: &str, code: Code) -> Result<(Pickle<'a>, usize)> {
    let mut machine = Machine {
        bytes,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        allowed,
        place,
        code,
    };
    loop {
        if let Some(root) = machine.step()? {
            let Machine { values, at, .. } = machine;
            return Ok((Pickle { bytes, values, root }, at));
        }
    }
}

struct Machine<'a, 'b> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack where marks stand.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    allowed: &'b [&'b str],
    place: &'b str,
    code: Code,
}

impl Machine<'_, '_> {
    fn damaged(&self, what: &str) -> Error {
        Error::new(self.code, self.place, format!("holds a damaged pickle: {what} at byte {}", self.at))
            .expected("a complete Python pickle of protocol 2 to 5")
    }

    fn take(&mut self, n: usize) -> Result<Range<usize>> {
        match self.at.checked_add(n).filter(|end| *end <= self.bytes.len()) {
            Some(end) => {
                let range = self.at..end;
                self.at = end;
                Ok(range)
            }
            None => Err(self.damaged(&format!("{n} more bytes are missing"))),
        }
    }

    /// An unsigned little-endian number of `n` bytes, at most 8.
    fn number(&mut self, n: usize) -> Result<u64> {
        let range = self.take(n)?;
        Ok(self.bytes[range].iter().rev().fold(0, |sum, b| sum << 8 | u64::from(*b)))
    }

    fn counted(&mut self, n: usize) -> Result<Range<usize>> {
        let length = self.number(n)?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn text(&mut self, range: Range<usize>) -> Result<()> {
        // Python writes lone surrogates in a way that is not UTF-8; such a string cannot be a name.
        match std::str::from_utf8(&self.bytes[range.clone()]) {
            Ok(_) => self.push(Value::Text(range)),
            Err(_) => self.push(Value::Bytes(range)),
        }
    }

    fn make(&mut self, value: Value) -> Result<Id> {
        if self.values.len() >= MAX_VALUES {
            return Err(Error::new(self.code, self.place, format!("holds more than {MAX_VALUES} values"))
                .expected("the weights of one model"));
        }
        self.values.push(value);
        Ok(Id((self.values.len() - 1) as u32))
    }

    fn push(&mut self, value: Value) -> Result<()> {
        let id = self.make(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len() > floor {
            true => self.stack.pop().ok_or_else(|| self.damaged("nothing on the stack")),
            false => Err(self.damaged("nothing on the stack")),
        }
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(|| self.damaged("nothing on the stack"))
    }

    /// What stands above the last mark, and removes both.
    fn above_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| self.damaged("no mark"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn tuple(&mut self, n: usize) -> Result<()> {
        let mut members = (0..n).map(|_| self.pop()).collect::<Result<Vec<Id>>>()?;
        members.reverse();
        self.push(Value::Tuple(members))
    }

    fn pairs(&self, flat: &[Id]) -> Result<Vec<(Id, Id)>> {
        let pairs = flat.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err(self.damaged("a key without a value"));
        }
        Ok(pairs.map(|pair| (pair[0], pair[1])).collect())
    }

    fn set_items(&mut self, flat: &[Id]) -> Result<()> {
        let pairs = self.pairs(flat)?;
        let top = self.top()?;
        match &mut self.values[top.0 as usize] {
            Value::Dict(items) | Value::Object { items, .. } => items.extend(pairs),
            _ => return Err(self.damaged("items for something that is no dictionary")),
        }
        Ok(())
    }

    fn append(&mut self, members: &[Id]) -> Result<()> {
        let top = self.top()?;
        match &mut self.values[top.0 as usize] {
            Value::List(list) => list.extend_from_slice(members),
            _ => return Err(self.damaged("members for something that is no list")),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        let full = format!("{module} {name}");
        if !self.allowed.contains(&full.as_str()) {
            let full: String = format!("{module}.{name}").chars().take(200).collect();
            return Err(Error::new(self.code, self.place, format!("asks for {full:?}, which is not on the list of \
                harmless names"))
                .expected("tensors, numbers, strings, lists and dictionaries")
                .hint("Nothing was executed. Save the tensors alone: save_pretrained(path), or torch.save(model.state_dict(), path)"));
        }
        self.push(Value::Global(full))
    }

    fn object(&mut self) -> Result<()> {
        let (arguments, class) = (self.pop()?, self.pop()?);
        if !matches!(self.values[class.0 as usize], Value::Global(_)) {
            return Err(self.damaged("a call of something that is no class or function"));
        }
        self.push(Value::Object { class, arguments, state: None, items: Vec::new() })
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take(1000).position(|b| *b == b'\n').ok_or_else(|| self.damaged("no end of line"))?;
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(line)
    }

    fn remember(&mut self, key: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<()> {
        let found = u32::try_from(key).ok().and_then(|key| self.memo.get(&key).copied());
        let id = found.ok_or_else(|| self.damaged("a reference to nothing"))?;
        self.stack.push(id);
        Ok(())
    }

    fn integer(&mut self, range: Range<usize>) -> Result<()> {
        let bytes = &self.bytes[range];
        if bytes.len() > 8 {
            return self.push(Value::Large);
        }
        let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { -1i64 } else { 0 };
        let value = bytes.iter().rev().fold(sign, |value, b| value << 8 | i64::from(*b));
        self.push(Value::Int(value))
    }

    /// One instruction; the root when it was the last one.
    fn step(&mut self) -> Result<Option<Id>> {
        let at = self.take(1)?.start;
        match self.bytes[at] {
            // PROTO
            0x80 => match self.number(1)? {
                2..=5 => {}
                other => return Err(self.damaged(&format!("protocol {other}"))),
            },
            // FRAME: a hint for reading ahead.
            0x95 => self.take(8).map(|_| ())?,
            // STOP
            b'.' => return self.pop().map(Some),
            // MARK, POP, POP_MARK, DUP
            b'(' => self.marks.push(self.stack.len()),
            b'0' => match self.marks.last() {
                Some(mark) if *mark == self.stack.len() => drop(self.marks.pop()),
                _ => drop(self.pop()?),
            },
            b'1' => drop(self.above_mark()?),
            b'2' => self.stack.push(self.top()?),
            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            // BININT, BININT1, BININT2, LONG1, LONG4
            b'J' => {
                let range = self.take(4)?;
                self.integer(range)?;
            }
            b'K' => {
                let value = self.number(1)? as i64;
                self.push(Value::Int(value))?;
            }
            b'M' => {
                let value = self.number(2)? as i64;
                self.push(Value::Int(value))?;
            }
            0x8a => {
                let range = self.counted(1)?;
                self.integer(range)?;
            }
            0x8b => {
                let range = self.counted(4)?;
                self.integer(range)?;
            }
            // BINFLOAT: big-endian.
            b'G' => {
                let bits = self.number(8)?.swap_bytes();
                self.push(Value::Float(f64::from_bits(bits)))?;
            }
            // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
            op @ (0x8c | b'X' | 0x8d) => {
                let range = self.counted(if op == 0x8c {
                    1
                } else if op == b'X' {
                    4
                } else {
                    8
                })?;
                self.text(range)?;
            }
            // SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8, SHORT_BINSTRING, BINSTRING
            op @ (b'C' | b'B' | 0x8e | 0x96 | b'U' | b'T') => {
                let length = match op {
                    b'C' | b'U' => 1,
                    b'B' | b'T' => 4,
                    _ => 8,
                };
                let range = self.counted(length)?;
                self.push(Value::Bytes(range))?;
            }
            // EMPTY_LIST, EMPTY_SET, EMPTY_TUPLE, EMPTY_DICT
            b']' | 0x8f => self.push(Value::List(Vec::new()))?,
            b')' => self.push(Value::Tuple(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            // LIST, TUPLE, FROZENSET, DICT
            b'l' => {
                let members = self.above_mark()?;
                self.push(Value::List(members))?;
            }
            b't' | 0x91 => {
                let members = self.above_mark()?;
                self.push(Value::Tuple(members))?;
            }
            b'd' => {
                let flat = self.above_mark()?;
                let items = self.pairs(&flat)?;
                self.push(Value::Dict(items))?;
            }
            // TUPLE1, TUPLE2, TUPLE3
            op @ 0x85..=0x87 => self.tuple(usize::from(op - 0x84))?,
            // APPEND, APPENDS, ADDITEMS
            b'a' => {
                let member = self.pop()?;
                self.append(&[member])?;
            }
            b'e' | 0x90 => {
                let members = self.above_mark()?;
                self.append(&members)?;
            }
            // SETITEM, SETITEMS
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let flat = self.above_mark()?;
                self.set_items(&flat)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let key = self.number(1)? as u32;
                self.remember(key)?;
            }
            b'r' => {
                let key = self.number(4)? as u32;
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let key = self.number(1)?;
                self.recall(key)?;
            }
            b'j' => {
                let key = self.number(4)?;
                self.recall(key)?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match &self.values[id.0 as usize] {
                    Value::Text(range) => Some(String::from_utf8_lossy(&self.bytes[range.clone()]).into_owned()),
                    _ => None,
                };
                let (Some(module), Some(name)) = (text(module), text(name)) else {
                    return Err(self.damaged("a name that is no string"));
                };
                self.global(&module, &name)?;
            }
            // REDUCE, NEWOBJ
            b'R' | 0x81 => self.object()?,
            // BUILD
            b'b' => {
                let state = self.pop()?;
                let top = self.top()?;
                match &mut self.values[top.0 as usize] {
                    Value::Object { state: slot, .. } => *slot = Some(state),
                    _ => return Err(self.damaged("a state for something that has none")),
                }
            }
            // BINPERSID
            b'Q' => {
                let key = self.pop()?;
                self.push(Value::Persistent(key))?;
            }
            other => {
                return Err(Error::new(
                    self.code,
                    self.place,
                    format!("holds pickle instruction 0x{other:02x} at byte {at}, which is not read"),
                )
                .expected("a Python pickle of protocol 2 to 5 that holds plain values")
                .hint("Nothing was executed"));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<(Pickle<'_>, usize)> {
        read(bytes, &["collections OrderedDict"], "x.pkl", Code::St13)
    }

    #[test]
    fn plain_values_are_read() {
        // pickle.dumps({"a": [1, -2, 300, 2**40, True, None, 0.5], "b": (b"xy", "ä")}, 2), and with protocol 4.
        let two = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffM,\x01\x8a\x06\x00\x00\x00\x00\x00\x01\x88NG?\xe0\x00\x00\x00\x00\x00\x00eX\x01\x00\x00\x00bq\x03U\x02xyX\x02\x00\x00\x00\xc3\xa4\x86u.";
        let (pickle, length) = parse(two).unwrap();
        assert_eq!(length, two.len());
        let a = pickle.members(pickle.get(pickle.root(), "a").unwrap()).unwrap();
        let ints: Vec<Option<i64>> = a.iter().map(|id| pickle.int(*id)).collect();
        assert_eq!(ints, [Some(1), Some(-2), Some(300), Some(1 << 40), None, None, None]);
        assert_eq!(pickle.value(a[6]), &Value::Float(0.5));
        let b = pickle.members(pickle.get(pickle.root(), "b").unwrap()).unwrap();
        assert_eq!(pickle.text(b[1]), Some("ä"));
    }

    #[test]
    fn foreign_names_are_refused_by_name() {
        for hostile in [
            &b"\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03."[..],
            b"cposix\nsystem\n(S'true'\ntR.",
            b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94.",
        ] {
            let error = parse(hostile).unwrap_err();
            assert_eq!(error.code(), Code::St13);
            assert!(error.to_string().contains("posix.system"), "{error}");
        }
        // An allowed name is written down, not called.
        let (pickle, _) = parse(b"\x80\x02ccollections\nOrderedDict\n)R.").unwrap();
        assert!(pickle.arguments(pickle.root(), &["collections OrderedDict"]).unwrap().is_empty());
    }

    #[test]
    fn nonsense_is_an_error() {
        let whole = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01K\x02eu.";
        assert!(parse(whole).is_ok());
        for n in 0..whole.len() {
            assert!(parse(&whole[..n]).is_err(), "cut at {n}");
        }
        for bad in [
            &b"\x80\x02s."[..],
            b"\x80\x02.",
            b"\x80\x02h\x07.",
            b"\x80\x02Nt.",
            b"\x80\x02NNR.",
            b"\x80\x09N.",
            b"\x80\x02P1\n.",
            b"\x80\x02X\xff\xff\xff\xffa.",
            b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
            b"\x80\x02(Nd.",
            b"\x80\x02NNb.",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
