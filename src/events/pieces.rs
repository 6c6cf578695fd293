//! What is printed, cut into lines, and lines without an end into pieces.
//!
//! Pure, and bounded whatever comes: a gigabyte without a newline costs no more than one piece.

/// One stream of one process.
#[derive(Debug, Default)]
pub struct Pieces {
    begun: Vec<u8>,
    /// Nothing has come since the last call of [`Pieces::rest`].
    rested: bool,
}

impl Pieces {
    /// Takes the next bytes, and hands on every line that is whole now, with its end, and every piece that is long enough.
    pub fn push(&mut self, bytes: &[u8], mut say: impl FnMut(String)) {
        self.rested = false;
        for mut line in bytes.split_inclusive(|&byte| byte == b'\n') {
            while !line.is_empty() {
                let room = LONGEST_PIECE - self.begun.len();
                let (piece, rest) = line.split_at(line.len().min(room));
                self.begun.extend_from_slice(piece);
                line = rest;
                if self.begun.ends_with(b"\n") {
                    say(self.take(self.begun.len()));
                } else if self.begun.len() == LONGEST_PIECE {
                    say(self.take(self.begun.len() - unfinished_char(&self.begun)));
                }
            }
        }
    }

    /// What was begun and not finished: told if nothing has come since the last call. Somebody is asked for an answer, or
    /// looks at dots.
    pub fn rest(&mut self) -> Rest {
        let whole = self.begun.len() - unfinished_char(&self.begun);
        if whole == 0 {
            return Rest::Nothing;
        }
        match std::mem::replace(&mut self.rested, true) {
            true => Rest::Text(self.take(whole)),
            false => Rest::Later,
        }
    }

    /// Nothing more comes: what is left.
    pub fn finish(&mut self) -> Option<String> {
        (!self.begun.is_empty()).then(|| self.take(self.begun.len()))
    }

    /// Whether something is begun that can be told.
    pub fn is_begun(&self) -> bool {
        self.begun.len() > unfinished_char(&self.begun)
    }

    fn take(&mut self, length: usize) -> String {
        let rest = self.begun.split_off(length);
        let piece = std::mem::replace(&mut self.begun, rest);
        String::from_utf8(piece)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// What is to be done about a line that is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// There is none.
    Nothing,
    /// Something has come a moment ago: its end may be on the way.
    Later,
    /// It is told as it is.
    Text(String),
}

/// How many bytes at the end are the beginning of a character that is not finished.
fn unfinished_char(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let length = match bytes[bytes.len() - back] {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if length > back { back } else { 0 };
    }
    0
}

/// Longer than lines that people print.
const LONGEST_PIECE: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pushed(pieces: &mut Pieces, bytes: &[u8]) -> Vec<String> {
        let mut said = Vec::new();
        pieces.push(bytes, |text| said.push(text));
        said
    }

    #[test]
    fn lines_come_whole_however_they_are_printed() {
        let mut pieces = Pieces::default();
        assert!(pushed(&mut pieces, b"list").is_empty());
        assert_eq!(
            pushed(&mut pieces, b"ening\nnext\nhal"),
            ["listening\n", "next\n"]
        );
        assert_eq!(pieces.finish().as_deref(), Some("hal"));
        assert_eq!(pieces.finish(), None);
    }

    #[test]
    fn a_prompt_comes_when_nothing_follows_it() {
        let mut pieces = Pieces::default();
        assert!(pushed(&mut pieces, "grün? \u{e4}".as_bytes()).is_empty());
        assert_eq!(pieces.rest(), Rest::Later);
        pushed(&mut pieces, b" ");
        assert_eq!(pieces.rest(), Rest::Later, "something has come");
        assert_eq!(pieces.rest(), Rest::Text("grün? ä ".to_owned()));
        assert_eq!(pieces.rest(), Rest::Nothing);
        // Half a character is no text yet.
        pushed(&mut pieces, b"\xe4\xbd");
        assert!(!pieces.is_begun());
        assert_eq!(pieces.rest(), Rest::Nothing);
        assert_eq!(pushed(&mut pieces, b"\xa0\n"), ["\u{4f60}\n"]);
    }

    #[test]
    fn a_line_without_an_end_comes_in_pieces_of_whole_characters() {
        let mut pieces = Pieces::default();
        let said = pushed(&mut pieces, b"a");
        assert!(said.is_empty());
        let said = pushed(&mut pieces, "你".repeat(10_000).as_bytes());
        assert_eq!(said.len(), 3);
        for piece in &said {
            assert!(piece.len() <= LONGEST_PIECE && piece.len() > LONGEST_PIECE - 3);
            assert!(!piece.contains('\u{fffd}'));
        }
    }

    proptest! {
        #[test]
        fn all_of_it_is_told_once_and_no_more_than_a_piece_is_kept(
            text in prop::collection::vec(any::<u8>(), 0..40),
            times in 1..2000_usize,
            cuts in prop::collection::vec(1..30_000_usize, 0..20),
        ) {
            let text = text.repeat(times);
            let mut rest = text.as_slice();
            let (mut pieces, mut said) = (Pieces::default(), String::new());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                pieces.push(now, |piece| said += &piece);
                prop_assert!(pieces.begun.len() < LONGEST_PIECE);
                rest = later;
            }
            said.extend(pieces.finish());
            // Where what is no UTF-8 is cut, it may come to one mark more or less.
            let told = |text: &str| text.replace('\u{fffd}', "");
            prop_assert_eq!(told(&said), told(&String::from_utf8_lossy(&text)));
        }
    }
}
