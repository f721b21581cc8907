//! GIFTI files: every encoding and byte order gives the same values, and damaged files are refused by name.

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use brainscore::error::Code;
use brainscore::io::gifti::{self, Hemisphere, Kind, Surface};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::support::image::gzip;
use crate::support::shared;

/// The codes that have a case here.
pub fn codes() -> Vec<Code> {
    vec![Code::Gi01, Code::Gi02, Code::Gi03]
}

/// A tetrahedron, as any program might write it.
pub fn tetrahedron(encoding: &str, big: bool) -> String {
    let points = [0.0, 0.0, 0.0, 10.0, 0.0, 0.0, 0.0, 10.0, 0.0, 0.0, 0.0, 10.5f32];
    let triangles = [0, 1, 2, 0, 1, 3, 0, 2, 3, 1, 2, 3i32];
    let floats = points.iter().flat_map(|v| if big { v.to_be_bytes() } else { v.to_le_bytes() }).collect();
    let whole = triangles.iter().flat_map(|v| if big { v.to_be_bytes() } else { v.to_le_bytes() }).collect();
    let words = |v: &[String]| v.join(" ");
    let points = array("POINTSET", "FLOAT32", encoding, big, floats, &words(&points.map(|v| v.to_string())));
    let triangles = array("TRIANGLE", "INT32", encoding, big, whole, &words(&triangles.map(|v| v.to_string())));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE GIFTI SYSTEM \"http://gifti.projects.nitrc.org/gifti.dtd\">\n\
         <GIFTI Version=\"1.0\" NumberOfDataArrays=\"2\"><MetaData/><LabelTable/>{points}{triangles}</GIFTI>\n"
    )
}

fn array(intent: &str, kind: &str, encoding: &str, big: bool, bytes: Vec<u8>, words: &str) -> String {
    let data = match encoding {
        "ASCII" => words.to_owned(),
        "Base64Binary" => STANDARD.encode(bytes),
        _ => {
            let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
            packed.write_all(&bytes).unwrap();
            STANDARD.encode(packed.finish().unwrap())
        }
    };
    let endian = if big { "BigEndian" } else { "LittleEndian" };
    format!(
        "<DataArray Intent=\"NIFTI_INTENT_{intent}\" DataType=\"NIFTI_TYPE_{kind}\" ArrayIndexingOrder=\"RowMajorOrder\" \
         Dimensionality=\"2\" Dim0=\"4\" Dim1=\"3\" Encoding=\"{encoding}\" Endian=\"{endian}\" ExternalFileName=\"\" \
         ExternalFileOffset=\"\"><MetaData><MD><Name><![CDATA[AnatomicalStructurePrimary]]></Name><Value>CortexRight</Value>\
         </MD></MetaData><Data>{data}</Data></DataArray>"
    )
}

fn surface(content: impl AsRef<[u8]>) -> Result<Surface, brainscore::error::Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.surf.gii");
    std::fs::write(&path, content).unwrap();
    Surface::open(&path).map(|(surface, _)| surface)
}

#[test]
fn every_encoding_and_order_gives_one_surface() {
    let plain = surface(tetrahedron("ASCII", false)).unwrap();
    assert_eq!((plain.points[3], plain.triangles[3]), ([0.0, 0.0, 10.5], [1, 2, 3]));
    assert_eq!(plain.hemisphere, Some(Hemisphere::Right));
    for encoding in ["ASCII", "Base64Binary", "GZipBase64Binary"] {
        for big in [false, true] {
            let text = tetrahedron(encoding, big);
            assert_eq!(surface(&text).unwrap(), plain, "{encoding} {big}");
            assert_eq!(surface(gzip(text.as_bytes())).unwrap(), plain, "{encoding} {big}, as a whole in gzip");
        }
    }
    let columns = tetrahedron("ASCII", false)
        .replacen("RowMajor", "ColumnMajor", 1)
        .replace("0 0 0 10 0 0 0 10 0 0 0 10.5", "0 10 0 0 0 0 10 0 0 0 0 10.5");
    assert_eq!(surface(columns).unwrap(), plain);
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lh.func.gii");
    let values: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin()).collect();
    let document = gifti::scalars(
        "NIFTI_INTENT_NONE",
        Hemisphere::Left,
        &[("cod <&> \"it\"", &values), ("defined", &[1.0; 1000])],
    );
    gifti::write(&path, &document).unwrap();
    let (back, _) = gifti::read(&path).unwrap();
    assert_eq!(back, document);
    assert_eq!((back.arrays[0].kind, back.arrays[0].named("Name")), (Kind::Float32, Some("cod <&> \"it\"")));
}

