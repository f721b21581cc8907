use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{DataArray, Gifti, Kind};
use crate::error::{Code, Error, Result};
use crate::ids::Digest;
use crate::io::bounded::{self, FileBytes};
use crate::io::npy;

/// Largest document, and most bytes that all of its arrays may decode to (1 GiB).
const MAX_BYTES: u64 = 1 << 30;
/// Deepest nesting of elements; the format has six levels.
const MAX_DEPTH: usize = 32;

/// Reads a file.
///
/// # Errors
/// `GI-01` for a file that is no GIFTI document or declares entities, `GI-02` for an array that is damaged or not what it
/// claims to be.
pub fn read(path: &Path) -> Result<(Gifti, Digest)> {
    let FileBytes { bytes, digest } = bounded::read(path, MAX_BYTES, "a GIFTI file")?;
    Ok((parse(&bytes, path)?, digest))
}

/// Parses the bytes of a file; `path` is used in messages.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8], path: &Path) -> Result<Gifti> {
    let fail = |found: String| Error::new(Code::Gi01, path.display(), found);
    let mut plain = Vec::new();
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        let read = MultiGzDecoder::new(bytes).take(MAX_BYTES + 1).read_to_end(&mut plain);
        read.map_err(|e| fail(format!("is damaged: {e}")).source(e))?;
        if plain.len() as u64 > MAX_BYTES {
            return Err(fail(format!("holds more than {MAX_BYTES} bytes")));
        }
        &plain[..]
    } else {
        bytes
    };
    let text = bounded::decode_utf8(path, bytes, Code::Gi01)?;
    Parser {
        path,
        depth: Vec::new(),
        text: String::new(),
        name: None,
        open: None,
        left: MAX_BYTES,
        out: Gifti::default(),
    }
    .document(text)
}

/// An array whose end has not come yet.
struct Open {
    array: DataArray,
    encoding: String,
    big: bool,
    by_column: bool,
    filled: bool,
}

struct Parser<'a> {
    path: &'a Path,
    /// Names of the elements that are open.
    depth: Vec<String>,
    /// Text of the innermost element.
    text: String,
    /// The name of a pair of metadata.
    name: Option<String>,
    open: Option<Open>,
    /// Bytes that arrays may still decode to.
    left: u64,
    out: Gifti,
}

