//! Lines that try to do something to a terminal, and what may be shown of them.
//!
//! An app prints them, a compiler, the name of a file, a variable: none of these sequences may reach the terminal.
//! devwatch itself writes none of them either, except those that clear, move or style, which are marked as common:
//! of those, only what is shown can be compared.

/// One line, without its end.
pub(crate) struct Hostile {
    /// What it tries.
    pub(crate) name: &'static str,
    /// What is printed.
    pub(crate) raw: &'static [u8],
    /// What is shown of it, without colours.
    pub(crate) shown: &'static str,
    /// A screen program writes such sequences, too.
    pub(crate) common: bool,
}

const fn hostile(name: &'static str, raw: &'static [u8], shown: &'static str) -> Hostile {
    Hostile {
        name,
        raw,
        shown,
        common: false,
    }
}

const fn common(name: &'static str, raw: &'static [u8], shown: &'static str) -> Hostile {
    Hostile {
        name,
        raw,
        shown,
        common: true,
    }
}

pub(crate) const CORPUS: &[Hostile] = &[
    // Screen and cursor.
    common("clears the screen", b"a\x1b[2Jb", "ab"),
    common("clears what was above", b"a\x1b[3J\x1b[1Jb", "ab"),
    common("moves the cursor home", b"a\x1b[Hb\x1b[99;1Hc", "abc"),
    common(
        "climbs over lines above",
        b"a\x1b[5A\x1b[2Kforged",
        "aforged",
    ),
    hostile("full reset", b"a\x1bcb", "ab"),
    hostile("soft reset", b"a\x1b[!pb", "ab"),
    hostile("fills the screen with E", b"a\x1b#8b", "ab"),
    hostile("scroll region", b"a\x1b[3;9rb", "ab"),
    hostile(
        "saves and restores the cursor",
        b"a\x1b7b\x1b8c\x1b[sd\x1b[ue",
        "abcde",
    ),
    hostile("index and reverse index", b"a\x1bDb\x1bMc\x1bEd", "abcd"),
    hostile(
        "leaves the alternate screen",
        b"a\x1b[?47l\x1b[?1047lb",
        "ab",
    ),
    hostile(
        "repeats a character a million times",
        b"a\x1b[1000000bb",
        "ab",
    ),
    // Replies that become keys.
    hostile("asks where the cursor is", b"a\x1b[6nb\x1b[?6nc", "abc"),
    hostile(
        "asks what the terminal is",
        b"a\x1b[cb\x1b[>cc\x1bZd\x1b[=ce",
        "abcde",
    ),
    hostile("asks for the answerback", b"a\x05b", "ab"),
    hostile("asks for a mode", b"a\x1b[?2026$pb", "ab"),
    hostile(
        "asks for the size of the window",
        b"a\x1b[18tb\x1b[21tc",
        "abc",
    ),
    hostile("asks for a setting", b"a\x1bP$qm\x1b\\b", "ab"),
    hostile("asks for a capability", b"a\x1bP+q544e\x1b\\b", "ab"),
    hostile(
        "asks for a colour",
        b"a\x1b]4;1;?\x07b\x1b]11;?\x1b\\c",
        "abc",
    ),
    // Modes.
    hostile(
        "reports every move of the mouse",
        b"a\x1b[?1003hb\x1b[1003hc",
        "abc",
    ),
    hostile(
        "reports the mouse in another form",
        b"a\x1b[?1006hb\x1b[?1015hc",
        "abc",
    ),
    hostile("bracketed paste off", b"a\x1b[?2004lb", "ab"),
    hostile("application keys", b"a\x1b[?1hb\x1b=c\x1b>d", "abcd"),
    hostile("other keys", b"a\x1b[>4;2mb\x1b[>1uc\x1b[?4md", "abcd"),
    hostile("shape of the cursor", b"a\x1b[5 qb", "ab"),
    hostile(
        "window small, behind, minimised",
        b"a\x1b[8;1;1tb\x1b[2tc",
        "abc",
    ),
    hostile("prints on the printer", b"a\x1b[5ib\x1b[4ic", "abc"),
    hostile(
        "another character set",
        b"a\x1b(0b\x1b)0c\x0ed\x0fe\x1b%@f",
        "abcdef",
    ),
    hostile("loads lamps", b"a\x1b[3qb", "ab"),
    // Strings.
    hostile(
        "title",
        b"a\x1b]0;forged title\x07b\x1b]2;forged title\x1b\\c",
        "abc",
    ),
    hostile(
        "title, C1 in UTF-8",
        b"a\xc2\x9d0;forged title\xc2\x9cb",
        "ab",
    ),
    hostile("clipboard", b"a\x1b]52;c;cm0gLXJmIH4=\x07b", "ab"),
    hostile("reads the clipboard", b"a\x1b]52;c;?\x1b\\b", "ab"),
    hostile(
        "link to elsewhere",
        b"a\x1b]8;;file:///etc/passwd\x1b\\https://good\x1b]8;;\x1b\\b",
        "ahttps://goodb",
    ),
    hostile(
        "link, ended by BEL",
        b"a\x1b]8;;http://evil.example\x07good\x1b]8;;\x07b",
        "agoodb",
    ),
    hostile(
        "notification",
        b"a\x1b]9;forged\x07b\x1b]777;notify;forged;text\x07c\x1b]99;;forged\x1b\\d",
        "abcd",
    ),
    hostile("progress", b"a\x1b]9;4;1;50\x07b", "ab"),
    hostile(
        "colours of the terminal",
        b"a\x1b]4;1;#000000\x07b\x1b]10;#000\x07c\x1b]104\x07d",
        "abcd",
    ),
    hostile(
        "working directory",
        b"a\x1b]7;file://host/tmp\x07b\x1b]1337;CurrentDir=/tmp\x07c",
        "abc",
    ),
    hostile(
        "writes a file",
        b"a\x1b]1337;File=name=eA==;inline=0:eA==\x07b",
        "ab",
    ),
    hostile("prompt marks", b"a\x1b]133;A\x07b", "ab"),
    hostile("DCS", b"a\x1bP1;1|17/68656c6c6f\x1b\\b", "ab"),
    hostile("sixel", b"a\x1bPq#0;2;0;0;0~~@@\x1b\\b", "ab"),
    hostile(
        "through tmux",
        b"a\x1bPtmux;\x1b\x1b]52;c;eA==\x07\x1b\\b",
        "ab",
    ),
    hostile("APC", b"a\x1b_Gi=1,a=T;AAAA\x1b\\b", "ab"),
    hostile("PM", b"a\x1b^private\x1b\\b", "ab"),
    hostile("SOS", b"a\x1bXstring\x1b\\b", "ab"),
    hostile(
        "title of a window of screen",
        b"a\x1bkforged\x1b\\b",
        "aforgedb",
    ),
    hostile(
        "APC, PM, SOS, DCS, C1 in UTF-8",
        b"a\xc2\x9fx\xc2\x9cb\xc2\x9ex\xc2\x9cc\xc2\x98x\xc2\x9cd\xc2\x90x\xc2\x9ce",
        "abcde",
    ),
    hostile("OSC without an end", b"a\x1b]0;forged", "a"),
    hostile("link without an end", b"a\x1b]8;;", "a"),
    hostile("DCS without an end", b"a\x1bPq", "a"),
    hostile(
        "OSC given up",
        b"a\x1b]0;forged\x18b\x1b]0;forged\x1ac",
        "abc",
    ),
    hostile("OSC in OSC", b"a\x1b]0;x\x1b]52;c;eA==\x07b", "ab"),
    // Cut off, crowded, in pieces.
    hostile("ESC at the end", b"a\x1b", "a"),
    hostile("CSI at the end", b"a\x1b[", "a"),
    hostile("CSI without a final", b"a\x1b[?10", "a"),
    hostile("ESC ESC", b"a\x1b\x1b[?1003hb", "ab"),
    hostile("a control inside of CSI", b"a\x1b[?10\x0703hb", "a03hb"),
    hostile("CSI, C1 in UTF-8", b"a\xc2\x9b2Jb\xc2\x9b?1003hc", "abc"),
    hostile("CSI, C1 as a byte", b"a\x9b6nb", "a\u{fffd}6nb"),
    hostile(
        "OSC, C1 as a byte",
        b"a\x9d0;forged\x9cb",
        "a\u{fffd}0;forged\u{fffd}b",
    ),
    hostile(
        "other C1 in UTF-8",
        b"a\xc2\x84b\xc2\x85c\xc2\x8dd\xc2\x9ae",
        "abcde",
    ),
    hostile(
        "ESC in front of another script",
        "a\x1b\u{e4}b".as_bytes(),
        "a\u{e4}b",
    ),
    hostile(
        "an overlong ESC",
        b"a\xc0\x9b[?1003hb",
        "a\u{fffd}\u{fffd}[?1003hb",
    ),
    // Single characters.
    hostile("BEL", b"a\x07b", "ab"),
    hostile("backspaces over what was said", b"ok\x08\x08no", "okno"),
    hostile("NUL, VT, FF, DEL", b"a\x00b\x0bc\x0cd\x7fe", "abcde"),
    hostile("flow control", b"a\x11b\x13c", "abc"),
    common(
        "returns and forges",
        b"error: bad\rall is well",
        "all is well",
    ),
    hostile(
        "no UTF-8",
        b"gr\xfc\xdfe \xff\xfe \xe2\x82",
        "gr\u{fffd}\u{fffd}e \u{fffd}\u{fffd} \u{fffd}",
    ),
    hostile(
        "a surrogate",
        b"a\xed\xa0\x80b",
        "a\u{fffd}\u{fffd}\u{fffd}b",
    ),
    // Text that is not what it seems.
    hostile(
        "right to left override",
        "a\u{202e}txt.exe\u{202c}b".as_bytes(),
        "a\u{fffd}txt.exe\u{fffd}b",
    ),
    hostile(
        "isolates",
        "a\u{2067}b\u{2066}c\u{2069}\u{2068}".as_bytes(),
        "a\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}",
    ),
    hostile(
        "direction marks",
        "a\u{200e}b\u{200f}c\u{61c}d".as_bytes(),
        "a\u{fffd}b\u{fffd}c\u{fffd}d",
    ),
    hostile(
        "embeddings",
        "a\u{202a}b\u{202b}c\u{202d}d".as_bytes(),
        "a\u{fffd}b\u{fffd}c\u{fffd}d",
    ),
    hostile(
        "zero width",
        "a\u{200b}b\u{200c}c\u{200d}d\u{2060}e\u{feff}f".as_bytes(),
        "abcdef",
    ),
    hostile(
        "line and paragraph separators",
        "a\u{2028}b\u{2029}c".as_bytes(),
        "abc",
    ),
    hostile(
        "invisible operators",
        "a\u{2061}b\u{2064}c\u{206a}d\u{206f}e".as_bytes(),
        "abcde",
    ),
    hostile("tags", "a\u{e0001}\u{e0041}\u{e007f}b".as_bytes(), "ab"),
    hostile(
        "soft hyphen, fillers",
        "a\u{ad}b\u{3164}c\u{115f}d\u{180e}e".as_bytes(),
        "abcde",
    ),
    // Styles that hide.
    common("conceals", b"a\x1b[8mb\x1b[28mc", "abc"),
    common("blinks", b"a\x1b[5mb\x1b[6mc", "abc"),
];
