//! A line that is being typed: something to look for, an action to do, a line for the server's stdin.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::keys::Action;

/// What is being typed, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    purpose: Purpose,
    text: String,
    /// Where the next character goes, in bytes.
    cursor: usize,
}

/// What a line is typed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To find it in the log.
    Search,
    /// To see nothing but lines that match.
    Filter,
    /// For the server to read.
    Input,
    /// To choose an action: the how-manieth of those that match.
    Palette(usize),
}

/// What a key has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It goes on.
    More,
    /// The line is complete.
    Entered,
    /// It is not wanted any more.
    Cancelled,
    /// There is nothing more to read for whoever reads the lines.
    Closed,
}

impl Prompt {
    /// An empty one.
    pub fn new(purpose: Purpose) -> Prompt {
        Prompt {
            purpose,
            text: String::new(),
            cursor: 0,
        }
    }

    /// What for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// What has been typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What stands before the cursor, and from it on.
    pub fn around_cursor(&self) -> (&str, &str) {
        self.text.split_at(self.cursor)
    }

    /// What has been typed; the next line begins.
    pub fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    /// Text is pasted. Line ends within it are no command to go on.
    pub fn insert(&mut self, text: &str) {
        let room = LONGEST.saturating_sub(self.text.len());
        for c in text.chars().filter(|c| !c.is_control()) {
            if c.len_utf8() > room {
                break;
            }
            self.text.insert(self.cursor, c);
            self.cursor += c.len_utf8();
        }
    }

    /// A key, as line editors everywhere take it.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a terminal has more keys than a line editor"
    )]
    pub fn key(&mut self, key: &KeyEvent) -> Step {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return Step::Entered,
            KeyCode::Esc => return Step::Cancelled,
            KeyCode::Char(']' | '5' | 'c' | 'g') if ctrl => return Step::Cancelled,
            KeyCode::Char('d') if ctrl && self.text.is_empty() => {
                return match self.purpose {
                    Purpose::Input => Step::Closed,
                    Purpose::Search | Purpose::Filter | Purpose::Palette(_) => Step::Cancelled,
                };
            }
            KeyCode::Backspace if self.text.is_empty() && self.purpose != Purpose::Input => {
                return Step::Cancelled;
            }
            KeyCode::Char('u') if ctrl => {
                self.text.drain(..self.cursor);
                self.cursor = 0;
            }
            KeyCode::Char('w') if ctrl => self.delete_word(),
            KeyCode::Char('a') if ctrl => self.cursor = 0,
            KeyCode::Char('e') if ctrl => self.cursor = self.text.len(),
            KeyCode::Char('h') if ctrl => self.delete_before(),
            KeyCode::Char(c) if !ctrl && !key.modifiers.contains(KeyModifiers::ALT) => {
                self.insert(c.encode_utf8(&mut [0; 4]));
            }
            KeyCode::Backspace => self.delete_before(),
            KeyCode::Delete if self.cursor < self.text.len() => {
                self.text.remove(self.cursor);
            }
            KeyCode::Left => self.cursor -= self.before().map_or(0, char::len_utf8),
            KeyCode::Right => {
                let next = self.text[self.cursor..].chars().next();
                self.cursor += next.map_or(0, char::len_utf8);
            }
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.text.len(),
            KeyCode::Up => self.choose(|chosen, _| chosen.saturating_sub(1)),
            KeyCode::Down | KeyCode::Tab => {
                self.choose(|chosen, most| (chosen + 1).min(most));
            }
            _ => {}
        }
        if let KeyCode::Char(_) | KeyCode::Backspace | KeyCode::Delete = key.code {
            self.choose(|_, _| 0);
        }
        Step::More
    }

    fn choose(&mut self, other: impl FnOnce(usize, usize) -> usize) {
        if let Purpose::Palette(chosen) = &mut self.purpose {
            let most = palette(&self.text).len().saturating_sub(1);
            *chosen = other(*chosen, most);
        }
    }

    fn before(&self) -> Option<char> {
        self.text[..self.cursor].chars().next_back()
    }

    fn delete_before(&mut self) {
        if let Some(c) = self.before() {
            self.cursor -= c.len_utf8();
            self.text.remove(self.cursor);
        }
    }

    fn delete_word(&mut self) {
        let before = self.text[..self.cursor].trim_end();
        let start = before.rfind(' ').map_or(0, |at| at + 1);
        self.text.drain(start..self.cursor);
        self.cursor = start;
    }
}

/// The actions whose name or description holds every word of `typed`, in the order of the help.
pub fn palette(typed: &str) -> Vec<Action> {
    let typed = typed.to_lowercase();
    let words: Vec<&str> = typed.split_whitespace().collect();
    let matches = |action: &Action| {
        let text = format!("{} {}", action.name(), action.description()).to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    Action::all().filter(matches).collect()
}

/// More than a terminal takes in a line.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn press(prompt: &mut Prompt, keys: &[(KeyCode, KeyModifiers)]) -> Step {
        let mut step = Step::More;
        for (code, modifiers) in keys {
            step = prompt.key(&KeyEvent::new(*code, *modifiers));
        }
        step
    }

    fn typed(text: &str) -> Prompt {
        let mut prompt = Prompt::new(Purpose::Search);
        prompt.insert(text);
        prompt
    }

    #[test]
    fn a_line_is_edited_as_everywhere() {
        const NONE: KeyModifiers = KeyModifiers::NONE;
        const CTRL: KeyModifiers = KeyModifiers::CONTROL;
        let mut prompt = typed("one zwö three");
        press(&mut prompt, &[(KeyCode::Char('w'), CTRL)]);
        assert_eq!(prompt.text(), "one zwö ");
        press(
            &mut prompt,
            &[(KeyCode::Backspace, NONE), (KeyCode::Backspace, NONE)],
        );
        assert_eq!(prompt.text(), "one zw");
        press(
            &mut prompt,
            &[
                (KeyCode::Home, NONE),
                (KeyCode::Delete, NONE),
                (KeyCode::Right, NONE),
            ],
        );
        press(&mut prompt, &[(KeyCode::Char('X'), KeyModifiers::SHIFT)]);
        assert_eq!(prompt.around_cursor(), ("nX", "e zw"));
        press(
            &mut prompt,
            &[
                (KeyCode::Char('u'), CTRL),
                (KeyCode::End, NONE),
                (KeyCode::Left, NONE),
            ],
        );
        assert_eq!(prompt.around_cursor(), ("e z", "w"));
        assert_eq!(press(&mut prompt, &[(KeyCode::Enter, NONE)]), Step::Entered);
        assert_eq!(prompt.take(), "e zw");
        assert_eq!(
            press(&mut prompt, &[(KeyCode::Backspace, NONE)]),
            Step::Cancelled
        );
    }

    #[test]
    fn what_is_typed_to_the_server_ends_with_ctrl_bracket_alone() {
        let mut prompt = Prompt::new(Purpose::Input);
        let ctrl = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        assert_eq!(prompt.key(&KeyEvent::from(KeyCode::Backspace)), Step::More);
        assert_eq!(prompt.key(&ctrl('d')), Step::Closed);
        // Terminals without the newer protocol send ctrl-] as ctrl-5.
        assert_eq!(prompt.key(&ctrl('5')), Step::Cancelled);
        assert_eq!(prompt.key(&ctrl(']')), Step::Cancelled);
    }

    #[test]
    fn the_palette_finds_actions_by_their_words() {
        assert!(palette("").len() > 30);
        assert_eq!(palette("REBUILD"), [Action::Rebuild]);
        assert!(palette("nothing is called like that").is_empty());
    }
}
