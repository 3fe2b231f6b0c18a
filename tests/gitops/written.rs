//! What is written in files.

use super::judge::ROOT;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The objects of a stream of YAML.
pub fn objects(yaml: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    all.into_iter().filter(|object| !object.is_null()).collect()
}

/// The text of a file of the repository.
pub fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every YAML file below a folder of the repository, by path; sorted.
pub fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(ROOT).join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|end| end == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The objects of every file below a folder.
pub fn below(folder: &str) -> Vec<Value> {
    files(folder).iter().flat_map(|path| objects(&std::fs::read_to_string(path).unwrap())).collect()
}