impl Parser<'_> {
    fn fail(&self, found: String) -> Error {
        Error::new(Code::Gi01, self.path.display(), found)
    }

    fn bad_array(&self, found: String) -> Error {
        Error::new(Code::Gi02, self.path.display(), format!("array {} {found}", self.out.arrays.len() + 1))
    }

    fn document(mut self, text: &str) -> Result<Gifti> {
        if !text.trim_start().starts_with('<') {
            return Err(self.fail("is no XML".to_owned()).expected("a GIFTI document (.gii)"));
        }
        let mut reader = Reader::from_str(text);
        loop {
            let event = reader
                .read_event()
                .map_err(|e| self.fail(format!("is damaged at byte {}: {e}", reader.error_position())).source(e))?;
            match event {
                Event::DocType(declared) => {
                    if declared.contains(&b'[') {
                        return Err(self
                            .fail("declares entities of its own".to_owned())
                            .expected("a document without them")
                            .hint("Nothing of them was read; write the file again with another program"));
                    }
                }
                Event::Start(tag) => self.start(&tag)?,
                Event::Empty(tag) => {
                    self.start(&tag)?;
                    self.end()?;
                }
                Event::End(_) => self.end()?,
                Event::Text(piece) => self.text.push_str(&String::from_utf8_lossy(&piece)),
                Event::CData(piece) => self.text.push_str(&String::from_utf8_lossy(&piece)),
                Event::GeneralRef(reference) => {
                    let known = match &*reference {
                        b"lt" => Some('<'),
                        b"gt" => Some('>'),
                        b"amp" => Some('&'),
                        b"quot" => Some('"'),
                        b"apos" => Some('\''),
                        _ => reference.resolve_char_ref().ok().flatten(),
                    };
                    let Some(known) = known else {
                        let name = String::from_utf8_lossy(&reference).into_owned();
                        return Err(self.fail(format!("uses the entity {name:?}")).expected("none beside XML's own"));
                    };
                    self.text.push(known);
                }
                Event::Eof => break,
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            }
        }
        match self.depth.last() {
            Some(open) => Err(self.fail(format!("ends within <{open}>")).hint("The file was cut short")),
            None if self.out.arrays.is_empty() => {
                Err(self.fail("holds no array".to_owned()).expected("a GIFTI document with at least one"))
            }
            None => Ok(self.out),
        }
    }

    fn start(&mut self, tag: &BytesStart<'_>) -> Result<()> {
        let name = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
        if self.depth.is_empty() && name != "GIFTI" {
            return Err(self.fail(format!("is a document of <{name}>")).expected("<GIFTI>"));
        }
        if self.depth.len() == MAX_DEPTH {
            return Err(self.fail(format!("nests more than {MAX_DEPTH} elements")));
        }
        if name == "DataArray" {
            if self.open.is_some() {
                return Err(self.bad_array("holds another array".to_owned()));
            }
            self.open = Some(self.array(tag)?);
        }
        self.text.clear();
        self.depth.push(name);
        Ok(())
    }

    /// The head of an array.
    fn array(&self, tag: &BytesStart<'_>) -> Result<Open> {
        let mut attributes: Vec<(String, String)> = Vec::new();
        for attribute in tag.attributes() {
            let attribute = attribute.map_err(|e| self.bad_array(format!("has damaged attributes: {e}")).source(e))?;
            let value = String::from_utf8_lossy(&attribute.value).into_owned();
            attributes.push((String::from_utf8_lossy(attribute.key.as_ref()).into_owned(), value));
        }
        let get = |name: &str| attributes.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let number = |name: &str| -> Result<usize> {
            let text = get(name).unwrap_or("");
            text.trim().parse().map_err(|_| self.bad_array(format!("has {name}={text:?}")).expected("a whole number"))
        };
        let kind = get("DataType").unwrap_or("");
        let Some((kind, _)) = Kind::ALL.into_iter().find(|(_, name)| *name == kind) else {
            return Err(self.bad_array(format!("is of type {kind:?}")).expected("UINT8, INT32 or FLOAT32"));
        };
        let axes = number("Dimensionality")?;
        if !(1..=6).contains(&axes) {
            return Err(self.bad_array(format!("has {axes} dimensions")).expected("1 to 6"));
        }
        let shape: Vec<usize> = (0..axes).map(|a| number(&format!("Dim{a}"))).collect::<Result<_>>()?;
        let big = match get("Endian") {
            Some("BigEndian") => true,
            Some("LittleEndian") | None => false,
            Some(other) => return Err(self.bad_array(format!("has Endian={other:?}"))),
        };
        let by_column = match get("ArrayIndexingOrder") {
            Some("ColumnMajorOrder") => true,
            Some("RowMajorOrder") | None => false,
            Some(other) => return Err(self.bad_array(format!("has ArrayIndexingOrder={other:?}"))),
        };
        let intent = get("Intent").unwrap_or("NIFTI_INTENT_NONE").to_owned();
        let array = DataArray { intent, shape, values: Vec::new(), kind, meta: Vec::new() };
        Ok(Open { array, encoding: get("Encoding").unwrap_or("").to_owned(), big, by_column, filled: false })
    }

    fn end(&mut self) -> Result<()> {
        let Some(name) = self.depth.pop() else { return Ok(()) };
        let text = std::mem::take(&mut self.text);
        match name.as_str() {
            "Name" => self.name = Some(text),
            "Value" => {
                let pair = (self.name.take().unwrap_or_default(), text);
                // Metadata of the array that is open, else of the file.
                match &mut self.open {
                    Some(open) => open.array.meta.push(pair),
                    None => self.out.meta.push(pair),
                }
            }
            "Data" => {
                if let Some(mut open) = self.open.take() {
                    self.fill(&mut open, &text)?;
                    self.open = Some(open);
                }
            }
            "DataArray" => {
                if let Some(open) = self.open.take() {
                    if !open.filled {
                        return Err(self.bad_array("has no data".to_owned()));
                    }
                    self.out.arrays.push(open.array);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn fill(&mut self, open: &mut Open, text: &str) -> Result<()> {
        let array = &mut open.array;
        let count = array.shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent));
        let wanted = count.and_then(|n| n.checked_mul(array.kind.bytes())).filter(|n| *n as u64 <= self.left);
        let Some((count, wanted)) = count.zip(wanted) else {
            return Err(self
                .bad_array(format!("claims {:?} values", array.shape))
                .expected(format!("at most {} bytes in all arrays", self.left)));
        };
        self.left -= wanted as u64;
        let values = match open.encoding.as_str() {
            "ASCII" => text
                .split_ascii_whitespace()
                .map(|word| word.parse().map_err(|_| self.bad_array(format!("holds {word:?}")).expected("numbers")))
                .collect::<Result<Vec<f64>>>()?,
            "Base64Binary" | "GZipBase64Binary" => {
                let packed = self.base64(text)?;
                let bytes = if open.encoding == "Base64Binary" { packed } else { self.inflate(&packed, wanted)? };
                if bytes.len() != wanted {
                    return Err(self
                        .bad_array(format!("has {} bytes of data", bytes.len()))
                        .expected(format!("{wanted} for {:?} values", array.shape)));
                }
                npy::decode(&array.kind.descr(open.big), &bytes).unwrap_or_default()
            }
            "ExternalFileBinary" => {
                return Err(self
                    .bad_array("lies in another file".to_owned())
                    .expected("data within the document")
                    .hint("Write the surface again with its data inside"));
            }
            other => {
                return Err(self
                    .bad_array(format!("has Encoding={other:?}"))
                    .expected("ASCII, Base64Binary or GZipBase64Binary"));
            }
        };
        if values.len() != count {
            return Err(self.bad_array(format!("has {} values", values.len())).expected(format!("{count}")));
        }
        array.values = match (open.by_column, &array.shape[..]) {
            (true, [rows, columns]) => (0..count).map(|i| values[i / columns + i % columns * rows]).collect(),
            (true, [_, _, ..]) => return Err(self.bad_array("has its columns first and more than two axes".to_owned())),
            _ => values,
        };
        open.filled = true;
        Ok(())
    }

    fn base64(&self, text: &str) -> Result<Vec<u8>> {
        let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let packed: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        GeneralPurpose::new(&STANDARD, config)
            .decode(&packed)
            .map_err(|e| self.bad_array(format!("holds damaged Base64: {e}")).source(e))
    }

    /// Unpacks at most one byte more than is wanted.
    fn inflate(&self, packed: &[u8], wanted: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = wanted as u64 + 1;
        let read = if packed.starts_with(&[0x1f, 0x8b]) {
            MultiGzDecoder::new(packed).take(limit).read_to_end(&mut bytes)
        } else {
            ZlibDecoder::new(packed).take(limit).read_to_end(&mut bytes)
        };
        read.map_err(|e| self.bad_array(format!("holds damaged compressed data: {e}")).source(e))?;
        Ok(bytes)
    }
}
