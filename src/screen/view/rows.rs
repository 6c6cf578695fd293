//! Lines that are wider than the screen: cut, or broken into rows.

use ratatui::style::Style;
use ratatui::text::Span;
use unicode_width::UnicodeWidthChar as _;

/// `spans` in rows of `width` columns; at least one.
pub(super) fn wrap(spans: &[Span<'static>], width: u16) -> Vec<Vec<Span<'static>>> {
    let width = usize::from(width.max(2));
    let (mut rows, mut row, mut used) = (Vec::new(), Vec::new(), 0);
    for span in spans {
        let mut piece = String::new();
        for c in span.content.chars() {
            let wide = c.width().unwrap_or(0);
            if used + wide > width {
                push(&mut row, &mut piece, span.style);
                rows.push(std::mem::take(&mut row));
                used = 0;
            }
            piece.push(c);
            used += wide;
        }
        push(&mut row, &mut piece, span.style);
    }
    rows.push(row);
    rows
}

/// The first `width` columns of `spans`.
pub(super) fn cut(spans: Vec<Span<'static>>, width: u16) -> Vec<Span<'static>> {
    let total: usize = spans.iter().map(Span::width).sum();
    if total <= usize::from(width) {
        return spans;
    }
    wrap(&spans, width).swap_remove(0)
}

fn push(row: &mut Vec<Span<'static>>, piece: &mut String, style: Style) {
    if !piece.is_empty() {
        row.push(Span::styled(std::mem::take(piece), style));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(parts: &[&str], width: u16) -> Vec<String> {
        let spans: Vec<Span<'static>> = parts
            .iter()
            .map(|part| Span::raw((*part).to_owned()))
            .collect();
        let text =
            |row: &Vec<Span<'static>>| row.iter().map(|span| span.content.as_ref()).collect();
        wrap(&spans, width).iter().map(text).collect()
    }

    #[test]
    fn a_line_is_broken_where_the_row_ends_and_never_within_a_wide_character() {
        assert_eq!(rows(&["abcdef"], 3), ["abc", "def"]);
        assert_eq!(rows(&["ab", "cd", "e"], 3), ["abc", "de"]);
        assert_eq!(rows(&["a你好"], 2), ["a", "你", "好"]);
        assert_eq!(rows(&[""], 5), [""]);
        assert_eq!(rows(&["e\u{301}x"], 2), ["e\u{301}x"]);
    }
}
