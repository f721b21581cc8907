use plotters::style::RGBColor;

/// Text and axes.
pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
/// Text that stands back, and frames.
pub(super) const SOFT: RGBColor = RGBColor(0x55, 0x55, 0x55);
/// Lines of a grid.
pub(super) const MESH: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);
/// The line of zero.
pub(super) const ZERO: RGBColor = RGBColor(0x8a, 0x8a, 0x8a);
/// What a model must beat, and what it cannot exceed.
pub(super) const BASELINE: RGBColor = RGBColor(0x4d, 0x4d, 0x4d);
pub(super) const CEILING: RGBColor = RGBColor(0x8c, 0x6d, 0x1f);

/// How a curve is told from the others: by colour, by marker and by line, so that no single one of them is needed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    pub colour: RGBColor,
    pub marker: Marker,
    pub dashed: bool,
    /// Drawn before the others.
    pub behind: bool,
}

/// The shape at each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    Disc,
    Square,
    Triangle,
    Diamond,
    Ring,
    OpenSquare,
    OpenTriangle,
    OpenDiamond,
}

/// Okabe & Ito's palette (2008) without its yellow, which is too pale for a line on white, and with a softer black.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x26, 0x26, 0x26),
];

const MARKERS: [Marker; 8] = [
    Marker::Disc,
    Marker::Square,
    Marker::Triangle,
    Marker::Diamond,
    Marker::Ring,
    Marker::OpenSquare,
    Marker::OpenTriangle,
    Marker::OpenDiamond,
];

/// The grey of untrained checkpoints.
const UNTRAINED: RGBColor = RGBColor(0x80, 0x80, 0x80);

impl Look {
    /// The look of the `i`-th trained checkpoint. Seven colours and eight markers: 56 pairs before one comes again.
    pub fn trained(i: usize) -> Look {
        Look {
            colour: PALETTE[i % PALETTE.len()],
            marker: MARKERS[i % MARKERS.len()],
            dashed: i >= PALETTE.len(),
            behind: false,
        }
    }

    /// The look of the `i`-th untrained checkpoint: a baseline, so grey and dashed.
    pub fn untrained(i: usize) -> Look {
        Look { colour: UNTRAINED, marker: MARKERS[(i + 4) % MARKERS.len()], dashed: true, behind: true }
    }
}
