//! chrF as sacreBLEU computes it.
