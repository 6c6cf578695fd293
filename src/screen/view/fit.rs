//! A row of parts that has to fit: what matters least is shortened, then left out, until the rest does.

use ratatui::style::{Modifier, Style};
use ratatui::text::Span;
use unicode_width::UnicodeWidthStr as _;

/// A part of a row.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// How much it matters: the least goes first. Of equals, the last.
    weight: u8,
    /// What is shown, then what is shown where that is too long.
    forms: Vec<Vec<Span<'static>>>,
    /// Without it the row says nothing.
    stays: bool,
    /// What a click on it opens.
    link: Option<String>,
}

/// A part, or what stands between two, as it is shown: from this column on.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) column: u16,
    pub(super) spans: Vec<Span<'static>>,
    pub(super) link: Option<String>,
}

impl Part {
    pub(super) fn new(weight: u8, text: impl Into<String>, style: Style) -> Part {
        Part::of(weight, vec![Span::styled(text.into(), style)])
    }

    pub(super) fn of(weight: u8, spans: Vec<Span<'static>>) -> Part {
        Part {
            weight,
            forms: vec![spans],
            stays: false,
            link: None,
        }
    }

    /// What is shown of it before it is left out.
    pub(super) fn or(mut self, text: impl Into<String>, style: Style) -> Part {
        self.forms.push(vec![Span::styled(text.into(), style)]);
        self
    }

    pub(super) fn stays(mut self) -> Part {
        self.stays = true;
        self
    }

    pub(super) fn link(mut self, link: Option<String>) -> Part {
        self.link = link;
        self
    }

    fn width(&self) -> usize {
        self.forms[0].iter().map(|span| span.content.width()).sum()
    }
}

/// As much of `parts` as fits into `width` columns with `separator` between them.
pub(super) fn fit(mut parts: Vec<Part>, separator: &str, width: u16) -> Vec<Placed> {
    let width = usize::from(width);
    let needed = |parts: &[Part]| {
        let texts: usize = parts.iter().map(Part::width).sum();
        texts + separator.width() * parts.len().saturating_sub(1)
    };
    while needed(&parts) > width {
        let candidates = parts
            .iter()
            .enumerate()
            .filter(|(_, part)| !part.stays || part.forms.len() > 1);
        let Some(least) = candidates
            .min_by_key(|(place, part)| (part.weight, std::cmp::Reverse(*place)))
            .map(|(place, _)| place)
        else {
            break;
        };
        match parts[least].forms.len() {
            1 => _ = parts.remove(least),
            _ => _ = parts[least].forms.remove(0),
        }
    }
    let mut column = 0;
    let mut placed = Vec::new();
    let mut place = |spans: Vec<Span<'static>>, link| {
        let at = u16::try_from(column).unwrap_or(u16::MAX);
        column += spans.iter().map(Span::width).sum::<usize>();
        placed.push(Placed {
            column: at,
            spans,
            link,
        });
    };
    let dim = Style::new().add_modifier(Modifier::DIM);
    for (number, mut part) in parts.into_iter().enumerate() {
        if number > 0 {
            place(vec![Span::styled(separator.to_owned(), dim)], None);
        }
        place(part.forms.remove(0), part.link);
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(parts: &[Part], width: u16) -> String {
        let texts = fit(parts.to_vec(), " · ", width).into_iter().map(|placed| {
            let texts = placed.spans.iter().map(|span| span.content.as_ref());
            texts.collect::<String>()
        });
        texts.collect()
    }

    #[test]
    fn what_matters_least_is_shortened_and_then_left_out() {
        let part = |weight, text: &str| Part::new(weight, text, Style::new());
        let parts = [
            part(9, "[STATE]").stays(),
            part(2, "project").or("pr", Style::new()),
            part(1, "pid 7"),
        ];
        assert_eq!(shown(&parts, 80), "[STATE] · project · pid 7");
        assert_eq!(shown(&parts, 24), "[STATE] · project");
        assert_eq!(shown(&parts, 16), "[STATE] · pr");
        assert_eq!(shown(&parts, 11), "[STATE]");
        assert_eq!(shown(&parts, 3), "[STATE]");
    }
}
