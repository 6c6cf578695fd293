//! The bytes of one stream, cut into lines and JSON records, however they come.
//!
//! Text passes on at once, also half a line: a prompt has to appear. Only what may be JSON that a tool writes for
//! programs is held back until that is known.

use super::{LONGEST_LINE, LONGEST_RECORD};

/// What comes out of a stream.
pub(super) enum Piece<'a> {
    /// To be shown as it is.
    Show(&'a [u8]),
    /// A whole line, without its end, at most 64 KiB of it. It has been shown already.
    Line(&'a [u8]),
    /// A JSON record, which has not been shown. To be shown as it is if nobody knows it: the last one with what
    /// stood around it.
    Record(&'a [u8]),
}

/// Which records are looked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Json {
    /// `{"reason":`, `{"ImportPath":` and others of one line.
    pub(super) lines: bool,
    /// `[{"filePath":`, one line for everything.
    pub(super) files: bool,
}

#[derive(Default)]
pub(super) struct Feed {
    json: Json,
    state: State,
    /// What has come of the line, or of the record.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// At the beginning of a line: what is held may become either, and has not been shown.
    #[default]
    Start,
    /// In a line of text.
    Text,
    /// In a line of JSON.
    Record,
    /// Between the records of a list.
    Between,
    /// In a record of a list.
    Within {
        depth: usize,
        string: bool,
        escaped: bool,
    },
}

impl Feed {
    pub(super) fn new(json: Json) -> Feed {
        Feed {
            json,
            ..Feed::default()
        }
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(Piece<'_>)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                State::Start => self.start(rest, out),
                State::Text => self.text(rest, out),
                State::Record => self.record(rest, out),
                State::Between => self.between(rest, out),
                State::Within { .. } => self.within(rest, out),
            };
        }
    }

    /// The stream is at its end.
    pub(super) fn end(&mut self, out: &mut dyn FnMut(Piece<'_>)) {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Start if held.is_empty() => {}
            State::Start => {
                out(Piece::Show(&held));
                out(Piece::Line(&held));
            }
            State::Text => out(Piece::Line(&held)),
            State::Record => out(Piece::Record(&held)),
            State::Between | State::Within { .. } => out(Piece::Show(&held)),
        }
        self.state = State::Start;
    }

    pub(super) fn held(&self) -> usize {
        self.held.capacity()
    }

    fn start<'b>(&mut self, bytes: &'b [u8], out: &mut dyn FnMut(Piece<'_>)) -> &'b [u8] {
        let (lines, files) = (self.json.lines, self.json.files);
        // Most lines are known by their first byte, and most streams hold no JSON.
        if self.held.is_empty() && !(lines && bytes[0] == b'{' || files && bytes[0] == b'[') {
            self.state = State::Text;
            return bytes;
        }
        let (&first, rest) = bytes.split_first().expect("not empty, as push says");
        self.held.push(first);
        let held = self.held.as_slice();
        if lines && LINES.contains(&held) {
            self.state = State::Record;
        } else if files && held == FILES {
            // The record begins with its brace, and the name of a file has begun.
            self.held.drain(..1);
            self.state = State::Within {
                depth: 1,
                string: true,
                escaped: false,
            };
        } else if !(lines && LINES.iter().any(|begin| begin.starts_with(held))
            || files && FILES.starts_with(held))
        {
            // It is text after all, perhaps with its end.
            let held = std::mem::take(&mut self.held);
            self.state = State::Text;
            let rest_of_held = self.text(&held, out);
            debug_assert!(rest_of_held.is_empty(), "only the last byte ends a line");
        }
        rest
    }

    fn text<'b>(&mut self, bytes: &'b [u8], out: &mut dyn FnMut(Piece<'_>)) -> &'b [u8] {
        let end = bytes.iter().position(|&b| b == b'\n');
        let (shown, rest) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
        out(Piece::Show(shown));
        let line = &shown[..end.unwrap_or(shown.len())];
        if end.is_some() && self.held.is_empty() {
            out(Piece::Line(&line[..line.len().min(LONGEST_LINE)]));
            self.state = State::Start;
            return rest;
        }
        let room = LONGEST_LINE.saturating_sub(self.held.len());
        self.held.extend(&line[..line.len().min(room)]);
        if end.is_some() {
            out(Piece::Line(&self.held));
            self.held.clear();
            self.state = State::Start;
        }
        rest
    }

    fn record<'b>(&mut self, bytes: &'b [u8], out: &mut dyn FnMut(Piece<'_>)) -> &'b [u8] {
        let end = bytes.iter().position(|&b| b == b'\n').map(|at| at + 1);
        let room = LONGEST_RECORD.saturating_sub(self.held.len());
        let take = end.unwrap_or(bytes.len());
        if take > room {
            return self.too_long(bytes, room, out);
        }
        self.held.extend(&bytes[..take]);
        if end.is_some() {
            out(Piece::Record(&self.held));
            self.forget();
            self.state = State::Start;
        }
        &bytes[take..]
    }

    /// A record that is too long is text, and shown as it is.
    fn too_long<'b>(
        &mut self,
        bytes: &'b [u8],
        room: usize,
        out: &mut dyn FnMut(Piece<'_>),
    ) -> &'b [u8] {
        self.held.extend(&bytes[..room]);
        out(Piece::Show(&self.held));
        self.held.truncate(LONGEST_LINE);
        self.held.shrink_to(LONGEST_LINE);
        self.state = State::Text;
        &bytes[room..]
    }

    /// `, ` between two records; the bracket behind the last, and the end of the line.
    fn between<'b>(&mut self, bytes: &'b [u8], out: &mut dyn FnMut(Piece<'_>)) -> &'b [u8] {
        let (&first, rest) = bytes.split_first().expect("not empty, as push says");
        match first {
            b'{' => {
                self.held.push(first);
                self.state = State::Within {
                    depth: 1,
                    string: false,
                    escaped: false,
                };
            }
            b'\n' => self.state = State::Start,
            b',' | b']' | b' ' | b'\r' => {}
            _ => {
                // Not a list that eslint writes.
                self.state = State::Text;
                return self.text(bytes, out);
            }
        }
        rest
    }

    fn within<'b>(&mut self, bytes: &'b [u8], out: &mut dyn FnMut(Piece<'_>)) -> &'b [u8] {
        let State::Within {
            mut depth,
            mut string,
            mut escaped,
        } = self.state
        else {
            return bytes;
        };
        let room = LONGEST_RECORD.saturating_sub(self.held.len());
        for (at, &byte) in bytes.iter().enumerate() {
            if at == room {
                return self.too_long(bytes, room, out);
            }
            match byte {
                // JSON writes it as an escape within a string, and eslint writes none without.
                b'\n' => {
                    self.held.extend(&bytes[..=at]);
                    out(Piece::Show(&self.held));
                    self.forget();
                    self.state = State::Start;
                    return &bytes[at + 1..];
                }
                _ if escaped => escaped = false,
                b'\\' => escaped = string,
                b'"' => string = !string,
                b'{' if !string => depth += 1,
                b'}' if !string => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.held.extend(&bytes[..=at]);
                out(Piece::Record(&self.held));
                self.forget();
                self.state = State::Between;
                return &bytes[at + 1..];
            }
        }
        self.held.extend(bytes);
        self.state = State::Within {
            depth,
            string,
            escaped,
        };
        &[]
    }

    /// A record is over; one that was long gives its room back.
    fn forget(&mut self) {
        self.held.clear();
        self.held.shrink_to(LONGEST_LINE);
    }
}

/// How the lines begin that cargo and go write for programs.
const LINES: &[&[u8]] = &[
    b"{\"reason\":\"",
    b"{\"ImportPath\":\"",
    b"{\"Time\":\"",
    b"{\"Action\":\"",
];
/// How the list begins that eslint writes for programs.
const FILES: &[u8] = b"[{\"filePath\":\"";
