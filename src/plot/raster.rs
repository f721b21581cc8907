//! Bitmaps: plotters' shapes, our text, averaged down from a finer grid, encoded in memory.

use ab_glyph::{Font, ScaleFont, point};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::prelude::BitMapBackend;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontStyle,
};

use crate::error::Result;
use crate::plot::brain::Picture;
use crate::plot::canvas::UNITS;
use crate::plot::figure::failed;
use crate::plot::font;

/// Units of the drawing per pixel of the bitmap.
const FINER: usize = UNITS as usize / 2;

/// What `paint` draws on `size` units, as a PNG of half as many pixels each way.
pub(super) fn png<E: std::fmt::Display>(
    size: (u32, u32),
    paint: impl FnOnce(&DrawingArea<Raster<'_>, Shift>) -> std::result::Result<(), E>,
) -> Result<Vec<u8>> {
    png_over(size, None, paint)
}

/// As [`png`], over a bitmap of the size of the PNG; `paint` leaves the ground as it is.
pub(super) fn png_over<E: std::fmt::Display>(
    size: (u32, u32),
    underlay: Option<&Picture>,
    paint: impl FnOnce(&DrawingArea<Raster<'_>, Shift>) -> std::result::Result<(), E>,
) -> Result<Vec<u8>> {
    let (width, height) = (size.0 as usize, size.1 as usize);
    let mut fine = vec![255; width * height * 3];
    if let Some(picture) = underlay {
        for y in 0..height.min(picture.height * FINER) {
            for x in 0..width.min(picture.width * FINER) {
                let at = (y * width + x) * 3;
                fine[at..at + 3].copy_from_slice(&picture.get(x / FINER, y / FINER));
            }
        }
    }
    {
        let area = Raster(BitMapBackend::with_buffer(&mut fine, size)).into_drawing_area();
        paint(&area).map_err(failed)?;
        area.present().map_err(|e: DrawingAreaErrorKind<_>| failed(e))?;
    }
    encode(width / FINER, height / FINER, &averaged(&fine, width, height))
}

/// The mean of each block of `FINER` × `FINER` pixels.
fn averaged(fine: &[u8], width: usize, height: usize) -> Vec<u8> {
    let mut coarse = Vec::with_capacity(fine.len() / (FINER * FINER));
    for y in 0..height / FINER {
        for x in 0..width / FINER {
            for channel in 0..3 {
                let mut sum = 0;
                for (dy, dx) in (0..FINER).flat_map(|dy| (0..FINER).map(move |dx| (dy, dx))) {
                    sum += usize::from(fine[((y * FINER + dy) * width + x * FINER + dx) * 3 + channel]);
                }
                coarse.push((sum / (FINER * FINER)) as u8);
            }
        }
    }
    coarse
}

/// A PNG file of 192 dots per inch.
pub(super) fn encode(width: usize, height: usize, rgb: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // Figures are flat: their rows are best compressed as they are, which the fastest compressor cannot.
    encoder.set_filter(png::FilterType::NoFilter);
    encoder.set_compression(png::Compression::Default);
    // 192 dots per inch: two pixels per CSS pixel.
    let per_metre = 7559;
    encoder.set_pixel_dims(Some(png::PixelDimensions { xppu: per_metre, yppu: per_metre, unit: png::Unit::Meter }));
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(rgb).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// plotters' bitmap with text of our own: plotters drops the space on the left of each glyph, which sets `i` and `l` askew.
pub(super) struct Raster<'a>(BitMapBackend<'a>);

type Drawn<'a> = std::result::Result<(), DrawingErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

impl<'a> DrawingBackend for Raster<'a> {
    type ErrorType = <BitMapBackend<'a> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.0.get_size()
    }

    fn ensure_prepared(&mut self) -> Drawn<'a> {
        self.0.ensure_prepared()
    }

    fn present(&mut self) -> Drawn<'a> {
        self.0.present()
    }

    fn draw_pixel(&mut self, at: BackendCoord, colour: BackendColor) -> Drawn<'a> {
        self.0.draw_pixel(at, colour)
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn<'a> {
        self.0.draw_line(from, to, style)
    }

    fn draw_rect<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S, fill: bool) -> Drawn<'a> {
        self.0.draw_rect(from, to, style, fill)
    }

    /// The place and size rules are those of plotters' SVG, so that both formats agree.
    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Drawn<'a> {
        let em = style.size() / 1.24;
        let bold = matches!(style.style(), FontStyle::Bold);
        let shift = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => -0.5,
            HPos::Right => -1.0,
        };
        let baseline = em
            * match style.anchor().v_pos {
                VPos::Top => 0.76,
                VPos::Center => font::X_HEIGHT / 2.0,
                VPos::Bottom => -font::X_HEIGHT / 2.0,
            };
        let turn = style.transform();
        let colour = style.color();
        let face = font::face(bold);
        let scaled = face.as_scaled(font::scale(&face, em));
        let mut x = (shift * font::width(text, em, bold)) as f32;
        let mut before = None;
        for c in text.chars() {
            let id = scaled.glyph_id(c);
            x += before.map_or(0.0, |b| scaled.kern(b, id));
            before = Some(id);
            let glyph = id.with_scale_and_position(scaled.scale(), point(x, baseline as f32));
            x += scaled.h_advance(id);
            let Some(outline) = face.outline_glyph(glyph) else { continue };
            let bounds = outline.px_bounds();
            let mut covered = Vec::new();
            outline.draw(|gx, gy, coverage| covered.push((gx as i32, gy as i32, coverage)));
            for (gx, gy, coverage) in covered {
                let (dx, dy) = turn.transform(bounds.min.x as i32 + gx, bounds.min.y as i32 + gy);
                let alpha = colour.alpha * f64::from(coverage.clamp(0.0, 1.0));
                self.0.draw_pixel((at.0 + dx, at.1 + dy), BackendColor { alpha, rgb: colour.rgb })?;
            }
        }
        Ok(())
    }
}
