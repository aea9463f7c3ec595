//! Task files, and what they ask of some records.
#![no_main]

use burn::backend::Flex;
use burn_cht::eval::zero_shot::{Scorer, Task, evaluate};
use burn_cht_fuzz::zero_shot::Model;
use burn_cht_fuzz::{Memory, check, folder, write};
use libfuzzer_sys::fuzz_target;

const MEMORY: Memory = Memory { times: 1024, plus: 1 << 14 };

const RECORDS: &str = concat!(
    r#"{"text": "Ann's  word [title] _ is long.", "other": "no", "number": 3, "truth": true, "label": 1, "#,
    r#""list": ["one", "two"], "inside": {"word": "is", "rows": [{"text": "a", "label": 0}, {"text": "b", "label": 1}]}}"#,
    "\n{\"text\": \"\", \"label\": \"two\", \"list\": [], \"number\": 18446744073709551615}\n"
);

fuzz_target!(
    init: {
        write("a.jsonl", RECORDS.as_bytes());
        write("a.lst", b"1\n0\n");
    },
    |data: &[u8]| {
        let Ok(text) = std::str::from_utf8(data) else { return };
        let path = folder().join("a.toml");
        let Some(task) = MEMORY.read(data.len(), || Task::parse(&path, text)) else { return };
        // A task file may name any file: here none but those of the folder.
        if text.contains(['/', '\\']) || text.contains("..") {
            return;
        }
        let device = Default::default();
        if let Err(error) = evaluate(&task, folder(), None, &Scorer::<Flex, _, _>::new(&Model, &Model, true, &device)) {
            Model::check(&error, check);
        }
    }
);
