use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::{DataArray, Gifti, Hemisphere, Kind};
use crate::error::{Error, Result};
use crate::io::atomic;
use crate::visible::visible;

/// A document of one value per vertex and map: `maps` are names and values, float32 in the file.
pub fn scalars(intent: &str, hemisphere: Hemisphere, maps: &[(&str, &[f32])]) -> Gifti {
    let array = |(name, values): &(&str, &[f32])| DataArray {
        intent: intent.to_owned(),
        shape: vec![values.len()],
        values: values.iter().map(|v| f64::from(*v)).collect(),
        kind: Kind::Float32,
        meta: vec![("Name".to_owned(), (*name).to_owned())],
    };
    let meta = vec![("AnatomicalStructurePrimary".to_owned(), hemisphere.structure().to_owned())];
    Gifti { meta, arrays: maps.iter().map(array).collect() }
}

/// Writes a document; arrays are compressed, little-endian, row by row.
///
/// # Errors
/// `IO-01` when the disk does not take it.
pub fn write(path: &Path, document: &Gifti) -> Result<()> {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE GIFTI SYSTEM \"http://www.nitrc.org/frs/download.php/1594/gifti.dtd\">\n<GIFTI Version=\"1.0\" NumberOfDataArrays=\"{}\">\n",
        document.arrays.len()
    );
    metadata(&mut text, &document.meta);
    text.push_str("<LabelTable/>\n");
    for array in &document.arrays {
        text.push_str(&format!(
            "<DataArray Intent=\"{}\" DataType=\"{}\" ArrayIndexingOrder=\"RowMajorOrder\" Dimensionality=\"{}\"",
            escaped(&array.intent),
            array.kind.name(),
            array.shape.len()
        ));
        array.shape.iter().enumerate().for_each(|(axis, n)| text.push_str(&format!(" Dim{axis}=\"{n}\"")));
        text.push_str(
            " Encoding=\"GZipBase64Binary\" Endian=\"LittleEndian\" ExternalFileName=\"\" ExternalFileOffset=\"\">\n",
        );
        metadata(&mut text, &array.meta);
        let packed = packed(array).map_err(|e| Error::io(path.display(), "compressing", e))?;
        text.push_str(&format!("<Data>{}</Data>\n</DataArray>\n", STANDARD.encode(packed)));
    }
    text.push_str("</GIFTI>\n");
    atomic::write(path, text.as_bytes())
}

fn metadata(text: &mut String, pairs: &[(String, String)]) {
    text.push_str("<MetaData>\n");
    for (name, value) in pairs {
        text.push_str(&format!("<MD><Name>{}</Name><Value>{}</Value></MD>\n", escaped(name), escaped(value)));
    }
    text.push_str("</MetaData>\n");
}

fn packed(array: &DataArray) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(array.values.len() * array.kind.bytes());
    for value in &array.values {
        match array.kind {
            Kind::UInt8 => bytes.push(*value as u8),
            Kind::Int32 => bytes.extend_from_slice(&(*value as i32).to_le_bytes()),
            Kind::Float32 => bytes.extend_from_slice(&(*value as f32).to_le_bytes()),
            Kind::Float64 => bytes.extend_from_slice(&value.to_le_bytes()),
        }
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&bytes)?;
    encoder.finish()
}

/// Text of an element or a quoted attribute; characters that steer or that XML does not allow are shown.
fn escaped(text: &str) -> String {
    visible(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
