use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::datatype::Sample;
use super::hashing::{Hashing, Shared};
use super::header::{self, Header};
use super::{extensions, has_nifti_name};
use crate::error::{Code, Error, Result, Warning};
use crate::ids::Digest;
use crate::io::bounded;

/// No deflate stream expands by more than this.
const MOST_EXPANSION: u64 = 1032;
/// Bytes that are decoded at a time.
const CHUNK: usize = 1 << 18;

/// Reads an image volume by volume.
pub struct Reader {
    place: PathBuf,
    header: Header,
    stream: Box<dyn Read + Send>,
    hash: Shared,
    digest: Option<Digest>,
    next: usize,
    read: u64,
    chunk: Vec<u8>,
    finished: bool,
}

impl Reader {
    /// Opens an image and checks its header against itself and against the file's length.
    ///
    /// # Errors
    /// `NI-01`, `NI-08` … `NI-17` for a header that cannot be true, `NI-05` and `NI-07` for an uncompressed file that is
    /// too short or too long, `NI-04` for a damaged compressed one.
    pub fn open(path: &Path) -> Result<Reader> {
        let (file, meta) = bounded::open(path)?;
        Reader::new(file, meta.len(), path)
    }

    /// As [`Reader::open`], from any source of `length` bytes; `place` names it in messages.
    pub fn new(source: impl Read + Send + 'static, length: u64, place: &Path) -> Result<Reader> {
        let (hashed, hash) = Hashing::new(source);
        let mut raw = BufReader::with_capacity(1 << 17, hashed);
        let first = first_two(&mut raw).map_err(|e| Error::io(place.display(), "reading", e))?;
        let gzip = first == [0x1f, 0x8b];
        let mut stream: Box<dyn Read + Send> = if gzip {
            Box::new(BufReader::with_capacity(CHUNK, MultiGzDecoder::new(std::io::Cursor::new(first).chain(raw))))
        } else {
            Box::new(std::io::Cursor::new(first).chain(raw))
        };
        let head = read_head(&mut *stream, gzip, place)?;
        let mut header = header::parse(&head, place)?;
        let voxels = voxel_bytes(&header);
        check_length(&header, voxels, length, gzip, place)?;
        let name = crate::io::file_name(place);
        if gzip != name.to_ascii_lowercase().ends_with(".gz") && has_nifti_name(&name) {
            let is = if gzip { "compressed" } else { "not compressed" };
            header
                .warnings
                .push(Warning::new("NI-03", format!("{name} is {is}, against its name; it was read as it is")));
        }
        let failed = |e| stream_error(place, e, gzip, 0, voxels);
        let (size, offset, big) = (head.len() as u64, header.vox_offset, header.big_endian);
        header.warnings.extend(extensions::skip(&mut *stream, size, offset, big, place, failed)?);
        Ok(Reader {
            place: place.to_owned(),
            header,
            stream,
            hash,
            digest: None,
            next: 0,
            read: 0,
            chunk: Vec::new(),
            finished: false,
        })
    }

    /// What the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The file, for messages.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// A buffer for one volume.
    pub fn buffer<T: Sample>(&self) -> Result<Vec<T>> {
        let voxels: usize = self.header.shape.iter().product();
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(voxels).map_err(|e| {
            Error::new(
                Code::Ni09,
                self.place.display(),
                format!("a volume of {voxels} voxels does not fit into memory"),
            )
            .source(e)
        })?;
        buffer.resize(voxels, T::default());
        Ok(buffer)
    }

    /// Reads the next volume into `out` and says whether there was one. After the last, the file must end there and
    /// its checksum must agree.
    ///
    /// # Errors
    /// `NI-04`, `NI-05` and `NI-07` for a file that is damaged, cut short or too long.
    pub fn next_volume<T: Sample>(&mut self, out: &mut [T]) -> Result<bool> {
        if self.next == self.header.volumes {
            self.end()?;
            return Ok(false);
        }
        let Header { datatype, big_endian, scale, .. } = self.header;
        let voxels: usize = self.header.shape.iter().product();
        // INVARIANT: the buffer comes from `buffer`, or the caller knows the shape.
        assert_eq!(out.len(), voxels, "a buffer of one volume");
        let step = CHUNK / datatype.bytes();
        for part in out.chunks_mut(step) {
            self.chunk.resize(part.len() * datatype.bytes(), 0);
            let total = voxel_bytes(&self.header);
            let mut filled = 0;
            while filled < self.chunk.len() {
                match self.stream.read(&mut self.chunk[filled..]) {
                    Ok(0) => {
                        let found = self.read + filled as u64;
                        return Err(stream_error(&self.place, ErrorKind::UnexpectedEof.into(), true, found, total));
                    }
                    Ok(n) => filled += n,
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => return Err(stream_error(&self.place, e, true, self.read + filled as u64, total)),
                }
            }
            self.read += filled as u64;
            datatype.decode(&self.chunk, big_endian, scale, part);
        }
        self.next += 1;
        if self.next == self.header.volumes {
            self.end()?;
        }
        Ok(true)
    }

