//! The texts of a run's folder: `config.json`, `criterion.json`, and the lines of `history.jsonl` and `topology.jsonl`;
//! as they come, and with checksums that fit them.
#![no_main]

use burn::train::Interrupter;
use burn_cht::Error;
use burn_cht::run::{CheckpointChoice, RunFolder, SavedRun};
use burn_cht::topology::TopologyMonitor;
use burn_cht_fuzz::{Memory, check, folder, parts, write, write_if_any};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A checkpoint is verified, a mebibyte at a time.
const MEMORY: Memory = Memory { times: 160, plus: 5 << 18 };

/// An object with the CRC-32 of all before it as its last field.
fn sealed(line: &[u8]) -> Vec<u8> {
    let Some(body) = line.strip_suffix(b"}").filter(|body| body.len() > 1) else { return line.to_vec() };
    let mut crc = flate2::Crc::new();
    crc.update(body);
    [body, format!(",\"crc32\":\"{:08x}\"}}", crc.sum()).as_bytes()].concat()
}

fn each_line(lines: &[u8]) -> Vec<u8> {
    lines.split(|&byte| byte == b'\n').map(sealed).collect::<Vec<_>>().join(&b'\n')
}

/// The error of a folder whose configuration is another, too.
fn resumed(result: Result<(), Error>) {
    match result {
        Err(Error::Mismatch { .. }) | Ok(()) => {}
        Err(error) => check(&error),
    }
}

fn read(size: usize) {
    let run = MEMORY.read(size, || SavedRun::open(folder())).expect("a configuration is there");
    MEMORY.read(size, || run.config::<Value>());
    MEMORY.read(size, || run.history());
    MEMORY.read(size, || run.topology());
    MEMORY.read(size, || run.epoch(CheckpointChoice::Best));
    resumed(MEMORY.bound(size, || {
        let run = RunFolder::resume(folder(), &json!({"seed": 1}), &["data"])?;
        let interrupter = Interrupter::new();
        run.log_topology(&TopologyMonitor::default(), &interrupter, 10)?;
        run.history(&interrupter)?;
        Ok(())
    }));
}

fuzz_target!(
    init: {
        std::fs::create_dir_all(folder().join("checkpoint")).expect("room");
        for part in ["model", "optim", "scheduler"] {
            let content = b"anything";
            let length = (content.len() as u64).to_le_bytes();
            let file = [&b"BCHTSEAL\x01\0\0\0"[..], &length, &Sha256::digest(content)[..], content].concat();
            write(&format!("checkpoint/{part}-1.sealed"), &file);
        }
    },
    |data: &[u8]| {
        let Some((&kind, data)) = data.split_first() else { return };
        let [config, criterion, history, topology] = parts::<4>(data);
        let (object, lines): (fn(&[u8]) -> Vec<u8>, fn(&[u8]) -> Vec<u8>) =
            if kind & 1 == 0 { (<[u8]>::to_vec, <[u8]>::to_vec) } else { (sealed, each_line) };
        write("config.json", &object(config));
        write("criterion.json", &object(criterion));
        write_if_any("history.jsonl", &lines(history));
        write_if_any("topology.jsonl", &lines(topology));
        read(data.len() + 64);
    }
);
