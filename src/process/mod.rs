//! 4 BUILD. skeleton
