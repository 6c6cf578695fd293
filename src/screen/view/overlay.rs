//! What lies over the panes: the keys, the addresses, the palette.

use ratatui::style::{Modifier, Style};
use ratatui::text::Span;

use super::Scene;
use crate::screen::prompt::{Purpose, palette};
use crate::screen::sanitise;
use crate::screen::ui::Overlay;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);

/// The title and the rows.
pub(super) fn content(scene: &Scene<'_>, overlay: Overlay) -> (String, Vec<Vec<Span<'static>>>) {
    match overlay {
        Overlay::Help => ("keys · esc closes".to_owned(), help(scene)),
        Overlay::Urls => ("addresses · esc closes".to_owned(), urls(scene)),
    }
}

fn help(scene: &Scene<'_>) -> Vec<Vec<Span<'static>>> {
    let mut rows = Vec::new();
    for group in scene.keys.help() {
        rows.push(vec![Span::styled(group.title, BOLD)]);
        rows.extend(group.rows.into_iter().map(|(keys, about)| {
            vec![
                Span::styled(format!("  {keys:<22} "), BOLD),
                Span::raw(about),
            ]
        }));
    }
    rows.push(Vec::new());
    rows.push(vec![Span::styled("files", BOLD)]);
    let files = scene.files.iter();
    rows.extend(files.map(|file| vec![Span::styled(format!("  {}", sanitise::label(file)), DIM)]));
    rows
}

fn urls(scene: &Scene<'_>) -> Vec<Vec<Span<'static>>> {
    let places = &scene.overview.places;
    if places.is_empty() {
        return vec![vec![Span::raw("no address is known yet")]];
    }
    let row = |place: &crate::overview::Place| vec![Span::raw(sanitise::label(&place.text))];
    places.iter().map(row).collect()
}

/// The actions that match what is typed, with the chosen one.
pub(super) fn choices(scene: &Scene<'_>) -> Option<(usize, Vec<Vec<Span<'static>>>)> {
    let prompt = scene.ui.prompt()?;
    let Purpose::Palette(chosen) = prompt.purpose() else {
        return None;
    };
    let rows = palette(prompt.text())
        .into_iter()
        .enumerate()
        .map(|(place, action)| {
            let keys: Vec<String> = scene
                .keys
                .keys_of(action)
                .iter()
                .map(ToString::to_string)
                .collect();
            let style = match place == chosen {
                true => Style::new().add_modifier(Modifier::REVERSED),
                false => Style::new(),
            };
            vec![
                Span::styled(format!("{:<16}", action.name()), style),
                Span::styled(format!("{:<14}", keys.join(" ")), DIM),
                Span::styled(action.description(), style),
            ]
        });
    Some((chosen, rows.collect()))
}
