//! The further test sets of a run: one that it was scored on is that to which its scores belong. Sets may be added later.

use std::collections::BTreeMap;
use std::path::Path;

use burn_cht::data::Input;
use burn_cht::data::translation::ParallelText;
use burn_cht::run::write_atomically;
use burn_cht::{Error, Result};

/// Their checksums by name, in the folder of the run.
const FILE: &str = "test-sets.json";
/// Maximum number of bytes of that file.
const LONGEST: usize = 1 << 20;

/// Refuses a test set that is not what it was when the run in `folder` was scored on it, and adds those that are new.
pub fn check(folder: &Path, sets: &[(String, ParallelText)]) -> Result<()> {
    let file = folder.join(FILE);
    let broken = |error: serde_json::Error| Error::data(&file, error.to_string());
    let mut known: BTreeMap<String, String> = match file.exists() {
        true => serde_json::from_str(&Input::open(&file)?.text(LONGEST)?).map_err(broken)?,
        false => BTreeMap::new(),
    };
    let before = known.len();
    for (name, pairs) in sets {
        let found = pairs.checksum();
        let expected = known.entry(name.clone()).or_insert_with(|| found.clone());
        if *expected != found {
            let reason = format!(
                "the test set {name} has changed since this run was scored on it (checksum {expected} then, {found} now): \
                 bring it back, leave it out of --test-sets, or begin another run with another --out"
            );
            return Err(Error::data(&file, reason));
        }
    }
    if known.len() == before {
        return Ok(());
    }
    write_atomically(&file, serde_json::to_string_pretty(&known).map_err(broken)?.as_bytes())
}
