//! Task files and their data with a flipped bit or cut. Text has no checksum: another letter in an item is another item.
//! What is promised is that nothing panics, and that an error names the file.

use std::fs;
use std::path::Path;

use burn::backend::Flex;
use burn_cht::eval::zero_shot::{Evaluation, Scorer, Task, evaluate};
use burn_cht::{Error, Result};

use crate::zero_shot::{Letters, Toy};

const TASK: &str = "name = 'toy'\nsource = 'none'\nprompt = '{context}'\ndelimiter = ' '\nchoices = ['{good}', '{bad}']\n\
                    data.file = 'pairs.jsonl'\ntarget = { field = 'label', values = [[0], [1]] }\nmetrics = ['accuracy']\n";
const RECORDS: &str = "{\"context\": \"ab\", \"good\": \"cd\", \"bad\": \"ca\", \"label\": 0}\n\
                       {\"context\": \"b\", \"good\": \"aa\", \"bad\": \"dd a\", \"label\": 1}\n";

/// `good` with one bit of each byte flipped, and cut at every length.
fn damaged(good: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    let flipped = (0..good.len()).flat_map(move |at| {
        (0..8).map(move |bit| {
            let mut bad = good.to_vec();
            bad[at] ^= 1 << bit;
            (format!("bit {bit} of byte {at}"), bad)
        })
    });
    flipped.chain((0..good.len()).map(|length| (format!("{length} bytes"), good[..length].to_vec())))
}

fn evaluated(folder: &Path) -> Result<Evaluation> {
    let task = Task::read(folder.join("toy.toml"))?;
    let model = Toy { context: 40, remembers: false };
    evaluate(&task, folder, None, &Scorer::<Flex, _, _>::new(&model, &Letters, true, &Default::default()))
}

#[test]
fn a_task_or_its_data_that_is_damaged_is_named_or_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("toy.toml"), TASK).unwrap();
    fs::write(folder.path().join("pairs.jsonl"), RECORDS).unwrap();
    evaluated(folder.path()).unwrap();
    for (name, good) in [("toy.toml", TASK), ("pairs.jsonl", RECORDS)] {
        let file = folder.path().join(name);
        for (case, bad) in damaged(good.as_bytes()) {
            fs::write(&file, bad).unwrap();
            match evaluated(folder.path()) {
                Ok(evaluation) => assert!(!evaluation.outcomes.is_empty(), "{case} of {name}"),
                // Another name of a field or of a file is missed where the data are.
                Err(error @ (Error::Data { .. } | Error::Io { .. })) => {
                    let text = error.report();
                    assert!(text.contains(&folder.path().display().to_string()), "{case} of {name}: {text}");
                }
                Err(error) => panic!("{case} of {name}: {}", error.report()),
            }
        }
        fs::write(&file, good).unwrap();
    }
}
