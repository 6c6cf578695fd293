//! 5 RESTART. skeleton
