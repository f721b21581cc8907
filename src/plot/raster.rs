//! Bitmaps: plotters' shapes, our text, averaged down from a finer grid, encoded in memory.

use std::io::Write as _;

use ab_glyph::{Font, ScaleFont, point};
use flate2::write::ZlibEncoder;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::prelude::BitMapBackend;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontStyle,
    FontTransform, rasterizer,
};

use crate::error::Result;
use crate::plot::brain::Picture;
use crate::plot::canvas::UNITS;
use crate::plot::figure::failed;
use crate::plot::font;

/// Units of the drawing per pixel of the bitmap.
const FINER: usize = UNITS as usize / 2;

/// Rows of the finer grid that are painted at a time: a figure of any height takes the memory of a low one. Most figures are
/// hardly higher.
const BAND: usize = FINER * 1024;

/// What `paint` draws on `size` units, as a PNG of half as many pixels each way. `paint` is called once per band of rows, and
/// must draw the same each time.
pub(super) fn png<E: std::fmt::Display>(
    size: (u32, u32),
    paint: impl Fn(&DrawingArea<Raster<'_>, Shift>) -> std::result::Result<(), E>,
) -> Result<Vec<u8>> {
    png_in_bands(size, None, BAND, paint)
}

/// As [`png`], over a bitmap of the size of the PNG; `paint` leaves the ground as it is.
pub(super) fn png_over<E: std::fmt::Display>(
    size: (u32, u32),
    underlay: &Picture,
    paint: impl Fn(&DrawingArea<Raster<'_>, Shift>) -> std::result::Result<(), E>,
) -> Result<Vec<u8>> {
    png_in_bands(size, Some(underlay), BAND, paint)
}

fn png_in_bands<E: std::fmt::Display>(
    size: (u32, u32),
    underlay: Option<&Picture>,
    band: usize,
    paint: impl Fn(&DrawingArea<Raster<'_>, Shift>) -> std::result::Result<(), E>,
) -> Result<Vec<u8>> {
    let (width, height) = (size.0 as usize, size.1 as usize);
    let mut png = Png::new(width / FINER, height / FINER);
    let mut fine = vec![255; width * band.min(height) * 3];
    for top in (0..height).step_by(band) {
        let rows = band.min(height - top);
        let fine = &mut fine[..width * rows * 3];
        fine.fill(255);
        if let Some(picture) = underlay {
            for y in top..(top + rows).min(picture.height * FINER) {
                for x in 0..width.min(picture.width * FINER) {
                    let at = ((y - top) * width + x) * 3;
                    fine[at..at + 3].copy_from_slice(&picture.get(x / FINER, y / FINER));
                }
            }
        }
        {
            let bitmap = BitMapBackend::with_buffer(fine, (size.0, rows as u32));
            let area = Raster { bitmap, size, top: top as i32, rows: rows as i32 }.into_drawing_area();
            paint(&area).map_err(failed)?;
            area.present().map_err(|e: DrawingAreaErrorKind<_>| failed(e))?;
        }
        averaged(fine, width, |row| png.row(row))?;
    }
    png.finish()
}

/// The means of blocks of `FINER` × `FINER` pixels, row by row.
fn averaged(fine: &[u8], width: usize, mut keep: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut coarse = Vec::with_capacity(width / FINER * 3);
    for rows in fine.chunks_exact(width * 3 * FINER) {
        coarse.clear();
        for x in 0..width / FINER {
            for channel in 0..3 {
                let mut sum = 0;
                for (dy, dx) in (0..FINER).flat_map(|dy| (0..FINER).map(move |dx| (dy, dx))) {
                    sum += usize::from(rows[(dy * width + x * FINER + dx) * 3 + channel]);
                }
                coarse.push((sum / (FINER * FINER)) as u8);
            }
        }
        keep(&coarse)?;
    }
    Ok(())
}

/// A whole bitmap as a PNG file.
pub(super) fn encode(width: usize, height: usize, rgb: &[u8]) -> Result<Vec<u8>> {
    let mut png = Png::new(width, height);
    rgb.chunks_exact(width * 3).try_for_each(|row| png.row(row))?;
    png.finish()
}

/// A PNG file of 192 dots per inch that is made row by row.
struct Png {
    width: usize,
    height: usize,
    pixels: ZlibEncoder<Vec<u8>>,
}

impl Png {
    fn new(width: usize, height: usize) -> Png {
        Png { width, height, pixels: ZlibEncoder::new(Vec::new(), flate2::Compression::default()) }
    }

    /// Figures are flat: their rows are best compressed as they are, under the filter that changes nothing.
    fn row(&mut self, rgb: &[u8]) -> Result<()> {
        self.pixels.write_all(&[png::FilterType::NoFilter as u8]).map_err(failed)?;
        self.pixels.write_all(rgb).map_err(failed)
    }

    fn finish(self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        // 192 dots per inch: two pixels per CSS pixel.
        let per_metre = 7559;
        encoder.set_pixel_dims(Some(png::PixelDimensions { xppu: per_metre, yppu: per_metre, unit: png::Unit::Meter }));
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_chunk(png::chunk::IDAT, &self.pixels.finish().map_err(failed)?).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(bytes)
    }
}

/// plotters' bitmap with text of our own: plotters drops the space on the left of each glyph, which sets `i` and `l` askew.
///
/// It holds a band of rows of a higher picture. Everything is worked out in the coordinates of the whole picture, since
/// plotters rounds towards 0; what is painted outside the band is dropped, pixel by pixel.
pub(super) struct Raster<'a> {
    bitmap: BitMapBackend<'a>,
    /// Of the whole picture.
    size: (u32, u32),
    /// First row of the band, and its number of rows.
    top: i32,
    rows: i32,
}

type Drawn<'a> = std::result::Result<(), DrawingErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

impl Raster<'_> {
    fn within(&self, at: BackendCoord) -> BackendCoord {
        (at.0, at.1 - self.top)
    }

    /// Whether nothing between two rows, give or take some, is in the band.
    fn misses(&self, first: i32, last: i32, margin: i32) -> bool {
        last + margin < self.top || first - margin >= self.top + self.rows
    }
}

impl<'a> DrawingBackend for Raster<'a> {
    type ErrorType = <BitMapBackend<'a> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Drawn<'a> {
        self.bitmap.ensure_prepared()
    }

    fn present(&mut self) -> Drawn<'a> {
        self.bitmap.present()
    }

    fn draw_pixel(&mut self, at: BackendCoord, colour: BackendColor) -> Drawn<'a> {
        self.bitmap.draw_pixel(self.within(at), colour)
    }

    /// Thin lines along the axes are whole rows of pixels, which plotters' bitmap paints at once.
    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn<'a> {
        match style.stroke_width() == 1 && (from.0 == to.0 || from.1 == to.1) {
            true => self.bitmap.draw_line(self.within(from), self.within(to), style),
            false => rasterizer::draw_line(self, from, to, style),
        }
    }

    fn draw_rect<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S, fill: bool) -> Drawn<'a> {
        match fill {
            true => self.bitmap.draw_rect(self.within(from), self.within(to), style, fill),
            false => rasterizer::draw_rect(self, from, to, style, fill),
        }
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Drawn<'a> {
        let corners: Vec<BackendCoord> = corners.into_iter().collect();
        let rows = || corners.iter().map(|c| c.1);
        if self.misses(rows().min().unwrap_or(0), rows().max().unwrap_or(0), 2) {
            return Ok(());
        }
        rasterizer::fill_polygon(self, &corners, style)
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
        if matches!(turn, FontTransform::None) && self.misses(at.1, at.1, 2 * em.ceil() as i32) {
            return Ok(());
        }
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
                self.draw_pixel((at.0 + dx, at.1 + dy), BackendColor { alpha, rgb: colour.rgb })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::canvas::{Canvas, Painted, Type};
    use crate::plot::look::{BASELINE, INK, Marker};

    /// Every kind of stroke, across the borders of bands, and beyond those of the picture.
    fn strokes<DB: DrawingBackend>(canvas: &Canvas<'_, DB>) -> Painted<DB> {
        canvas.rectangle((3.0, 5.0), (90.0, 55.0), BASELINE, 0.17)?;
        canvas.area(&[(-4.0, 30.0), (40.0, 2.0), (110.0, 57.5)], INK, 0.1)?;
        for (i, width) in [0.25, 1.0, 1.9].into_iter().enumerate() {
            let i = i as f64;
            canvas.line(&[(2.0, 4.0 + i), (95.3, 70.0 + i), (50.0, -3.0)], INK, width)?;
            canvas.line(&[(10.0 * i, -3.0), (10.0 * i, 80.0)], INK, width)?;
            canvas.dashes(&[(0.0, 16.0 + i), (99.0, 16.0 + i)], BASELINE, width, (6.0, 4.0))?;
        }
        let set = Type { em: 12.5, bold: false, colour: INK, align: HPos::Left };
        for at in 0..8 {
            let y = 7.3 * f64::from(at);
            canvas.marker((y, y), [Marker::Ring, Marker::Diamond, Marker::Disc][at as usize % 3], BASELINE)?;
            canvas.cross((80.0, y), INK)?;
            canvas.text("fjörd Ågy", (20.0, y), set)?;
        }
        canvas.upwards("upwards", (60.0, 30.0), set)
    }

    #[test]
    fn bands_make_the_same_picture_whatever_their_height() {
        let size = (400, 240);
        let ground = vec![[9, 90, 200].as_slice(); 200 * 120].concat();
        let ground = Picture { width: 200, height: 120, rgb: ground };
        for underlay in [None, Some(&ground)] {
            let whole = png_in_bands(size, underlay, 240, |area| strokes(&Canvas(area))).unwrap();
            for band in [2, 38, 100, 238] {
                assert!(
                    png_in_bands(size, underlay, band, |area| strokes(&Canvas(area))).unwrap() == whole,
                    "bands of {band}"
                );
            }
        }
    }
}