    /// SHA-256 of the file's bytes, once the last volume was read.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Makes sure that nothing follows the last volume.
    fn end(&mut self) -> Result<()> {
        if self.finished {
            return Ok(());
        }
        let mut more = [0; 1];
        let extra = loop {
            match self.stream.read(&mut more) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // Bytes after the last compressed member show as a member without a header.
                Err(e) if e.to_string().contains("gzip header") => break 1,
                Err(e) => return Err(stream_error(&self.place, e, true, self.read, voxel_bytes(&self.header))),
                Ok(n) => break n,
            }
        };
        if extra > 0 {
            return Err(Error::new(Code::Ni07, self.place.display(), "has bytes after its last volume")
                .expected("the end of the file")
                .hint("Its header is false or two files were joined; write it again"));
        }
        self.digest = self.hash.finish();
        self.finished = true;
        Ok(())
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("place", &self.place).field("header", &self.header).finish_non_exhaustive()
    }
}

/// The header's bytes, 348 or 540.
fn read_head(stream: &mut dyn Read, gzip: bool, place: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::with_capacity(header::BYTES_2);
    let fill = |stream: &mut dyn Read, head: &mut Vec<u8>, most: usize| {
        let left = (most - head.len()) as u64;
        stream.take(left).read_to_end(head).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => header::no_nifti(place, head),
            _ => stream_error(place, e, gzip, 0, 0),
        })
    };
    fill(stream, &mut head, header::BYTES_1)?;
    if head.len() < header::BYTES_1 {
        return Err(header::no_nifti(place, &head));
    }
    match head.first_chunk().and_then(|first| header::version(*first)) {
        Some((1, _)) => {}
        Some(_) => {
            fill(stream, &mut head, header::BYTES_2)?;
        }
        None => return Err(header::no_nifti(place, &head)),
    }
    Ok(head)
}

/// Bytes of all voxels; the product was checked with the header.
fn voxel_bytes(header: &Header) -> u64 {
    let volume: usize = header.shape.iter().product();
    (volume * header.datatype.bytes()) as u64 * header.volumes as u64
}

/// What the header claims against what a file of this length can hold.
fn check_length(header: &Header, voxels: u64, length: u64, gzip: bool, place: &Path) -> Result<()> {
    let fail = |code, found: String| Error::new(code, place.display(), found);
    let claimed = voxels.saturating_add(header.vox_offset);
    if gzip {
        let most = length.saturating_mul(MOST_EXPANSION).saturating_add(1 << 16);
        if claimed > most {
            return Err(fail(Code::Ni09, format!("claims {claimed} bytes"))
                .expected(format!("at most {most}, which is what {length} compressed bytes can hold")));
        }
        return Ok(());
    }
    if header.vox_offset > length {
        return Err(fail(Code::Ni11, format!("vox_offset is {}", header.vox_offset))
            .expected(format!("a place within the file's {length} bytes")));
    }
    if claimed > length {
        return Err(cut_short(place, length - header.vox_offset, voxels));
    }
    if claimed < length {
        return Err(fail(Code::Ni07, format!("has {} bytes after its last volume", length - claimed))
            .expected(format!("{claimed} bytes in all"))
            .hint("Its header is false or two files were joined; write it again"));
    }
    Ok(())
}

fn cut_short(place: &Path, found: u64, expected: u64) -> Error {
    Error::new(Code::Ni05, place.display(), format!("is cut short: {found} bytes of voxels"))
        .expected(expected)
        .hint("Copy or download it again")
}

/// What an error of the (possibly compressed) stream means.
fn stream_error(place: &Path, error: std::io::Error, gzip: bool, found: u64, expected: u64) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => cut_short(place, found, expected),
        ErrorKind::InvalidInput | ErrorKind::InvalidData if gzip => {
            Error::new(Code::Ni04, place.display(), format!("is damaged: {error}"))
                .expected("a compressed stream whose checksum agrees")
                .hint("Copy or download it again")
                .source(error)
        }
        _ => Error::io(place.display(), "reading", error),
    }
}

/// The first two bytes, fewer where there are no more.
fn first_two(raw: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(2);
    raw.take(2).read_to_end(&mut first)?;
    Ok(first)
}
