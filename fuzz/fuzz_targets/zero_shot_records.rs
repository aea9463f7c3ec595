//! Records of tasks: lines of JSON or an archive of such files, plain or compressed, with labels beside them.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use burn::backend::Flex;
use burn_cht::Error;
use burn_cht::eval::zero_shot::{Scorer, Task, evaluate};
use burn_cht_fuzz::zero_shot::Model;
use burn_cht_fuzz::{Memory, check, folder, packed, parts, size, write_if_any};
use libfuzzer_sys::fuzz_target;

const MEMORY: Memory = Memory { times: 400, plus: 1 << 17 };

/// One of each form, with a file of each kind.
const TASKS: [&str; 4] = [
    r#"
        name = "choices"
        source = "none"
        prompt = "{text|star_word:number:word|detokenise} {text|slice:start:end|capitalise|full_stop}"
        choices = ["yes", "{word|lower_first}"]
        metrics = ["accuracy", "f1", "mcc"]
        [data]
        file = "a.jsonl"
        labels = "a.lst"
        [target]
        field = "label"
        values = [[1, "yes"], [0, false]]
    "#,
    r#"
        name = "nested"
        source = "none"
        prompt = "{in.rows.text}"
        choices = ["{in.rows.items.text}", "{word}"]
        metrics = ["accuracy"]
        [data]
        file = "a.jsonl"
        unroll = ["in.rows", "in.rows.items"]
        [target]
        field = "in.rows.items.label"
        values = [[1, true], [0, false]]
    "#,
    r#"
        name = "listed"
        source = "none"
        prompt = "?"
        choices_from = "list"
        choice_filters = ["wikihow"]
        metrics = ["accuracy_norm"]
        [data]
        file = "a.jsonl"
        [target]
        field = "label"
        among = "list"
    "#,
    r#"
        name = "continuation"
        source = "none"
        prompt = "{text|all_but_last_word}"
        continuation = "{text|last_word|trim|drop_last}"
        metrics = ["accuracy", "perplexity"]
        [data]
        file = "a.tar"
    "#,
];

static PARSED: LazyLock<[Task; 4]> =
    LazyLock::new(|| TASKS.map(|text| Task::parse(Path::new("task.toml"), text).expect("a task")));

fuzz_target!(
    init: { LazyLock::force(&PARSED); },
    |data: &[u8]| {
        let Some((&kind, data)) = data.split_first() else { return };
        let task = &PARSED[usize::from(kind >> 4) % 4];
        let [labels, records] = parts::<2>(data);
        let (records, labels) = (packed(kind, records), packed(kind >> 2, labels));
        let is_archive = task.name() == "continuation";
        write_if_any("a.tar", if is_archive { &records } else { &[] });
        write_if_any("a.jsonl", if is_archive { &[] } else { &records });
        write_if_any("a.lst", &labels);
        let device = Default::default();
        let scorer = Scorer::<Flex, _, _>::new(&Model, &Model, true, &device);
        let limit = (kind & 0x80 != 0).then_some(2);
        let read: Result<_, Error> = MEMORY.bound(size(&records) + size(&labels), || {
            evaluate(task, folder(), limit, &scorer)
        });
        if let Err(error) = read {
            Model::check(&error, check);
        }
    }
);