#[test]
fn damaged_files_are_refused_by_name() {
    let good = || tetrahedron("Base64Binary", false);
    let with = |from: &str, to: &str| {
        assert!(good().contains(from), "{from}");
        good().replacen(from, to, 1)
    };
    let ascii = |from: &str, to: &str| tetrahedron("ASCII", false).replacen(from, to, 1);
    let laughs = with("gifti.dtd\"", "gifti.dtd\" [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]");
    let cases: Vec<(String, Code, &str)> = vec![
        ("".to_owned(), Code::Gi01, "is no XML"),
        ("solid stl".to_owned(), Code::Gi01, "is no XML"),
        ("<svg/>".to_owned(), Code::Gi01, "is a document of <svg>"),
        ("<GIFTI></GIFTI>".to_owned(), Code::Gi01, "holds no array"),
        (good()[..good().len() - 40].to_owned(), Code::Gi01, ""),
        (
            good().replace("</LabelTable>", "").replace("<LabelTable/>", "<LabelTable>"),
            Code::Gi01,
            "is damaged at byte",
        ),
        (laughs, Code::Gi01, "declares entities of its own"),
        (with("CortexRight", "&file;"), Code::Gi01, "uses the entity \"file\""),
        ("<GIFTI>".repeat(60), Code::Gi01, "nests more than 32"),
        (with("Encoding=\"Base64Binary\"", "Encoding=\"ExternalFileBinary\""), Code::Gi02, "lies in another file"),
        (with("Encoding=\"Base64Binary\"", "Encoding=\"Zip\""), Code::Gi02, "has Encoding=\"Zip\""),
        (with("NIFTI_TYPE_FLOAT32", "NIFTI_TYPE_COMPLEX64"), Code::Gi02, "is of type"),
        (with("Dim0=\"4\"", "Dim0=\"-4\""), Code::Gi02, "has Dim0=\"-4\""),
        (with("Dim0=\"4\"", "Dim0=\"5\""), Code::Gi02, "has 48 bytes of data; expected 60"),
        (with("Dim0=\"4\"", "Dim0=\"99999999999999999\""), Code::Gi02, "at most 1073741824 bytes"),
        (with("Dimensionality=\"2\"", "Dimensionality=\"9\""), Code::Gi02, "has 9 dimensions"),
        (with("LittleEndian", "MiddleEndian"), Code::Gi02, "has Endian=\"MiddleEndian\""),
        (with("<Data>", "<Data>!"), Code::Gi02, "holds damaged Base64"),
        (with("<Data>", "<Dota>").replacen("</Data>", "</Dota>", 1), Code::Gi02, "has no data"),
        (ascii("10.5", "ten"), Code::Gi02, "holds \"ten\""),
        (ascii("10.5", ""), Code::Gi02, "has 11 values; expected 12"),
        (
            tetrahedron("GZipBase64Binary", false).replacen("<Data>eJ", "<Data>fJ", 1),
            Code::Gi02,
            "holds damaged compressed data",
        ),
        (with("INTENT_TRIANGLE", "INTENT_LABEL"), Code::Gi03, "holds no triangles"),
        (ascii("10.5", "NaN"), Code::Gi03, "vertex 3 has a coordinate of NaN"),
        (ascii("1 2 3<", "1 2 4<"), Code::Gi03, "triangle 3 names vertex 4"),
        (ascii("1 2 3<", "1 2 -1<"), Code::Gi03, "names vertex -1"),
        (ascii("Dim0=\"4\" Dim1=\"3\"", "Dim0=\"6\" Dim1=\"2\""), Code::Gi03, "has points of shape [6, 2]"),
    ];
    for (number, (content, code, says)) in cases.into_iter().enumerate() {
        let error = surface(content).unwrap_err();
        assert!(error.code() == code && error.to_string().contains(says), "case {number}, {code} {says:?}: {error}");
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&vec![0; 64 << 20]).unwrap();
    let text = tetrahedron("GZipBase64Binary", false);
    let (head, rest) = text.split_once("<Data>").unwrap();
    let (_, tail) = rest.split_once("</Data>").unwrap();
    let bomb = format!("{head}<Data>{}</Data>{tail}", STANDARD.encode(packed.finish().unwrap()));
    let error = surface(bomb).unwrap_err();
    assert!(error.to_string().contains("has 49 bytes of data; expected 48"), "{error}");
}

#[test]
fn surfaces_of_fsaverage_are_read() {
    let Some(shared) = shared() else { return };
    for (name, half) in [("pial_left", Hemisphere::Left), ("white_right", Hemisphere::Right)] {
        let path = shared.join(format!("data/geometry/{name}.gii.gz"));
        let (surface, _) = Surface::open(Path::new(&path)).unwrap();
        assert_eq!((surface.points.len(), surface.triangles.len()), (10_242, 20_480), "{name}");
        assert_eq!(surface.hemisphere, Some(half));
        let mean: f64 = surface.points.iter().map(|p| p[0]).sum::<f64>() / 10_242.0;
        assert!((mean < -20.0) == (half == Hemisphere::Left), "{name}: {mean}");
    }
}
