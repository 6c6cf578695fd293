//! 1 SEE. skeleton
