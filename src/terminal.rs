//! What a terminal has to be told so that the next one to use it finds it as it was, whatever devwatch had drawn.
//!
//! A sequence and nothing else: the screen writes it when it leaves, the guardian when the screen could not.

/// Leaves the full screen, from wherever drawing was interrupted: ends a string that was not finished (ST) and a
/// synchronized update; switches off mouse, focus and paste reports; takes back colours; shows the cursor; takes
/// the title that was there from the terminal's stack; and returns to the main screen. What was never switched on is not disturbed, except that the cursor may move on a
/// terminal that shows its main screen already.
pub const LEAVE_SCREEN: &str = concat!(
    "\x1b\\",
    "\x1b[?2026l",
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1015l\x1b[?1006l",
    "\x1b[?1004l",
    "\x1b[?2004l",
    "\x1b[m",
    "\x1b[?25h",
    "\x1b[23;0t",
    "\x1b[?1049l",
);
