use std::io::Read;
use std::path::Path;

use crate::error::{Code, Error, Result, Warning};

/// Reads over what stands between the header and the voxels: four bytes that say whether extensions follow, the
/// extensions, and padding. Nothing of their claimed size is allocated.
///
/// Returns a warning for an extension whose size is a multiple of 8 but not of 16.
///
/// # Errors
/// `NI-13` when an extension is smaller than its own head, no multiple of 8, or reaches into the voxels.
pub(super) fn skip(
    stream: &mut dyn Read,
    header_bytes: u64,
    vox_offset: u64,
    big: bool,
    place: &Path,
    read: impl Fn(std::io::Error) -> Error,
) -> Result<Option<Warning>> {
    let mut left = vox_offset - header_bytes;
    let mut flag = [0; 4];
    stream.read_exact(&mut flag).map_err(&read)?;
    left -= 4;
    let mut warning = None;
    let mut number = 0;
    while flag[0] != 0 && left >= 8 {
        let mut head = [0; 8];
        stream.read_exact(&mut head).map_err(&read)?;
        let word = [head[0], head[1], head[2], head[3]];
        let size = if big { i32::from_be_bytes(word) } else { i32::from_le_bytes(word) };
        if size == 0 && head == [0; 8] && number > 0 {
            // Padding after the last extension.
            left -= 8;
            break;
        }
        let usable = u64::try_from(size).ok().filter(|s| *s >= 8 && s.is_multiple_of(8) && *s <= left);
        let Some(size) = usable else {
            let place = place.display();
            return Err(Error::new(Code::Ni13, place, format!("extension {} claims {size} bytes", number + 1))
                .expected(format!("a multiple of 16, at most the {left} bytes before the voxels")));
        };
        if !size.is_multiple_of(16) {
            warning = Some(Warning::new(
                "NI-13",
                format!("{}: an extension of {size} bytes is no multiple of 16", crate::io::file_name(place)),
            ));
        }
        discard(stream, size - 8).map_err(&read)?;
        left -= size;
        number += 1;
    }
    discard(stream, left).map_err(&read)?;
    Ok(warning)
}

/// Reads and forgets `count` bytes.
fn discard(stream: &mut dyn Read, count: u64) -> std::io::Result<()> {
    let read = std::io::copy(&mut stream.take(count), &mut std::io::sink())?;
    if read < count { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}
