//! Python pickles, read without running anything.
//!
//! A pickle is a program for a small stack machine that may call any Python function. This reader knows the
//! instructions that build plain values and writes down what a pickle asks for (`Object`: this class, these arguments,
//! this state) without ever doing it. A class or function outside the caller's list is refused by name.
//!
//! Instructions: Python's `pickletools.py`, protocols 2 to 5. Memory is bounded by the length of the pickle: strings and
//! bytes stay where they are, and every instruction makes at most one value, of which there is a largest number.

mod machine;
mod numpy;

pub use machine::read;
pub use numpy::{Array, NUMPY};

use std::ops::Range;

/// Place of a value in a [`Pickle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(u32);

/// A value of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number beyond 64 bits.
    Large,
    /// A floating-point number.
    Float(f64),
    /// A string, by its place in the bytes.
    Text(Range<usize>),
    /// Bytes, by their place.
    Bytes(Range<usize>),
    /// A tuple or a frozen set.
    Tuple(Vec<Id>),
    /// A list or a set.
    List(Vec<Id>),
    /// A dictionary, in the order in which it was filled.
    Dict(Vec<(Id, Id)>),
    /// A class or function, as `module name`.
    Global(String),
    /// What a call or an instance would be.
    Object {
        /// The class or function.
        class: Id,
        /// Its arguments.
        arguments: Id,
        /// What it would be given afterwards (`__setstate__`).
        state: Option<Id>,
        /// What it would be filled with, if it is a dictionary.
        items: Vec<(Id, Id)>,
    },
    /// Something kept outside the pickle, by its key.
    Persistent(Id),
}

/// A pickle that was read.
#[derive(Debug)]
pub struct Pickle<'a> {
    bytes: &'a [u8],
    values: Vec<Value>,
    root: Id,
}

impl<'a> Pickle<'a> {
    /// The value that the pickle stands for.
    pub fn root(&self) -> Id {
        self.root
    }

    /// A value.
    pub fn value(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    /// A string.
    pub fn text(&self, id: Id) -> Option<&'a str> {
        match self.value(id) {
            Value::Text(range) => std::str::from_utf8(&self.bytes[range.clone()]).ok(),
            _ => None,
        }
    }

    /// A whole number.
    pub fn int(&self, id: Id) -> Option<i64> {
        match self.value(id) {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A whole number that may be a size.
    pub fn size(&self, id: Id) -> Option<usize> {
        self.int(id).and_then(|value| usize::try_from(value).ok())
    }

    /// The members of a tuple or list.
    pub fn members(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::Tuple(members) | Value::List(members) => Some(members),
            _ => None,
        }
    }

    /// A tuple or list of sizes.
    pub fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        self.members(id)?.iter().map(|member| self.size(*member)).collect()
    }

    /// The items of a dictionary, or of an object that is filled like one.
    pub fn items(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.value(id) {
            Value::Dict(items) | Value::Object { items, .. } => Some(items),
            _ => None,
        }
    }

    /// The value under a string key of a dictionary; of several the last, as in Python.
    pub fn get(&self, id: Id, key: &str) -> Option<Id> {
        self.items(id)?.iter().rev().find(|(k, _)| self.text(*k) == Some(key)).map(|(_, value)| *value)
    }

    /// A class or function, as `module name`.
    pub fn global(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Global(name) => Some(name),
            _ => None,
        }
    }

    /// The arguments of an object made by the function or class `name` (`module name`).
    pub fn arguments(&self, id: Id, names: &[&str]) -> Option<&[Id]> {
        match self.value(id) {
            Value::Object { class, arguments, .. } => {
                names.contains(&self.global(*class)?).then(|| self.members(*arguments)).flatten()
            }
            _ => None,
        }
    }
}
