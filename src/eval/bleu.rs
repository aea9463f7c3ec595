//! BLEU as sacreBLEU computes it.
