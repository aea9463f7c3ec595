//! Choosing k of many: the best, or a weighted draw without replacement.
