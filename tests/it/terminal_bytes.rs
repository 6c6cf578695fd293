//! What devwatch writes to the terminal: nothing hostile, nothing while nothing happens, no colour where none is
//! wanted, and the right screen at any size.
