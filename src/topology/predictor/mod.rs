//! Link predictors: how likely is a missing link, by the topology alone.
